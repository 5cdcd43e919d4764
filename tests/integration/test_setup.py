"""scripts/setup: does nothing when all is up to date, and notices every change of a distribution."""

import subprocess
import time
from pathlib import Path

import pytest

from environment import source_digest
from outside.parts import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "setup", *arguments], capture_output=True, text=True, check=False, timeout=240
    )


def test_a_second_run_does_nothing_and_is_quick() -> None:
    assert run().returncode == 0
    started = time.monotonic()
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - started < 2


def test_an_unknown_argument_is_a_usage_error() -> None:
    done = run("--everything")
    assert done.returncode == 2
    assert "--everything" in done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "signerd_made"
    (package / "schemas").mkdir(parents=True)
    (package / "__init__.py").write_text('"""Made for this test."""\n')
    (package / "schemas" / "one.json").write_text("{}")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "signerd-made"\n')
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["pyproject.toml", "signerd_made/__init__.py", "signerd_made/schemas/one.json", "signerd_made/new.py"],
)
def test_every_change_of_what_goes_into_the_wheel_is_noticed(name: str, folder: Path) -> None:
    before = source_digest("signerd-made", folder)
    with (folder / name).open("a") as file:
        file.write("\n")
    assert source_digest("signerd-made", folder) != before


def test_what_does_not_go_into_the_wheel_is_not_noticed(folder: Path) -> None:
    before = source_digest("signerd-made", folder)
    (folder / "tests").mkdir()
    (folder / "tests" / "test_it.py").write_text("")
    cache = folder / "signerd_made" / "__pycache__"
    cache.mkdir()
    (cache / "new.cpython-311.pyc").write_bytes(b"")
    assert source_digest("signerd-made", folder) == before
