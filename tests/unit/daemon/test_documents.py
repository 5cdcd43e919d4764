import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fakes.services import HEAVY, PEER, FakeClock, Hand, order, request, world
from signerd.contracts.values import Entitlement, PlanLimits
from signerd.daemon.documents import QUEUE, Documents
from signerd.daemon.errands import LONGEST_S
from signerd.daemon.poller import READ, Poller
from signerd.daemon.story import Story
from signerd.errors import Fault, SignerdError
from signerd.host.link import Link
from signerd.host.memfd import sealed_memfd
from signerd.host.spawn import Spawned
from signerd.pipeline.sign import sign
from signerd.pipeline.waits import DocumentWait, SealWait
from signerd.wire.frames import encode_frame
from signerd.wire.methods import Descriptor
from signerd.wire.worker_calls import CallError, CheckDocument, DocumentChecked

STATEMENT = b'{"_type":"statement"}'


class Worker:
    """A started worker: a process that sleeps, and its end of the link in the test's hand."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-I", "-c", "import time; time.sleep(60)"]
        self.process = subprocess.Popen(command, process_group=0)
        self.spawned = Spawned(self.process, ours)
        self.link = Link(theirs)

    def heard(self) -> list[tuple[CheckDocument, tuple[int, ...]]]:
        return [(msgspec.msgpack.decode(frame, type=CheckDocument), fds) for frame, fds in self.link.read()]

    def say(self, answer: DocumentChecked, fds: tuple[int, ...] = ()) -> None:
        self.link.queue(encode_frame(answer), fds)
        self.link.flush()


class Asking(Hand):
    """A hand that gives documents to the worker."""

    def __init__(self, documents: Documents) -> None:
        super().__init__()
        self._documents = documents

    def check(self, story: Story, wait: DocumentWait) -> None:  # type: ignore[override]
        self.wait = wait
        self._documents.check(story, wait)

    def forget(self, story: Story, wait: Any) -> None:
        self._documents.forget(story)


class Desk:
    """Documents, with workers as the test wants them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.poller = Poller(lambda: None)
        self.workers: list[Worker] = []
        self.refuse_start = False
        self.documents = Documents(self._start, self.poller, self.clock)
        self.given = world(plan=Entitlement("wide", PlanLimits(concurrency=64, size=1 << 20), "fake"))

    def _start(self) -> Spawned:
        if self.refuse_start:
            raise OSError(11, "Resource temporarily unavailable")
        self.workers.append(Worker())
        return self.workers[-1].spawned

    def ask(self, predicate: bytes = b'{"ok": true}', fd: int | None = None) -> tuple[Story, Asking]:
        number = os.urandom(4).hex()
        params = order(predicate_type=HEAVY, predicate=predicate if fd is None else Descriptor(0, len(predicate)))
        asked = replace(request(params), audit_id=number, fds=() if fd is None else (fd,))
        hand = Asking(self.documents)
        story = Story(asked, sign(asked, PEER, self.given.services), hand, lambda _story, _result: None)
        story.start()
        return story, hand

    def answer(self, call: CheckDocument, **fields: Any) -> None:
        fields = fields or {"statement": STATEMENT, "predicate_sha256": "00"}
        self.workers[-1].say(DocumentChecked(call.id, **fields))
        self.documents.ready(READ)


@pytest.fixture
def desk() -> Iterator[Desk]:
    before = set(os.listdir("/proc/self/fd"))
    made = Desk()
    yield made
    made.documents.close()
    for worker in made.workers:
        worker.link.close()
        worker.spawned.end(0)
    made.poller._epoll.close()
    assert set(os.listdir("/proc/self/fd")) <= before


def code(hand: Hand) -> str:
    (end,) = hand.ends
    assert isinstance(end, SignerdError)
    return f"{end.code}/{end.reason}"


def test_no_worker_is_started_before_the_first_document(desk: Desk) -> None:
    assert desk.documents.pid is None
    desk.ask()
    assert desk.documents.pid == desk.workers[0].spawned.pid


def test_one_at_a_time_in_order(desk: Desk) -> None:
    hands = [desk.ask()[1] for _ in range(3)]
    for hand in hands:
        ((call, fds),) = desk.workers[0].heard()
        assert fds == ()
        desk.answer(call)
        assert isinstance(hand.wait, SealWait)
        assert hand.wait.item.payload == STATEMENT
    assert len(desk.workers) == 1


