"""The mechanism of outside parts, run as pytest runs it: in a process of its own, on a file made for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from outside.parts import PARTS, ROOT, required

CASES = {
    "marker": "import pytest\n@pytest.mark.needs('vectors')\ndef test_it(): pass\n",
    "call": "import pytest\ndef test_it(): pytest.skip('no vectors here')\n",
    "module": "import pytest\npytest.skip('no vectors here', allow_module_level=True)\n",
}


def run(folder: Path, source: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_made.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = needs: outside parts\n")
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "scripts")])
    clean = {name: value for name, value in os.environ.items() if name != "SIGNERD_REQUIRE"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "outside.needs", "-p", "no:cacheprovider", str(folder)],
        env={**clean, "PYTHONPATH": paths, "SIGNERD_VECTORS": str(folder / "absent"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("case", CASES)
def test_a_missing_part_skips_and_is_listed(case: str, tmp_path: Path) -> None:
    done = run(tmp_path, CASES[case])
    assert done.returncode in (0, 5), done.stdout  # 5: a module skipped whole leaves no test
    assert "1 skipped" in done.stdout
    listed = done.stdout.split("not run here, and how to run it")[1]
    assert "vectors" in listed
    if case == "marker":
        assert PARTS["vectors"].obtain in listed


@pytest.mark.parametrize("case", CASES)
def test_a_skip_for_a_required_part_is_a_failure(case: str, tmp_path: Path) -> None:
    done = run(tmp_path, CASES[case], SIGNERD_REQUIRE="all")
    assert done.returncode not in (0, 5), done.stdout
    assert "required by .ci/required (test vectors and schemas of the specifications)" in done.stdout


def test_requiring_another_part_leaves_the_skip(tmp_path: Path) -> None:
    assert run(tmp_path, CASES["marker"], SIGNERD_REQUIRE="cosign").returncode == 0


def test_a_part_that_nobody_knows_fails(tmp_path: Path) -> None:
    done = run(tmp_path, CASES["marker"].replace("vectors", "abacus"))
    assert done.returncode == 1
    assert "'abacus' is no part" in done.stdout


def test_every_required_part_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNERD_REQUIRE", "all")
    assert required().keys() <= PARTS.keys()
    assert all(required().values())
