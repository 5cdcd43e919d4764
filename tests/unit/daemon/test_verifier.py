import socket
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from fakes.services import FakeClock
from signerd.daemon.errands import LONGEST_S
from signerd.daemon.poller import READ, Poller
from signerd.daemon.verifier import QUEUE, Job, Verifier, job_of
from signerd.errors import Fault, SignerdError
from signerd.host.link import Link
from signerd.host.spawn import Spawned
from signerd.wire.frames import encode_frame
from signerd.wire.verified import BundleVerified
from signerd.wire.worker_calls import BundleJudged, CallError, JudgeBundle

GOOD = BundleVerified(True, (), "skipped", ())
ACME, UMBRA = ("acme", "a"), ("umbra", "u")


class Worker:
    """A started worker: a process that sleeps, and its end of the link in the test's hand."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-I", "-c", "import time; time.sleep(60)"]
        self.process = subprocess.Popen(command, process_group=0)
        self.spawned = Spawned(self.process, ours)
        self.link = Link(theirs)

    def heard(self) -> list[JudgeBundle]:
        return [msgspec.msgpack.decode(frame, type=JudgeBundle) for frame, _ in self.link.read()]

    def say(self, answer: object) -> None:
        assert isinstance(answer, msgspec.Struct)
        self.link.queue(encode_frame(answer), ())
        self.link.flush()


class Desk:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.workers: list[Worker] = []
        self.refuse_start = False
        self.verifier = Verifier(self._start, Poller(lambda: None), self.clock)
        self.ended: list[tuple[str, BundleVerified | SignerdError]] = []

    def _start(self) -> Spawned:
        if self.refuse_start:
            raise OSError(11, "Resource temporarily unavailable")
        self.workers.append(Worker())
        return self.workers[-1].spawned

    def ask(self, name: str, owner: tuple[str, str] = ACME) -> Job:
        call = JudgeBundle(0, owner[0], name.encode())
        job = job_of(owner, call, None, lambda outcome: self.ended.append((name, outcome)))
        self.verifier.ask(job)
        return job

    def serve(self) -> str:
        """Answer the bundle that is in hand, and return its name."""
        (call,) = self.workers[-1].heard()
        self.workers[-1].say(BundleJudged(call.id, GOOD))
        self.verifier.ready(READ)
        assert isinstance(call.bundle, bytes)
        return call.bundle.decode()

    def reasons(self) -> list[tuple[str, str]]:
        return [(name, getattr(outcome, "reason", "verified")) for name, outcome in self.ended]


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.verifier.close()
    for worker in made.workers:
        if worker.process.poll() is None:
            worker.spawned.end(0)
        worker.link.close()


def test_owners_have_their_turns(desk: Desk) -> None:
    for name in ("a1", "a2", "a3"):
        desk.ask(name)
    desk.ask("u1", UMBRA)
    assert [desk.serve() for _ in range(4)] == ["a1", "a2", "u1", "a3"]
    assert desk.reasons() == [(name, "verified") for name in ("a1", "a2", "u1", "a3")]


def test_one_owner_can_fill_its_own_queue_alone(desk: Desk) -> None:
    for _ in range(QUEUE + 1):  # one is in hand
        desk.ask("a")
    with pytest.raises(Fault) as caught:
        desk.ask("a")
    assert (caught.value.code, caught.value.reason) == ("daemon.overloaded", "verifying_queue")
    desk.ask("u", UMBRA)


def test_a_refusal_is_the_askers(desk: Desk) -> None:
    desk.ask("a")
    (call,) = desk.workers[0].heard()
    error = CallError("request.malformed", "policy_unknown", "there is no such policy")
    desk.workers[0].say(BundleJudged(call.id, error=error, details={"field": "policy"}))
    desk.verifier.ready(READ)
    ((_, outcome),) = desk.ended
    assert isinstance(outcome, SignerdError)
    assert dict(outcome.details) == {"reason": "policy_unknown", "field": "policy"}


def test_what_is_forgotten_is_not_looked_at(desk: Desk) -> None:
    jobs = [desk.ask(name) for name in ("a1", "a2", "a3")]
    desk.verifier.drop(ACME, jobs[:2])
    assert [desk.serve(), desk.serve()] == ["a1", "a3"]
    assert desk.reasons() == [("a3", "verified")]


@pytest.mark.parametrize(
    "answer",
    [
        BundleJudged(99, GOOD),
        BundleJudged(1),
        BundleJudged(1, GOOD, CallError("internal", "x", "x")),
        JudgeBundle(1, "acme", b""),
    ],
)
def test_a_worker_that_answers_nonsense_is_replaced(answer: msgspec.Struct, desk: Desk) -> None:
    desk.ask("a1")
    desk.ask("a2")
    desk.workers[0].say(answer)
    desk.verifier.ready(READ)
    assert desk.reasons() == [("a1", "verifying_worker")]
    assert len(desk.workers) == 2
    assert desk.serve() == "a2"


def test_a_worker_that_hangs_is_replaced(desk: Desk) -> None:
    desk.ask("a1")
    desk.verifier.tick(desk.clock.monotonic() + LONGEST_S - 1)
    assert desk.ended == []
    desk.verifier.tick(desk.clock.monotonic() + LONGEST_S + 1)
    assert desk.reasons() == [("a1", "verifying_worker")]


def test_a_worker_that_cannot_start_fails_what_waits(desk: Desk) -> None:
    desk.refuse_start = True
    desk.ask("a1")
    assert desk.reasons() == [("a1", "verifying_worker")]
    desk.refuse_start = False
    desk.ask("a2")
    assert desk.serve() == "a2"


def test_renewal_lets_the_bundle_in_hand_be_finished(desk: Desk) -> None:
    desk.ask("a1")
    desk.verifier.renew()
    desk.ask("a2")
    assert [desk.serve(), desk.serve()] == ["a1", "a2"]
    assert len(desk.workers) == 2
