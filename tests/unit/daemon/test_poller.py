import socket
from collections.abc import Callable, Iterator

import pytest
import trio

from signerd.daemon.poller import GONE, READ, WRITE, Poller


class Heard:
    """Keeps what it is told; ``then`` runs each time."""

    def __init__(self, then: Callable[[int], None]) -> None:
        self.events: list[int] = []
        self._then = then

    def ready(self, events: int) -> None:
        self.events.append(events)
        self._then(events)


Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


async def serve(poller: Poller, until: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        with trio.fail_after(5):
            await until.wait()
        nursery.cancel_scope.cancel()


async def test_what_is_ready_is_served_and_the_turn_ends_with_after(pair: Pair) -> None:
    ours, theirs = pair
    done = trio.Event()
    order: list[str] = []

    def after() -> None:
        order.append("after")
        done.set()

    def read(events: int) -> None:
        order.append(ours.recv(10).decode())

    poller = Poller(after)
    heard = Heard(read)
    poller.add(ours.fileno(), heard)
    theirs.send(b"first")
    await serve(poller, done)
    assert order[:2] == ["first", "after"]
    assert heard.events == [READ]


async def test_other_events_and_none(pair: Pair) -> None:
    ours, theirs = pair
    done = trio.Event()
    poller = Poller(lambda: None)

    def look(events: int) -> None:
        poller.change(ours.fileno(), 0)
        theirs.send(b"x")  # readable, which nobody waits for now
        done.set()

    heard = Heard(look)
    poller.add(ours.fileno(), heard, WRITE)
    await serve(poller, done)
    assert heard.events == [WRITE]


async def test_the_peers_end_is_told_whatever_is_waited_for(pair: Pair) -> None:
    ours, theirs = pair
    done = trio.Event()
    poller = Poller(lambda: None)

    def gone(events: int) -> None:
        poller.remove(ours.fileno())
        done.set()

    heard = Heard(gone)
    poller.add(ours.fileno(), heard, 0)
    theirs.close()
    await serve(poller, done)
    (events,) = heard.events
    assert events & GONE
    assert not events & (READ | WRITE)


async def test_one_that_is_removed_by_another_in_the_same_turn_is_served_no_more(pair: Pair) -> None:
    ours, theirs = pair
    done = trio.Event()
    poller = Poller(done.set)

    def remove(other: socket.socket, own: socket.socket) -> Callable[[int], None]:
        def ready(events: int) -> None:
            poller.remove(other.fileno())
            own.recv(1)

        return ready

    first, second = Heard(remove(theirs, ours)), Heard(remove(ours, theirs))
    poller.add(ours.fileno(), first)
    poller.add(theirs.fileno(), second)
    ours.send(b"a")
    theirs.send(b"b")
    await serve(poller, done)
    assert len(first.events) + len(second.events) == 1
    poller.remove(ours.fileno())  # harmless for one that is not served
