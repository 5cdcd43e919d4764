"""SIGKILL under load: whoever dies, no caller holds a signature that the log lacks, and every record is closed once.

Fifty deaths each of the front end, the sealer, the key worker and all of them at once, at random moments, while
callers sign without pause and keep whatever reaches them.
"""

import contextlib
import logging
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from running.callers import Callers, sign_until, unrecorded
from running.daemon import Running

_log = logging.getLogger(__name__)

DEATHS = 50
PAUSE_S = 0.03
"""The longest time from a signature to the next death: long enough for groups to be in every state."""


class Series:
    """Daemons one after the other on one state directory."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._random = random.Random(base.name)
        self.daemon = self.start()

    def start(self) -> Running:
        self.daemon = Running(self._base)
        return self.daemon.wait_ready()

    def wait(self) -> None:
        time.sleep(self._random.uniform(0, PAUSE_S))

    def processes(self) -> list[int]:
        return [self.daemon.pid, *self.daemon.children().values()]

    def open_records(self) -> int:
        """How many ``decided`` leaves have no outcome."""
        query = (
            "SELECT count(*) FROM leaves AS d WHERE kind = 'decided' AND NOT EXISTS "
            "(SELECT 1 FROM leaves AS o WHERE o.audit_id = d.audit_id AND o.kind = 'outcome')"
        )
        log = f"file:{self.daemon.state}/audit.sqlite?mode=ro"
        with contextlib.closing(sqlite3.connect(log, uri=True)) as database:
            return int(database.execute(query).fetchone()[0])


@pytest.fixture
def series(tmp_path: Path) -> Iterator[Series]:
    made = Series(tmp_path)
    yield made
    made.daemon.close()


def gone(pids: Iterable[int], seconds: float) -> float:
    """Wait until none of the processes is left, and return how long that took."""
    started = time.monotonic()
    waiting = list(pids)
    while waiting:
        waiting = [pid for pid in waiting if running(pid)]
        assert time.monotonic() - started < seconds, f"still there: {waiting}"
        time.sleep(0.005)
    return time.monotonic() - started


def running(pid: int) -> bool:
    """Whether the process runs; one that nobody has reaped yet has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_recorded(series: Series, callers: Callers) -> None:
    """End the daemon and compare what the callers hold with the log."""
    assert series.daemon.terminate() == 0
    assert len(callers.held) > DEATHS
    assert unrecorded(callers.held, series.daemon.leaves()) == []


def mostly(times: list[float]) -> float:
    """Nine in ten took no longer than this; a busy machine is allowed its outliers."""
    return sorted(times)[len(times) * 9 // 10]


def spread(times: list[float]) -> str:
    ordered = sorted(times)
    return f"least {ordered[0]:.3f}, median {ordered[len(ordered) // 2]:.3f}, most {ordered[-1]:.3f}"


@pytest.mark.parametrize("role", ["sealer", "key"])
def test_a_child_dies_and_the_next_signature_comes_within_a_second(
    series: Series, role: str
) -> None:
    times = []
    pid = 0
    with Callers(series.daemon.socket) as callers:
        for _ in range(DEATHS):
            pid = series.daemon.child(role, other_than=pid)
            sign_until(series.daemon.socket, 10)
            series.wait()
            os.kill(pid, signal.SIGKILL)
            gone([pid], 5)
            times.append(sign_until(series.daemon.socket, 10))
    _log.info("seconds to the next signature: %s", spread(times))
    all_recorded(series, callers)
    assert mostly(times) <= 1.0


def test_the_front_end_dies_and_takes_all_with_it(series: Series) -> None:
    times = []
    with Callers(series.daemon.socket) as callers:
        for _ in range(DEATHS):
            callers.wait_for_more(1)
            children = series.daemon.children().values()
            series.wait()
            series.daemon.kill()
            times.append(gone(children, 2.0))
            assert series.open_records() == 0
            series.daemon.close()
            series.start()
        callers.wait_for_more(1)
    _log.info("seconds until all were gone: %s", spread(times))
    all_recorded(series, callers)


def test_all_die_at_once(series: Series) -> None:
    with Callers(series.daemon.socket) as callers:
        for _ in range(DEATHS):
            callers.wait_for_more(1)
            processes = series.processes()
            series.wait()
            for pid in processes:
                os.kill(pid, signal.SIGKILL)
            gone(processes, 2.0)
            series.daemon.close()
            series.start()
        callers.wait_for_more(1)
    all_recorded(series, callers)
