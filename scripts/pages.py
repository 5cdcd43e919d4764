"""Prints a page of docs/: the prose of scripts/NAME-page.md, its places filled by scripts/NAME_parts.py."""

import importlib
import os
import re
import sys
from pathlib import Path

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
VENV = HERE.parent / ".venv" / "bin" / "python"
AGAIN = "SIGNERD_PAGES_AGAIN"


def main(script: str, usage: str) -> None:
    """Print the page of the script `NAME-doc`; ends the process with 1 if the environment is not set up."""
    name = Path(script).name.removesuffix("-doc")
    if sys.argv[1:]:
        print(usage)
        sys.exit(0 if sys.argv[1:] == ["--help"] else 2)
    try:
        import signerd  # noqa: F401 -- asks whether this Python has it
    except ImportError:
        if not VENV.exists() or os.environ.get(AGAIN):
            sys.exit(f"{name}-doc: signerd is not installed here; run scripts/setup")
        os.environ[AGAIN] = "1"
        os.execv(VENV, [str(VENV), "-P", script])  # noqa: S606 -- the environment's own Python
    values = importlib.import_module(f"{name}_parts").parts()
    page = (HERE / f"{name}-page.md").read_text(encoding="utf-8")
    sys.stdout.write(re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], page))
