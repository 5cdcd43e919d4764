import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from signerd_conformance.classes import judged_by_classes

GOOD = """
import signerd_auth_peercred.plugin
from signerd.contracts.values import Caller, Peer
from signerd_conformance.contracts import AuthenticatorContract

class TestContract(AuthenticatorContract):
    plugin = signerd_auth_peercred.plugin
    def settings(self): return {"uids": [70001]}
    def known(self): return Caller(Peer(70001, 70001, 4242, 1), "signerd")
    def stranger(self): return Caller(Peer(70002, 70002, 4243, 1), "signerd")
"""
RUN = """
import sys
from signerd_conformance.classes import judged_by_classes
cases, file = judged_by_classes("signerd_auth_peercred.plugin", ["-q", "-p", "no:cacheprovider", sys.argv[1]])
print("file", file)
for case in cases:
    print(case.result, case.name)
"""


def judged(folder: Path, tests: str, *flags: str) -> list[str]:
    """The cases, from a process of its own: pytest runs within it."""
    file = folder / "test_given.py"
    file.write_text(textwrap.dedent(tests))
    command = [sys.executable, "-P", *flags, "-c", RUN, str(file)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(("file ", "ok ", "FAIL ", "skip "))]


def test_every_case_of_the_contract_is_there_and_the_file_that_was_judged(tmp_path: Path) -> None:
    file, *cases = judged(tmp_path, GOOD)
    assert file.endswith("/signerd_auth_peercred/plugin.py")
    assert len(cases) == 6
    assert all(case.startswith("ok signerd_authenticators.test_") for case in cases)


def test_a_case_that_is_put_in_anothers_place_has_failed(tmp_path: Path) -> None:
    name = "test_a_stranger_is_refused_or_left_to_others"
    _, *cases = judged(tmp_path, f"{GOOD}    def {name}(self): pass\n")
    assert f"FAIL signerd_authenticators.{name}" in cases
    assert sum(case.startswith("ok ") for case in cases) == 5


def test_a_case_that_fails_is_skipped_or_never_runs(tmp_path: Path) -> None:
    broken = GOOD.replace("70002, 70002", "70001, 70001")
    assert any(case.startswith("FAIL ") for case in judged(tmp_path, broken))
    skipped = GOOD.replace("class TestContract", "import pytest\n@pytest.mark.skip\nclass TestContract")
    assert all(case.startswith("skip ") for case in judged(tmp_path, skipped)[1:])
    name = "test_a_setting_that_nobody_knows_is_refused"
    missing = judged(tmp_path, f"{GOOD}    {name} = None\n")
    assert f"FAIL signerd_authenticators.{name}" in missing


def test_a_hook_that_no_class_judges_has_failed(tmp_path: Path) -> None:
    more = """
    import sys
    from signerd.contracts import hookimpl
    @hookimpl
    def signerd_release_checks(): return ()
    signerd_auth_peercred.plugin.signerd_release_checks = signerd_release_checks
    """
    assert "FAIL signerd_release_checks.not-judged" in judged(tmp_path, GOOD + textwrap.dedent(more))


def test_tests_of_another_plugin_judge_nothing(tmp_path: Path) -> None:
    other = GOOD.replace("signerd_auth_peercred.plugin", "signerd_entitlement_file.plugin")
    assert judged(tmp_path, other) == ["file "]


def test_without_pytest_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(ValueError, match="pytest is not installed"):
        judged_by_classes("x", [])
