from pathlib import Path

import pytest

from fakes.flawed_bench import failed, flawed, found
from signerd_conformance.backend import judge
from signerd_conformance.signing import SIGNING_CASES

EVERY = {case.name for case in SIGNING_CASES}


def test_without_a_flaw_every_case_passes_or_has_nothing_to_judge(tmp_path: Path) -> None:
    judged = found(flawed("none", tmp_path, "x:given", "x:given-es256"), SIGNING_CASES)
    assert {name for name, (status, _) in judged.items() if status != "ok"} == set()
    assert judged["sign-memfd"] == ("ok", "x:given: 262145 bytes")
    alone = found(flawed("none", tmp_path), SIGNING_CASES)
    assert {name for name, (status, _) in alone.items() if status == "skip"} == {"sign-der"}


@pytest.mark.parametrize(
    ("flaw", "key", "cases"),
    [
        ("algorithm", "x:given", {"describe"}),
        ("keyid", "x:given", {"describe"}),
        ("chain", "x:given", {"describe"}),
        ("prehash", "x:given", {"describe"}),
        ("spki", "x:given", EVERY - {"describe-absent", "describe-scheme", "sign-absent"}),
        ("any_key", "x:given", {"describe-absent", "describe-scheme", "sign-absent"}),
        ("other_code", "x:given", {"describe-absent", "describe-scheme", "sign-absent"}),
        ("raw", "x:given-es256", {"sign", "sign-der", "in-flight"}),
        ("hashes_again", "x:given-es256", {"sign", "sign-prehash"}),
        ("empty", "x:given", {"sign-empty"}),
        ("short", "x:given", {"sign-longest", "sign-memfd"}),
        ("strips", "x:given", {"sign-byte", "sign-longest"}),
    ],
)
def test_a_flaw_fails_the_cases_that_are_about_it(flaw: str, key: str, cases: set[str], tmp_path: Path) -> None:
    found_failing = failed(judge(flawed(flaw, tmp_path, key), SIGNING_CASES))
    assert found_failing >= cases
    if key == "x:given" and flaw not in ("keyid", "prehash"):  # what is wrong there is wrong with all signatures
        assert found_failing == cases


def test_a_worker_that_signs_what_is_no_digest_fails(tmp_path: Path) -> None:
    status, seen = found(flawed("takes_anything", tmp_path, "x:given-es256"), SIGNING_CASES)["sign-prehash"]
    assert (status, seen) == ("FAIL", "sign is answered where it must be refused")
