"""Names that say nothing are not used, and no file names a place of one machine or the address of a package registry."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from architecture.layout import modules, parsed, where
from outside.parts import ROOT

EMPTY_NAMES = re.compile(r"(?:^|_)(?:utils?|helpers?|commons?|managers?|bases?)(?:_|$)", re.IGNORECASE)
PLACES = re.compile(r"(?<![\w.])/(?:work|root)/\w")
REGISTRIES = re.compile(
    r"(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|(?:proxy|sum)\.golang\.org|deb\.debian\.org|crates\.io)"
    r"|(?:index-url|find-links|registry|GOPROXY)\s*=\s*[\"']?\w+://"
)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not in a git clone")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_modules_and_classes_have_names_that_say_something() -> None:
    named = [where(path) for _, path in modules() if EMPTY_NAMES.search(path.stem) or EMPTY_NAMES.search(path.parent.name)]
    for _, path in modules():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and EMPTY_NAMES.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name)):
                named.append(f"{where(path, node.lineno)}: {node.name}")
    assert not named, "\n".join(named)


def test_no_file_names_a_place_of_this_machine_or_a_registry() -> None:
    found = []
    for path in tracked():
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if path.name != Path(__file__).name and (PLACES.search(line) or REGISTRIES.search(line)):
                found.append(f"{where(path, number)}: {line.strip()[:120]}")
            elif str(Path.home()) + "/" in line and Path.home() != Path("/"):
                found.append(f"{where(path, number)}: {line.strip()[:120]}")
    assert not found, "\n".join(found)
