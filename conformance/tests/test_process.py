import os
from pathlib import Path

import pytest

from fakes.flawed_bench import by_name, failed, flawed, found
from signerd_conformance import process
from signerd_conformance.backend import judge
from signerd_conformance.process import PROCESS_CASES, REQUESTS


def test_without_a_flaw_every_case_passes(tmp_path: Path) -> None:
    judged = found(flawed("none", tmp_path), PROCESS_CASES)
    assert {name for name, (status, _) in judged.items() if status != "ok"} == set()
    assert judged["descriptors"][1].endswith(f"after {REQUESTS} requests")


@pytest.mark.parametrize(
    ("flaw", "cases"),
    [
        ("stays", {"frame-garbage", "frame-oversize", "end"}),
        ("crashes", {"frame-garbage", "frame-oversize", "end"}),
        ("leaks", {"descriptors"}),
    ],
)
def test_a_flaw_fails_the_cases_that_are_about_it(flaw: str, cases: set[str], tmp_path: Path) -> None:
    wanted = by_name(PROCESS_CASES, "frame-garbage", "frame-oversize", "descriptors", "end", "output")
    assert failed(judge(flawed(flaw, tmp_path), wanted)) == cases


@pytest.mark.parametrize(("flaw", "status"), [("none", "ok"), ("leaks", "FAIL")])
def test_a_leak_shows_where_nobody_may_count_too(
    flaw: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_open", lambda pid: None)  # as for a worker that hides from others of its user
    (judged,) = found(flawed(flaw, tmp_path), by_name(PROCESS_CASES, "descriptors")).values()
    assert judged[0] == status
    assert f"at most {process.DESCRIPTORS}" in judged[1]


def test_a_worker_that_goes_on_after_garbage_fails(tmp_path: Path) -> None:
    bench = flawed("goes_on", tmp_path, seconds=1)
    judged = found(bench, by_name(PROCESS_CASES, "frame-garbage"))
    assert judged["frame-garbage"] == ("FAIL", "the worker keeps the link")


def test_codes_of_others_are_found_at_the_end(tmp_path: Path) -> None:
    bench = flawed("none", tmp_path)
    bench.start.codes.update({"key.not_found", "request.malformed", "key.made_up", "auth.required"})
    assert found(bench, by_name(PROCESS_CASES, "codes")) == {"codes": ("FAIL", "auth.required, key.made_up")}


def test_nothing_is_open_afterwards(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    judge(flawed("none", tmp_path), by_name(PROCESS_CASES, "frame-garbage", "end", "children"))
    assert set(os.listdir("/proc/self/fd")) == before
