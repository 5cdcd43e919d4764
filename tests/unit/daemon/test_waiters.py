import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from fakes.services import PEER, TOOL, FakeClock, Later, World, order, request, world
from signerd.contracts.services import Charge, Remaining
from signerd.contracts.values import Entitlement, PlanLimits, Release
from signerd.daemon import waiters as module
from signerd.daemon.descriptors import check_files
from signerd.daemon.documents import Documents
from signerd.daemon.poller import Poller
from signerd.daemon.sealer_link import SealerLink
from signerd.daemon.story import Story
from signerd.daemon.waiters import FILE_THREADS, Waiters
from signerd.errors import Fault, Refusal, SignerdError
from signerd.pipeline.evidence import Signed
from signerd.pipeline.request import SignRequest
from signerd.pipeline.sign import sign
from signerd.wire.methods import Subject

CANCELLED = Fault("request.cancelled", "cancelled", "cancelled")


class Room:
    """Waiters whose sealer is down: a story that gets as far as ``seal`` ends with ``sealer_down``."""

    def __init__(self, nursery: trio.Nursery, given: World) -> None:
        clock = FakeClock()
        self.given = given
        self.turns = 0
        self.ended = trio.Event()
        self.ends: list[Signed | SignerdError] = []
        self.link = SealerLink(clock, 5, lambda _: None)
        documents = Documents(_never, Poller(lambda: None), clock)
        self.waiters = Waiters(self.link, documents, nursery, self._turned)

    def _turned(self) -> None:
        self.turns += 1

    def _done(self, story: Story, result: Signed | SignerdError) -> None:
        self.ends.append(result)
        self.ended.set()

    def start(self, asked: SignRequest) -> Story:
        story = Story(asked, sign(asked, PEER, self.given.services), self.waiters, self._done)
        self.waiters.stories[asked.audit_id] = story
        story.start()
        return story

    def reasons(self) -> list[str]:
        return [end.reason for end in self.ends if isinstance(end, SignerdError)]


def _never() -> Any:
    raise AssertionError("no document here")


@asynccontextmanager
async def room(given: World) -> AsyncIterator[Room]:
    async with trio.open_nursery() as nursery:
        with trio.fail_after(10):
            yield Room(nursery, given)
        nursery.cancel_scope.cancel()


def by_file(fd: int, size: int) -> SignRequest:
    return request(order(subject=(Subject("a", fd=0, size=size),)), fds=(fd,))


async def test_a_providers_promise_is_kept_in_a_task() -> None:
    given = world(release=Later(Release(TOOL, "allowlist")))
    async with room(given) as here:
        here.start(request())
        assert here.ends == []
        await here.ended.wait()
        assert here.reasons() == ["sealer_down"]
        assert here.turns == 1, "what the story asked of the sealer goes out"
        assert here.waiters.stories == {}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [(Refusal("release.untrusted", "revoked", "no"), "revoked"), (KeyError("foreign"), None)],
)
async def test_a_provider_that_breaks_its_promise(wrong: Exception, reason: str | None) -> None:
    async with room(world(release=Later(wrong))) as here:
        here.start(request())
        await here.ended.wait()
        (end,) = here.ends
        assert isinstance(end, SignerdError)
        assert reason is None or end.reason == reason


async def test_one_that_is_cut_short_in_the_turn_in_which_it_began_ends_once() -> None:
    """Its task has not run yet: it must find that nobody waits for it any more."""
    given = world(release=Later(Release(TOOL, "allowlist")))
    async with room(given) as here:
        story = here.start(request())
        story.cut_short(CANCELLED)
        assert here.reasons() == ["cancelled"]
        await trio.testing.wait_all_tasks_blocked()
        assert here.reasons() == ["cancelled"]
        assert len(given.ledger.written) == 1


