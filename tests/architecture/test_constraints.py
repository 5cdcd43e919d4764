"""Pins: every package by exact version and hash, and nothing that a distribution wants is missing."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from architecture.layout import DISTRIBUTIONS
from outside.parts import ROOT

FILES = sorted((ROOT / "constraints").glob("*.txt"))


def pins(path: Path) -> dict[str, str]:
    lines = re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-").replace(".", "-"): version for name, version in lines}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_requirement_is_exact_and_has_hashes(path: Path) -> None:
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    entries = text.replace("\\\n", " ").splitlines()
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==\S+(?: ;[^\\]+?)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*", entry), entry


def test_the_development_environment_holds_the_runtime_versions() -> None:
    runtime, dev = pins(ROOT / "constraints/runtime.txt"), pins(ROOT / "constraints/dev.txt")
    assert runtime.items() <= dev.items()


def test_everything_that_a_distribution_wants_is_pinned() -> None:
    runtime, own = (
        pins(ROOT / "constraints/runtime.txt"),
        {distribution.name for distribution in DISTRIBUTIONS},
    )
    for distribution in DISTRIBUTIONS:
        wanted = tomllib.loads((distribution.folder / "pyproject.toml").read_text())["project"][
            "dependencies"
        ]
        names = {re.split(r"[ <>=~!\[;]", line, maxsplit=1)[0] for line in wanted}
        assert not names - own - runtime.keys(), distribution.name


def test_the_node_lock_has_hashes_and_no_addresses() -> None:
    text = (ROOT / "tests/outside/sigstore_js/package-lock.json").read_text()
    packages = {name: entry for name, entry in json.loads(text)["packages"].items() if name}
    assert packages
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert "://" not in text