def test_the_document_travels_as_a_descriptor_of_the_links_own(desk: Desk) -> None:
    fd = sealed_memfd("document", b'{"ok": true}')
    desk.ask(fd=fd)
    os.close(fd)
    ((call, fds),) = desk.workers[0].heard()
    assert call.predicate == Descriptor(0, 12)
    assert os.pread(fds[0], 12, 0) == b'{"ok": true}'
    os.close(fds[0])


def test_a_refusal_has_its_pointer(desk: Desk) -> None:
    _, hand = desk.ask()
    ((call, _),) = desk.workers[0].heard()
    desk.answer(call, error=CallError("predicate.invalid", "schema", "no"), pointer="/a/0")
    assert code(hand) == "predicate.invalid/schema"
    assert hand.ends[0].details["pointer"] == "/a/0"  # type: ignore[union-attr]


def test_a_full_queue_is_an_overload_for_the_next_alone(desk: Desk) -> None:
    hands = [desk.ask()[1] for _ in range(1 + QUEUE)]
    _, refused = desk.ask()
    assert code(refused) == "daemon.overloaded/document_queue"
    assert all(not hand.ends for hand in hands)


def test_one_that_was_cut_short_is_not_looked_at_or_thrown_away(desk: Desk) -> None:
    first, first_hand = desk.ask()
    second, _ = desk.ask()
    _, third_hand = desk.ask()
    cancelled = Fault("request.cancelled", "cancelled", "cancelled")
    first.cut_short(cancelled)
    second.cut_short(cancelled)
    ((call, _),) = desk.workers[0].heard()
    large = sealed_memfd("statement", b"x")
    desk.workers[0].say(DocumentChecked(call.id, statement=STATEMENT), (large,))
    desk.documents.ready(READ)
    assert code(first_hand) == "request.cancelled/cancelled"
    ((call, _),) = desk.workers[0].heard()
    desk.answer(call)
    assert isinstance(third_hand.wait, SealWait)


def test_the_document_in_hand_is_lost_with_its_worker_and_the_next_has_a_new_one(desk: Desk) -> None:
    _, lost = desk.ask()
    _, next_one = desk.ask()
    desk.workers[0].link.close()
    desk.documents.ready(READ)
    assert code(lost) == "internal/document_worker"
    assert len(desk.workers) == 2
    ((call, _),) = desk.workers[1].heard()
    desk.answer(call)
    assert isinstance(next_one.wait, SealWait)


def test_a_worker_that_died_before_takes_no_document_with_it(desk: Desk) -> None:
    desk.ask()
    ((call, _),) = desk.workers[0].heard()
    desk.answer(call)
    os.kill(desk.workers[0].process.pid, signal.SIGKILL)
    desk.workers[0].link.close()
    _, hand = desk.ask()
    assert hand.ends == []
    assert len(desk.workers) == 2


@pytest.mark.parametrize(
    "lie",
    [
        lambda call: encode_frame(DocumentChecked(call.id + 2, statement=STATEMENT)),
        lambda call: encode_frame(DocumentChecked(call.id, statement=STATEMENT)) * 2,
        lambda call: b"\x00\x00\x00\x01\xc1",
        lambda call: b"\xff\xff\xff\xff",
    ],
    ids=["another_id", "twice", "not_msgpack", "endless"],
)
def test_a_worker_that_breaks_its_link_is_ended(desk: Desk, lie: Callable[[CheckDocument], bytes]) -> None:
    _, hand = desk.ask()
    worker = desk.workers[0]
    ((call, _),) = worker.heard()
    worker.link.queue(lie(call), (sealed_memfd("gift", b"x"),))
    worker.link.flush()
    desk.documents.ready(READ)
    assert desk.documents.pid is None
    assert worker.process.wait(5) == -signal.SIGKILL
    assert not isinstance(hand.wait, SealWait) or hand.wait.item.payload == STATEMENT


def test_a_worker_that_hangs_is_ended(desk: Desk) -> None:
    _, hand = desk.ask()
    desk.documents.tick(desk.clock.monotonic() + LONGEST_S)
    assert hand.ends == []
    desk.documents.tick(desk.clock.monotonic() + LONGEST_S + 1)
    assert code(hand) == "internal/document_worker"
    desk.documents.tick(desk.clock.monotonic() + 10 * LONGEST_S)


def test_where_none_can_be_started_everybody_is_told(desk: Desk) -> None:
    desk.refuse_start = True
    assert code(desk.ask()[1]) == "internal/document_worker"
    desk.refuse_start = False
    assert desk.ask()[1].ends == []
