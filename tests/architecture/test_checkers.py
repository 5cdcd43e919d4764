"""mypy (strict) and ruff over every distribution: a clone that passes scripts/test is clean."""

import subprocess
import sys

from architecture.layout import DISTRIBUTIONS, configuration
from outside.parts import ROOT


def run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_accepts_every_distribution_and_the_scripts() -> None:
    scripts = [
        "scripts/demo_stack.py",
        "scripts/environment.py",
        "scripts/outside_parts.py",
        "tests/outside/parts.py",
        "tests/outside/needs.py",
    ]
    run("mypy", *(str(distribution.package.relative_to(ROOT)) for distribution in DISTRIBUTIONS), *scripts)


def test_ruff_accepts_everything() -> None:
    run("ruff", "check", "--no-cache", "--output-format", "concise", ".")


def test_mypy_searches_every_distribution() -> None:
    searched = {
        path.removeprefix("$MYPY_CONFIG_FILE_DIR").strip("/") for path in configuration()["mypy"]["mypy_path"]
    }
    folders = {"" if d.folder == ROOT else str(d.folder.relative_to(ROOT)) for d in DISTRIBUTIONS}
    assert searched - {"scripts", "tests"} == folders


def test_each_rule_that_is_off_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for rule in configuration()["ruff"]["lint"]["ignore"]:
        line = next(line for line in text.splitlines() if line.strip().startswith(f'"{rule}"'))
        assert line.partition("#")[2].strip().endswith("."), line
