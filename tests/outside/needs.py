"""pytest plugin: `@pytest.mark.needs("cosign")` skips a test whose outside part is missing, with the cure.

At the end of a run everything that was skipped is listed once. Under $SIGNERD_REQUIRE a skip whose reason
names a required part is a failure, however it came about: by the marker, by `pytest.skip` in a test, or of a
whole module.
"""

import re
from collections import Counter
from collections.abc import Generator
from typing import TypeVar

import pytest

from outside.parts import PARTS, find, required

__all__ = [
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_terminal_summary",
]

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs a part which is not here."""
    for name in dict.fromkeys(name for mark in item.iter_markers("needs") for name in mark.args):
        if name not in PARTS:
            pytest.fail(f"{name!r} is no part of tests/outside/parts.py: {', '.join(PARTS)}", pytrace=False)
        if find(name) is None:
            pytest.skip(f"needs {name}: {PARTS[name].obtain}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The text of a skip, however it was raised."""
    return (
        report.longrepr[2].removeprefix("Skipped: ")
        if isinstance(report.longrepr, tuple)
        else str(report.longrepr)
    )


def _judged(report: Report) -> Report:
    """Turn a skip for a required part into a failure."""
    if report.skipped and not hasattr(report, "wasxfail"):
        words = set(re.findall(r"[\w-]+", _reason(report)))
        for name, purpose in required().items():
            if name in words:
                report.longrepr = f"required by .ci/required ({purpose}), but skipped: {_reason(report)}"
                report.outcome = "failed"
                break
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the skip of a test."""
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the skip of a whole module."""
    return _judged((yield))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was skipped, once for each reason."""
    skipped = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.section("not run here, and how to run it")
        for reason, count in sorted(skipped.items()):
            terminalreporter.line(f"{count:5} x {reason}")
