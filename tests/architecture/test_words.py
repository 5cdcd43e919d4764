"""Names say something, and no file names a place of one machine or the address of a package registry."""

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
    try:
        listed = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no git")
    if listed.returncode != 0:
        pytest.skip("not in a git clone")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_modules_and_classes_have_names_that_say_something() -> None:
    named = []
    for _, path in modules():
        named += [where(path) for part in (path.stem, path.parent.name) if EMPTY_NAMES.search(part)]
        named += [
            f"{where(path, node.lineno)}: {node.name}"
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.ClassDef)
            and EMPTY_NAMES.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name))
        ]
    assert not named, "\n".join(named)


def test_no_file_names_a_place_of_this_machine_or_a_registry() -> None:
    home = f"{Path.home()}/"
    found = []
    for path in tracked():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            told = path.name != Path(__file__).name and (PLACES.search(line) or REGISTRIES.search(line))
            if told or (len(home) > 2 and home in line):
                found.append(f"{where(path, number)}: {line.strip()[:120]}")
    assert not found, "\n".join(found)
