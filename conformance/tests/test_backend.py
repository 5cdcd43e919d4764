"""Whole runs: real workers pass, and each way of lying fails where it should."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fakes.lying_worker import MODES
from fakes.tokens import SoftHsm
from outside.parts import ROOT
from signerd_conformance.backend import CASES, Judged, judge
from signerd_conformance.bench import Bench
from signerd_conformance.worker import Start

WORKER = (sys.executable, "-m", "signerd.worker.key")
KEY = "liar:key"
DEPEND_ON_ALL = {"sign", "in-flight", "batch-order", "batch-many"}

# The cases that fail, and those that must not, by the way in which a worker lies when it is asked to sign.
CAUGHT: dict[str, set[str]] = {
    "hang": DEPEND_ON_ALL,
    "crash": {*DEPEND_ON_ALL, "descriptors", "end"},
    "late": DEPEND_ON_ALL,
    "wrong_key": {*DEPEND_ON_ALL, "sign-keyid"},
    "stolen_id": DEPEND_ON_ALL,
    "altered": DEPEND_ON_ALL,
    "other_message": DEPEND_ON_ALL,
    "truncated": {*DEPEND_ON_ALL, "sign-der"},
    "empty": {*DEPEND_ON_ALL, "sign-der"},
    "oversize": DEPEND_ON_ALL,
    "huge": DEPEND_ON_ALL,
    "twice": {*DEPEND_ON_ALL, "sign-keyid"},
    "foreign": DEPEND_ON_ALL,
    "garbage": DEPEND_ON_ALL,
    "missing": {"batch-order", "batch-bad-item", "batch-many"},
    "surplus": {"batch-order", "batch-bad-item", "batch-many"},
    "both": {"batch-order", "batch-bad-item", "batch-many"},
    "code": {*DEPEND_ON_ALL, "codes"},
    "forks": DEPEND_ON_ALL,
    "escapes": DEPEND_ON_ALL,
    "leaves": set(),  # what it leaves ends with the link
    "noise": {"output"},
    "descriptor": {*DEPEND_ON_ALL, "sign-keyid"},
}
NEVER = {"hello", "hello-version", "describe", "describe-absent", "batch-empty", "unknown-method", "unknown-param"}


def failed(findings: Sequence[Judged]) -> set[str]:
    return {one.case.name for one in findings if one.status == "FAIL"}


def seen(findings: Sequence[Judged], name: str) -> str:
    (found,) = (one for one in findings if one.case.name == name)
    return found.seen


@pytest.fixture(autouse=True)
def fakes_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))


def liar(mode: str, *before: str, seconds: float = 10) -> Bench:
    command = (*before, sys.executable, "-m", "fakes.lying_worker", "--mode", mode, "--knows", KEY)
    return Bench(Start(command, seconds=seconds), (KEY,))


def settings(scheme: str, table: dict[str, object]) -> bytes:
    return json.dumps({"scheme": scheme, "name": scheme, "settings": table}).encode()


def test_the_names_are_unique_and_every_case_has_a_source() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.source and (case.judge is None) != (case.judge_key is None) for case in CASES)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "Ed25519", "RSA-PKCS1-SHA256"])
def test_the_file_backend_passes(algorithm: str, tmp_path: Path) -> None:
    start = Start(WORKER, settings("file", {"directory": str(tmp_path / "keys")}))
    findings = judge(Bench(start, ("file:new",), algorithm))
    assert [one.case for one in findings] == list(CASES)
    assert failed(findings) == set(), findings
    assert seen(findings, "generate").startswith(algorithm)
    skipped = {one.case.name for one in findings if one.status == "skip"}
    by_digest = algorithm in ("ES256", "RSA-PKCS1-SHA256")
    der = algorithm.startswith("ES")
    assert skipped == ({"sign-memfd"} if by_digest else set()) | (set() if der else {"sign-der"})


def test_several_keys_are_judged_by_each_case(tmp_path: Path) -> None:
    start = Start(WORKER, settings("file", {"directory": str(tmp_path / "keys")}))
    for algorithm, key in (("Ed25519", "file:a"), ("ES256", "file:b")):
        assert failed(judge(Bench(start, (key,), algorithm))) == set()
    findings = judge(Bench(start, ("file:a", "file:b")))
    assert failed(findings) == set()
    assert seen(findings, "describe") == "file:a: Ed25519; file:b: ES256 from the digest"
    assert seen(findings, "sign-memfd") == "file:a: 262145 bytes"
    assert seen(findings, "generate") == "file:a: no --generate; file:b: no --generate"


@pytest.mark.needs("softhsm2")
@pytest.mark.parametrize("algorithm", ["ES256", "RSA-PKCS1-SHA256"])
def test_the_pkcs11_backend_passes_with_softhsm(algorithm: str, hsm: SoftHsm) -> None:
    start = Start(WORKER, settings("pkcs11", hsm.settings()))
    findings = judge(Bench(start, ("pkcs11:token=demo;object=release",), algorithm))
    assert failed(findings) == set(), findings
    assert seen(findings, "generate").startswith(algorithm)


@pytest.mark.needs("gost-engine")
@pytest.mark.parametrize("algorithm", ["GOST3410-2012-256", "GOST3410-2012-512"])
def test_the_gost_backend_passes(algorithm: str, tmp_path: Path) -> None:
    start = Start(WORKER, settings("gost", {"directory": str(tmp_path / "keys")}))
    findings = judge(Bench(start, ("gost:new",), algorithm))
    assert failed(findings) == set(), findings
    assert seen(findings, "generate").startswith(algorithm)


def test_an_honest_worker_passes_and_every_other_mode_is_known_here() -> None:
    assert failed(judge(liar("honest"))) == set()
    assert set(CAUGHT) == set(MODES) - {"honest"}


@pytest.mark.parametrize("mode", CAUGHT)
def test_a_lie_fails_where_it_should(mode: str) -> None:
    # Silence costs its time in each case: those that wait for it are asked for alone.
    silent = mode in ("hang", "late")
    cases = [case for case in CASES if not silent or case.name in CAUGHT[mode] | NEVER]
    found = failed(judge(liar(mode, seconds=1.5 if silent else 10), cases))
    assert found >= CAUGHT[mode]
    assert not found & NEVER
    if not CAUGHT[mode] & DEPEND_ON_ALL or mode == "noise":
        assert found == CAUGHT[mode]


def test_a_process_that_is_left_behind_fails_and_is_ended(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = f'( eval "exec $0>&-"; echo $BASHPID >> "{note}"; exec setsid sleep 60 >/dev/null 2>&1 ) & exec "$@"'
    bench = liar("honest", "bash", "-c", script, "{fd}")
    bench = dataclasses.replace(
        bench, start=dataclasses.replace(bench.start, command=(*bench.start.command, "--fd", "{fd}"))
    )
    assert failed(judge(bench)) == {"children"}
    pids = note.read_text().split()
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_keys_that_are_not_there_fail_and_nothing_stops_the_run(tmp_path: Path) -> None:
    start = Start(WORKER, settings("file", {"directory": str(tmp_path / "keys")}))
    findings = judge(Bench(start, ("file:absent",)))
    assert len(findings) == len(CASES)
    assert {"describe", "sign", "batch-order"} <= failed(findings)
    assert "cannot be described: key.not_found (no_such_key)" in seen(findings, "sign")


def test_a_program_that_is_no_worker_fails_every_case_that_needs_one() -> None:
    findings = judge(Bench(Start(("true",)), (KEY,)))
    assert {one.case.name for one in findings if one.status != "FAIL"} == {"output", "codes"}
