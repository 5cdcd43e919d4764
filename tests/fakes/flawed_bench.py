"""A run of the conformance kit against :mod:`fakes.flawed_worker`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from outside.parts import ROOT
from signerd_conformance.backend import Judged, judge
from signerd_conformance.bench import Bench, Case
from signerd_conformance.worker import Start

__all__ = ["by_name", "failed", "flawed", "found"]

# -c and not -m: the folder of the tests is on nobody's path in a process of its own.
_PROGRAM = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); from fakes.flawed_worker import main; main()"


def flawed(flaw: str, state: Path, *keys: str, algorithm: str | None = None, seconds: float = 10) -> Bench:
    """Return a bench for the worker with that flaw; ``none`` is none."""
    command = (sys.executable, "-c", _PROGRAM, "--flaw", flaw, "--state", str(state))
    return Bench(Start(command, seconds=seconds), keys or ("x:given",), algorithm)


def by_name(cases: Sequence[Case], *names: str) -> list[Case]:
    """Return the cases of those names."""
    assert {case.name for case in cases} >= set(names)
    return [case for case in cases if case.name in names]


def failed(findings: Sequence[Judged]) -> set[str]:
    """Return the names of the cases that fail."""
    return {one.case.name for one in findings if one.status == "FAIL"}


def found(bench: Bench, cases: Sequence[Case]) -> dict[str, tuple[str, str]]:
    """Judge, and return status and what was seen by the name of the case."""
    return {one.case.name: (one.status, one.seen) for one in judge(bench, cases)}
