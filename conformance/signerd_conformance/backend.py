"""Judges a key worker, in whatever language, by the published half of the worker protocol: one finding a case."""

import ctypes
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from signerd.errors import Fault
from signerd.verification.bundle import printable
from signerd_conformance.bench import Bench, Case
from signerd_conformance.calling import CALLING_CASES
from signerd_conformance.process import PROCESS_CASES
from signerd_conformance.profile import Judgement, fail
from signerd_conformance.signing import SIGNING_CASES
from signerd_conformance.socket_path import SOCKET_CASES
from signerd_conformance.worker import Violation

__all__ = ["CASES", "CASES_AT_SOCKET", "Judged", "judge"]

CASES: Final = (*CALLING_CASES[:2], *SIGNING_CASES, *CALLING_CASES[2:], *PROCESS_CASES)
"""Every case, in the order in which they are judged."""

_OF_A_CHILD: Final = {"descriptors", "end", "children", "output"}
CASES_AT_SOCKET: Final = (
    *(case for case in CASES[:-1] if case.name not in _OF_A_CHILD),
    *SOCKET_CASES,
    CASES[-1],
)
"""The same for a worker at a socket path: nobody sees the process, and the socket has rules of its own."""

_SEEN_MAX: Final = 300
_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h


class Judged(NamedTuple):
    """What one case found: ``seen`` is printable ASCII."""

    status: Literal["ok", "FAIL", "skip"]
    case: Case
    seen: str


def judge(bench: Bench, cases: Sequence[Case] = CASES) -> list[Judged]:
    """Judge by every case in ``cases``, in that order; OSError or Fault where there is no worker.

    What a worker leaves running comes to this process meanwhile (prctl(2), PR_SET_CHILD_SUBREAPER), and is ended.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        bench.open().end(0)  # a command that cannot be started is no finding
        bench.start.output.clear()
        return [_judged(bench, case) for case in cases]
    finally:
        bench.drop()
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _judged(bench: Bench, case: Case) -> Judged:
    try:
        status, seen = _judgement(bench, case)
    except (Violation, Fault) as exc:
        status, seen = fail(str(exc))
    if status == "FAIL":
        bench.drop()  # what it may still say must not be taken for an answer to the next case
    return Judged(status, case, printable(seen[:_SEEN_MAX]))


def _judgement(bench: Bench, case: Case) -> Judgement:
    if case.judge is not None:
        judgement = case.judge(bench)
        if case.name not in ("output", "codes"):
            _settle(bench)
        return judgement
    found = [_of_key(bench, case, reference) for reference in bench.keys]
    statuses = {status for status, _ in found}
    status: Literal["ok", "FAIL", "skip"] = "FAIL" if "FAIL" in statuses else "ok" if "ok" in statuses else "skip"
    if len(found) == 1:
        return found[0]
    told = [f"{key}: {seen}" for key, (one, seen) in zip(bench.keys, found, strict=True) if one == status]
    return status, "; ".join(told)


def _of_key(bench: Bench, case: Case, reference: str) -> Judgement:
    assert case.judge_key is not None
    try:
        judgement = case.judge_key(bench, bench.key(reference))
        _settle(bench)
    except (Violation, Fault) as exc:
        bench.drop()
        return fail(str(exc))
    return judgement


def _settle(bench: Bench) -> None:
    """Ask once more, so that an answer too many is laid to the case that brought it."""
    bench.worker().ask("describe", {"key": bench.absent()})
