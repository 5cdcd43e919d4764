import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from signerd.daemon.poller import Poller
from signerd.daemon.sealer_link import SealerLink
from signerd.daemon.sealer_process import SealerProcess
from signerd.daemon.snapshot import Snapshot
from signerd.errors import SignerdError
from signerd.host.clock import SystemClock
from signerd.host.config import embedded
from signerd.host.guard import Guard
from signerd.pipeline.charging import Charging
from signerd.pipeline.guarded import Guarded
from signerd.pipeline.quota import MemoryQuotaStore
from signerd.wire.backends import BackendChanged, BackendState
from signerd.wire.links import Answer, Opened, PeerFacts, RefusedRecord, RequestFacts
from signerd.wire.ring import AbsentKeys, RingChanged
from signerd.wire.worker_calls import CallError

SILENT_S = 0.3


def _nothing_aside(_awaitable: object) -> None:
    raise AssertionError("a store in memory waits for nothing")


class Pair:
    """A front end's half: the process, its link, and a loop that serves both."""

    def __init__(self, state: Path) -> None:
        self.clock = SystemClock()
        self.snapshot = Snapshot()
        self.quotas = Charging(Guarded(MemoryQuotaStore(self.clock), Guard("quota", "memory")), _nothing_aside)
        self.woken = 0
        self.poller = Poller(self._turned)
        self.link = SealerLink(self.clock, SILENT_S, self._news)
        config = embedded(state, state / "s")
        self.process = SealerProcess(config, self.link, self.poller, self.clock, self._wake)

    def _turned(self) -> None:
        self.process.flush()

    def _wake(self) -> None:
        self.woken += 1

    def _news(self, message: msgspec.Struct) -> None:
        self.process.news(message, self.snapshot, self.quotas)

    async def until(self, true: Any) -> None:
        while not true():
            self.process.tick(self.clock.monotonic())
            self.process.flush()
            await trio.sleep(0.01)

    async def query(self) -> Any:
        """Ask the sealer something, and wait for its answer."""
        answers: list[Any] = []
        self.link.query("local", {}, 0, 10, answers.append)
        self.process.flush()
        while not answers:  # noqa: ASYNC110  # the answer steps no task
            await trio.sleep(0.005)
        return answers[0]


@asynccontextmanager
async def pair(state: Path) -> AsyncIterator[Pair]:
    made = Pair(state)
    made.process.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.poller.run)
        try:
            with trio.fail_after(25):
                yield made
        finally:
            made.process.kill()
        nursery.cancel_scope.cancel()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_it_opens_answers_and_ends_by_itself(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        await here.process.opened()
        assert here.link.open
        assert here.snapshot.find("local", "file:default") is not None
        await here.until(lambda: all(state.up for state in here.snapshot.backends.values()))
        assert isinstance(await here.query(), Answer)
        pid = here.process.pid
        assert pid is not None
        await here.process.end()
        assert here.process.pid is None
        assert gone(pid)


async def test_one_that_died_is_started_again_at_once(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        await here.process.opened()
        first = here.process.pid
        assert first is not None
        answers: list[Any] = []
        here.link.query("local", {}, 0, 10, answers.append)
        os.kill(first, signal.SIGKILL)
        began = time.monotonic()
        await here.until(lambda: here.link.open and here.process.pid != first)
        assert time.monotonic() - began < 5
        assert gone(first)
        assert here.woken >= 1, "whoever waits for the next tick is woken"
        assert getattr(answers[0], "reason", "answered") in {"sealer_lost", "answered"}
        assert isinstance(await here.query(), Answer)


async def test_one_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        await here.process.opened()
        first = here.process.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        refused: list[SignerdError | None] = []
        facts = RequestFacts("sign.dsse", PeerFacts(os.getuid(), os.getpid()), "local", "uid:0")
        here.link.refuse(RefusedRecord("0" * 28, facts, "refused", "predicate.invalid", "not_json"))
        here.link.when_recorded("0" * 28, refused.append)
        await here.until(lambda: here.link.open and here.process.pid not in {first, None})
        assert [error.reason for error in refused if error] == ["sealer_lost"]
        assert gone(first)


async def test_a_second_one_on_the_same_state_is_refused(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        await here.process.opened()
        async with pair(tmp_path) as second:
            with pytest.raises(SignerdError) as refused:
                await second.process.opened()
            assert refused.value.code == "state.locked"
            second.process.tick(second.clock.monotonic() + 100)
            assert second.process.pid is None, "what cannot start is not tried again"
        assert isinstance(await here.query(), Answer)


async def test_news_goes_where_it_belongs(tmp_path: Path) -> None:
    here = Pair(tmp_path)
    here.process.news(Opened((), 0, {}, (), "user"), here.snapshot, here.quotas)
    assert here.snapshot.separation == "user"
    await here.process.opened()
    here.process.news(BackendChanged(BackendState("x", "file", up=True)), here.snapshot, here.quotas)
    here.process.news(RingChanged(()), here.snapshot, here.quotas)
    assert here.snapshot.backends["x"].up
    here.process.news(AbsentKeys({"x:a": CallError("key.not_found", "no_such_key", "")}), here.snapshot, here.quotas)
    assert list(here.snapshot.absent) == ["x:a"]