async def test_files_are_hashed_off_the_loop(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    given = world()
    async with room(given) as here:
        with file.open("rb") as opened:
            story = here.start(by_file(opened.fileno(), 7))
            await here.ended.wait()
        assert here.reasons() == ["sealer_down"]
        assert story.request.fds, "they are the request's, and still open"


async def test_a_file_that_changed_its_size_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    async with room(world()) as here:
        with file.open("r+b") as opened:
            here.start(by_file(opened.fileno(), 7))
            opened.truncate(3)
            await here.ended.wait()
        assert here.reasons() == ["size_mismatch"]


async def test_the_pool_is_bounded_also_by_threads_whose_request_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow disks must not take every thread, and who no longer waits for one gives its descriptors back."""
    going, held = threading.Event(), threading.Semaphore(0)
    running: list[int] = []

    def slow(files: Any, stopped: Any) -> list[str]:
        running.append(1)
        held.release()
        assert going.wait(10)
        return ["0" * 64 for _ in files]

    monkeypatch.setattr(module, "check_files", slow)
    file = tmp_path / "file"
    file.write_bytes(b"content")
    async with room(world(plan=Entitlement("wide", PlanLimits(concurrency=64, size=1 << 20), "fake"))) as here:
        with file.open("rb") as opened:
            stories = []
            for number in range(FILE_THREADS + 3):
                asked = by_file(opened.fileno(), 7)
                asked.audit_id = str(number)
                stories.append(here.start(asked))
            for _ in range(FILE_THREADS):
                await trio.to_thread.run_sync(held.acquire)
            for story in stories:
                story.cut_short(CANCELLED)
            assert here.reasons() == ["cancelled"] * len(stories)
            here.ended = trio.Event()
            last = by_file(opened.fileno(), 7)
            last.audit_id = "last"
            here.start(last)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert len(running) == FILE_THREADS, "the slots are the threads' until they end"
            going.set()
            await here.ended.wait()
        assert here.reasons()[-1] == "sealer_down"
        while _files_open(file):  # noqa: ASYNC110  # threads end without a word to trio
            await trio.sleep(0.01)
    assert len(running) == FILE_THREADS + 1, "those that only queued never ran"


async def test_a_file_that_never_ends_gives_its_thread_back_with_its_request(tmp_path: Path) -> None:
    """Eight sparse terabytes cost their owner nothing, and would keep a thread for hours."""
    file = tmp_path / "file"
    with file.open("xb") as opened:
        opened.truncate(1 << 43)
    small = tmp_path / "small"
    small.write_bytes(b"content")
    async with room(world(plan=Entitlement("wide", PlanLimits(concurrency=64, size=1 << 20), "fake"))) as here:
        with file.open("rb") as opened, small.open("rb") as other:
            stories = []
            for number in range(FILE_THREADS):
                asked = by_file(opened.fileno(), 1 << 43)
                asked.audit_id = str(number)
                stories.append(here.start(asked))
            await trio.testing.wait_all_tasks_blocked(0.05)
            for story in stories:
                story.cut_short(CANCELLED)
            here.ended = trio.Event()
            here.start(by_file(other.fileno(), 7))
            await here.ended.wait()
            assert here.reasons()[-1] == "sealer_down", "it was hashed"
        while _files_open(file):  # noqa: ASYNC110  # threads end without a word to trio
            await trio.sleep(0.01)


async def test_one_principals_slow_files_do_not_hold_up_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, file = threading.Event(), tmp_path / "file"
    file.write_bytes(b"content")
    quick = check_files

    def slow(files: Any, stopped: Any) -> list[str]:
        if len(files) == 2:
            assert going.wait(10)
        return quick(files, stopped)

    monkeypatch.setattr(module, "check_files", slow)
    async with room(world(plan=Entitlement("wide", PlanLimits(concurrency=64, size=1 << 20), "fake"))) as here:
        with file.open("rb") as opened:
            fd = opened.fileno()
            for number in range(FILE_THREADS):
                two = (Subject("a", fd=0, size=7), Subject("b", fd=1, size=7))
                asked = request(order(subject=two), fds=(fd, os.dup(fd)))
                asked.audit_id = str(number)
                here.start(asked)
            await trio.testing.wait_all_tasks_blocked(0.05)
            other = by_file(fd, 7)
            assert other.bound is not None
            other.bound = msgspec.structs.replace(other.bound, name="somebody else")
            here.start(other)
            await here.ended.wait()
            assert here.reasons() == ["sealer_down"]
            going.set()
            await trio.testing.wait_all_tasks_blocked(0.05)


def _files_open(path: Path) -> int:
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}") == str(path)
        except OSError:
            continue
    return found


async def test_a_refusal_is_answered_once_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 2: nobody is told no off the record."""
    async with room(world()) as here:
        waiting: list[Callable[[SignerdError | None], None]] = []

        def when_recorded(audit_id: str, then: Callable[[SignerdError | None], None]) -> bool:
            waiting.append(then)
            return True

        monkeypatch.setattr(here.link, "when_recorded", when_recorded)
        here.start(request(order(predicate=b"{")))
        here.start(request(order(predicate=b"[")))
        assert here.ends == []
        waiting[0](None)
        waiting[1](Fault("audit.unavailable", "disk_full", "no"))
        assert [end.code for end in here.ends if isinstance(end, SignerdError)] == [
            "predicate.invalid",
            "audit.unavailable",
        ]


class Gated:
    """A quota store that answers once its gate is open."""

    def __init__(self) -> None:
        self.gate = trio.Event()
        self.held = self.most = 0
        self.cancelled = 0

    async def admit_many(self, charges: Sequence[Charge]) -> list[Remaining]:
        try:
            await self.gate.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        self.held += len(charges)
        self.most = max(self.most, self.held)
        return [Remaining(1) for _ in charges]

    def release_many(self, charges: Sequence[Charge], *, signed: bool) -> None:
        assert not signed
        self.held -= len(charges)

    def seed(self, day: int, counts: dict[str, int]) -> None:
        raise AssertionError("nothing was counted")


async def test_a_slot_that_comes_for_a_story_that_was_cut_short_is_given_back() -> None:
    store = Gated()
    given = world(store=store)
    async with room(given) as here:
        story = here.start(request())
        await trio.testing.wait_all_tasks_blocked()
        story.cut_short(CANCELLED)
        assert here.reasons() == ["cancelled"]
        await trio.testing.wait_all_tasks_blocked()
        assert (store.held, store.cancelled) == (0, 0)
        store.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (store.most, store.held) == (1, 0)
        assert len(given.ledger.written) == 1
        assert here.waiters._late == 0
    await sent_on(given, store)


async def sent_on(given: World, store: Gated) -> None:
    """The next one is admitted, ends at the sealer that is down, and holds nothing."""
    async with room(given) as here:
        here.start(request())
        await here.ended.wait()
        assert here.reasons() == ["sealer_down"]
        assert store.held == 0


async def test_who_asks_and_cancels_again_and_again_leaves_so_many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LATE", 2)
    store = Gated()
    async with room(world(store=store)) as here:
        for _ in range(5):
            story = here.start(request())
            await trio.testing.wait_all_tasks_blocked()
            story.cut_short(CANCELLED)
        await trio.testing.wait_all_tasks_blocked()
        assert here.reasons() == ["cancelled"] * 5
        assert store.cancelled == 3
        store.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert store.held == 0
        assert here.waiters._late == 0
