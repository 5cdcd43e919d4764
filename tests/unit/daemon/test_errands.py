import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from fakes.services import FakeClock
from signerd.daemon.errands import LONGEST_S, Errand, Errands
from signerd.daemon.poller import READ, Poller
from signerd.errors import Fault, SignerdError
from signerd.host.link import Link
from signerd.host.spawn import Spawned
from signerd.wire.frames import encode_frame


class Say(msgspec.Struct, frozen=True):
    id: int
    text: str


class Desk:
    """Errands to workers that sleep, whose end of the link is in the test's hand."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.spawned: list[Spawned] = []
        self.links: list[Link] = []
        self.ended: list[tuple[str, str]] = []
        self.fds: list[int] = []
        decode = msgspec.msgpack.Decoder(Say).decode
        lost = lambda: Fault("internal", "lost", "lost")  # noqa: E731  # a factory of one expression
        self.errands: Errands[Say] = Errands("worker", lost, decode, self._start, Poller(lambda: None), self.clock)

    def _start(self) -> Spawned:
        ours, theirs = socket.socketpair()
        process = subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(60)"], process_group=0)
        self.spawned.append(Spawned(process, ours))
        self.links.append(Link(theirs))
        return self.spawned[-1]

    def add(self, name: str, owner: str = "a", fd: int | None = None) -> Errand[Say]:
        def done(answer: Say | SignerdError, fds: tuple[int, ...]) -> None:
            self.ended.append((name, answer.text if isinstance(answer, Say) else answer.reason))
            self.fds.extend(fds)

        errand = Errand(owner, Say(0, name), fd, done)
        self.errands.add(errand)
        return errand

    def heard(self) -> Say:
        ((frame, fds),) = self.links[-1].read()
        for fd in fds:
            os.close(fd)
        return msgspec.msgpack.decode(frame, type=Say)

    def answer(self, number: int, fds: tuple[int, ...] = ()) -> None:
        self.links[-1].queue(encode_frame(Say(number, "done")), fds)
        self.links[-1].flush()
        self.errands.ready(READ)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.errands.close()
    for spawned, link in zip(made.spawned, made.links, strict=True):
        spawned.end(0)
        link.close()
    for fd in made.fds:
        os.close(fd)


def test_nothing_is_started_before_it_is_needed(desk: Desk) -> None:
    assert desk.errands.pid is None
    desk.add("first")
    assert desk.errands.pid == desk.spawned[0].pid


def test_one_in_hand_and_owners_in_turn(desk: Desk) -> None:
    for name, owner in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        desk.add(name, owner)
    assert (desk.errands.waiting("a"), desk.errands.waiting("b")) == (1, 1)
    served = []
    for _ in range(3):
        said = desk.heard()
        served.append(said.text)
        desk.answer(said.id)
    assert served == ["a1", "a2", "b1"]
    assert [name for name, _ in desk.ended] == served


def test_what_came_with_an_answer_is_the_askers(desk: Desk) -> None:
    desk.add("a")
    desk.answer(desk.heard().id, (os.open(os.devnull, os.O_RDONLY),))
    assert desk.ended == [("a", "done")]
    assert len(desk.fds) == 1


def test_what_came_for_a_dropped_one_is_closed(desk: Desk) -> None:
    desk.errands.drop("a", [desk.add("a")])
    number = desk.heard().id
    before = set(os.listdir("/proc/self/fd"))
    desk.answer(number, (os.open(os.devnull, os.O_RDONLY),))
    assert set(os.listdir("/proc/self/fd")) <= before
    assert desk.ended == []


@pytest.mark.parametrize("number", [0, 2, 99])
def test_an_answer_that_nobody_waits_for_costs_the_worker_its_life(desk: Desk, number: int) -> None:
    desk.add("a")
    desk.add("b")
    desk.heard()
    desk.answer(number)
    assert desk.ended == [("a", "lost")]
    assert len(desk.spawned) == 2
    assert desk.heard().text == "b"


def test_a_worker_that_hangs_is_killed(desk: Desk) -> None:
    desk.add("a")
    desk.errands.tick(desk.clock.monotonic() + LONGEST_S + 1)
    assert desk.ended == [("a", "lost")]
    assert desk.errands.pid is None
