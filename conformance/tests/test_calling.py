from pathlib import Path

import pytest

from fakes.flawed_bench import failed, flawed, found
from signerd_conformance.backend import judge
from signerd_conformance.calling import CALLING_CASES


def test_without_a_flaw_every_case_passes_and_a_key_is_made(tmp_path: Path) -> None:
    judged = found(flawed("none", tmp_path, "x:new", algorithm="Ed25519"), CALLING_CASES)
    assert {name for name, (status, _) in judged.items() if status != "ok"} == set()
    assert judged["generate"] == ("ok", "Ed25519, and still there in a worker started later")
    assert judged["generate-taken"] == ("ok", "key.forbidden (exists)")
    assert judged["batch-bad-item"] == ("ok", "key.not_found, request.unsupported, request.malformed")
    assert judged["rotate"] == ("ok", "the old key stays, the new one has a name of its own")
    again = found(flawed("none", tmp_path, "x:new", algorithm="Ed25519"), CALLING_CASES)
    assert again["generate"] == ("skip", "the key was there")


@pytest.mark.parametrize(
    ("flaw", "cases"),
    [
        ("any_version", {"hello-version"}),
        ("reversed", {"batch-order", "batch-bad-item", "batch-many"}),
        ("all_or_nothing", {"batch-bad-item"}),
        ("at_most_32", {"batch-many"}),
        ("other_algorithm", {"generate", "rotate"}),
        ("keeps_the_name", {"rotate"}),
        ("forgets", {"generate", "generate-taken", "rotate"}),
        ("overwrites", {"capabilities", "generate", "generate-taken", "rotate"}),
    ],
)
def test_a_flaw_fails_the_cases_that_are_about_it(flaw: str, cases: set[str], tmp_path: Path) -> None:
    assert failed(judge(flawed(flaw, tmp_path, "x:new", algorithm="Ed25519"), CALLING_CASES)) == cases


@pytest.mark.parametrize(
    ("flaw", "seen"),
    [("not_served", "generate is declared, and not served"), ("capability", "made-up is no capability")],
)
def test_what_is_declared_must_be_there_and_known(flaw: str, seen: str, tmp_path: Path) -> None:
    judged = found(flawed(flaw, tmp_path), CALLING_CASES)
    assert judged["capabilities"] == ("FAIL", seen)


def test_a_backend_that_generates_nothing_is_not_asked_to(tmp_path: Path) -> None:
    judged = found(flawed("none", tmp_path), CALLING_CASES)
    assert judged["generate"] == ("skip", "no --generate")
    assert judged["rotate"] == ("skip", "no --generate")
