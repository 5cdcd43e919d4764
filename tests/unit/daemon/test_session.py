import os
import socket
from array import array
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from fakes.services import PRINCIPAL
from running.configured import until
from signerd.contracts.values import Principal
from signerd.daemon.peer import read_peer
from signerd.daemon.poller import GONE, READ, WRITE, Handler, Poller
from signerd.daemon.session import MOST_DESCRIPTORS, WAITING_BYTES, Session
from signerd.errors import Fault, Refusal
from signerd.host.memfd import sealed_memfd
from signerd.wire.connection import NEED_DATA, Connection, Role
from signerd.wire.messages import Cancel, Error, Goaway, Hello, Limits, Message, Request, Response

EMPTY = msgspec.Raw(msgspec.msgpack.encode({}))
HELLO = Hello(
    (1,),
    "test",
    version=1,
    limits=Limits(4 << 20, 1 << 20, 1 << 27, 64, 256, 1024, 32, 64, 120_000),
    methods=(),
    profiles=(),
    nonce=b"n" * 16,
)


class Watched(Poller):
    """A poller that tells what it was asked to wait for."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.events: int | None = None

    def add(self, fd: int, handler: Handler, events: int = READ) -> None:
        super().add(fd, handler, events)
        self.events = events

    def change(self, fd: int, events: int) -> None:
        super().change(fd, events)
        self.events = events

    def remove(self, fd: int) -> None:
        super().remove(fd)
        self.events = None


class Daemon:
    """The owner: keeps what a session hands over."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.fds: list[tuple[int, ...]] = []
        self.cancelled: list[int] = []
        self.unbound = 0
        self.failures: list[tuple[str, str]] = []
        self.most_descriptors = 1000
        self.gone = 0
        self.defect: Exception | None = None

    def hello(self, session: Session, hello: Hello) -> Hello:
        return HELLO

    def request(self, session: Session, request: Request, fds: tuple[int, ...]) -> None:
        if self.defect is not None:
            raise self.defect
        self.requests.append(request)
        self.fds.append(fds)

    def cancel(self, session: Session, request_id: int) -> None:
        self.cancelled.append(request_id)

    def unbound_read(self, session: Session) -> None:
        self.unbound += 1

    def failed(self, session: Session, code: str, reason: str) -> None:
        self.failures.append((code, reason))

    def descriptors_read(self, session: Session) -> None:
        if session.descriptors > self.most_descriptors:
            session.fail(Fault("daemon.overloaded", "descriptors", "too many"))

    def unread(self, session: Session) -> int:
        return session.handed

    def closed(self, session: Session) -> None:
        self.gone += 1


class Talk:
    """A session, its peer's socket, and what both do in turn."""

    def __init__(self, principal: Principal | None = PRINCIPAL) -> None:
        ours, self.peer = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.peer.settimeout(5)
        self.daemon = Daemon()
        self.poller = Watched()
        self.client = Connection(Role.CLIENT, limit=8 << 20)
        self.session = Session(ours, read_peer(ours), principal, self.daemon, self.poller, 0.0)

    def greet(self) -> "Talk":
        self.send(Hello((1,), "test", inline_max=77))
        assert isinstance(self.receive(), Hello)
        return self

    def send(self, message: Message, fds: list[int] | None = None) -> None:
        self.send_bytes(self.client.send(message), fds)

    def send_bytes(self, data: bytes, fds: list[int] | None = None) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        self.peer.sendmsg([data], rights)
        self.session.ready(READ)

    def ask(self, number: int, fds: list[int] | None = None) -> None:
        self.send(Request(number, "daemon.health", EMPTY), fds)

    def receive(self) -> Any:
        """The next message, or None at the end."""
        while (event := self.client.next_event()) is NEED_DATA:
            try:
                data = self.peer.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self.client.receive_data(data)
        return event

    def close(self) -> None:
        self.session.close()
        self.peer.close()


@pytest.fixture
def talk() -> Iterator[Talk]:
    before = set(os.listdir("/proc/self/fd"))
    made = Talk()
    yield made
    made.close()
    for fds in made.daemon.fds:
        for fd in fds:
            os.close(fd)
    made.poller._epoll.close()
    until(lambda: set(os.listdir("/proc/self/fd")) <= before)  # what the peer handed over is closed off the loop


def test_hello_then_requests_and_answers_in_any_order(talk: Talk) -> None:
    talk.greet()
    assert talk.session.greeted
    assert (talk.session.software, talk.session.inline_max) == ("test", 77)
    talk.ask(1)
    talk.ask(2)
    assert [request.id for request in talk.daemon.requests] == [1, 2]
    assert talk.session.in_flight == 2
    delivered: list[bool] = []
    talk.session.answer(Response(2, EMPTY), (), delivered.append)
    talk.session.refuse(1, Refusal("key.not_found", "no_such_key", "no such key", operator="/secret/path"))
    assert delivered == [True]
    second, first = talk.receive(), talk.receive()
    assert (second.id, first.id, first.code) == (2, 1, "key.not_found")
    assert "secret" not in repr(first)
    assert talk.session.in_flight == 0


def test_a_request_in_pieces_is_held_until_it_is_whole(talk: Talk) -> None:
    talk.greet()
    frame = talk.client.send(Request(1, "daemon.health", EMPTY))
    for byte in frame[:-1]:
        talk.send_bytes(bytes([byte]))
    assert talk.session.held == len(frame) - 1
    assert talk.daemon.requests == []
    talk.send_bytes(frame[-1:])
    assert talk.session.held == 0
    assert len(talk.daemon.requests) == 1


def test_a_breach_has_a_last_word(talk: Talk) -> None:
    talk.greet()
    talk.send_bytes(b"\x00\x00\x00\x01\xc1")
    last = talk.receive()
    assert isinstance(last, Error)
    assert last.code == "request.malformed"
    assert not talk.session.alive
    assert talk.daemon.gone == 1
    assert talk.poller.events is None


def test_the_end_of_the_stream_is_a_hang_up(talk: Talk) -> None:
    talk.greet()
    talk.ask(1)
    talk.peer.shutdown(socket.SHUT_WR)
    talk.session.ready(READ)
    assert not talk.session.alive
    talk.session.answer(Response(1, EMPTY), (), None)  # nobody hears it, and nothing breaks
    talk.session.refuse(1, Refusal("key.not_found", "no_such_key", "no"))
    talk.session.close()
    assert talk.daemon.gone == 1


def test_an_answer_to_one_who_has_gone_is_undelivered_and_its_descriptors_are_closed(talk: Talk) -> None:
    talk.greet()
    talk.ask(1)
    talk.peer.close()
    delivered: list[bool] = []
    fd = os.dup(0)
    talk.session.answer(Response(1, EMPTY), (fd,), delivered.append)
    assert delivered == [False]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert not talk.session.alive


def test_cancel_is_handed_over_for_what_is_in_flight_alone(talk: Talk) -> None:
    talk.greet()
    talk.ask(1)
    talk.send(Cancel(1))
    talk.send(Cancel(9))
    assert talk.daemon.cancelled == [1]


def test_a_defect_of_ours_ends_the_session_alone(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    talk.greet()
    talk.daemon.defect = KeyError("oops")
    talk.ask(1)
    assert not talk.session.alive
    assert "defect" in caplog.text


def test_goaway_is_said_once_and_not_before_hello(talk: Talk) -> None:
    talk.session.goaway("draining")
    talk.greet()
    talk.session.goaway("draining")
    talk.session.goaway("draining")
    assert talk.receive() == Goaway("draining")
    assert talk.client.next_event() is NEED_DATA
    assert talk.session.alive


def test_why_is_said_before_hello_too(talk: Talk) -> None:
    talk.session.fail(Fault("daemon.overloaded", "connections", "too many connections"))
    last = talk.receive()
    assert (last.code, last.retryable) == ("daemon.overloaded", True)
    assert talk.daemon.failures == [("daemon.overloaded", "connections")]
    assert not talk.session.alive


def test_an_unbound_session_is_looked_at_after_each_read_a_bound_one_is_not() -> None:
    for principal, looks in ((None, 2), (PRINCIPAL, 0)):
        talk = Talk(principal)
        talk.send_bytes(b"\x00")
        talk.send_bytes(b"\x00")
        assert talk.daemon.unbound == looks
        talk.close()


# ---- descriptors


def test_descriptors_go_with_their_request_and_are_counted(talk: Talk) -> None:
    talk.greet()
    talk.ask(1, [0, 1, 2])
    talk.ask(2)
    assert [len(fds) for fds in talk.daemon.fds] == [3, 0]
    assert talk.session.descriptors == 3


def test_descriptors_of_an_unfinished_frame_are_closed_with_the_session(talk: Talk) -> None:
    talk.greet()
    talk.send_bytes(b"\x00\x00\x10\x00", [0, 1])
    assert talk.session.descriptors == 2
    talk.session.close()  # the fixture counts what is open


def test_too_many_that_are_held_end_the_session(talk: Talk) -> None:
    talk.greet()
    talk.daemon.most_descriptors = 100
    for _ in range(2):
        talk.send_bytes(b"\x00", [0] * MOST_DESCRIPTORS)
    assert talk.receive().code == "daemon.overloaded"
    assert not talk.session.alive


def test_too_many_at_once_end_the_session(talk: Talk) -> None:
    talk.greet()
    talk.ask(1, [0] * (MOST_DESCRIPTORS + 1))
    last = talk.receive()
    assert (last.code, last.details["reason"]) == ("request.malformed", "descriptors_cut_off")
    assert talk.daemon.requests == []


def test_descriptors_of_what_takes_none_are_closed(talk: Talk) -> None:
    talk.greet()
    talk.send(Request(1, "daemon.health", EMPTY, deadline_ms=0), [0, 1])
    assert talk.receive().code == "request.malformed"
    assert talk.session.descriptors == 0
    assert talk.session.alive


def test_a_child_of_the_peer_is_somebody_else(talk: Talk) -> None:
    talk.greet()
    frame = talk.client.send(Request(1, "daemon.health", EMPTY))
    child = os.fork()
    if child == 0:
        talk.peer.send(frame)
        os._exit(0)
    os.waitpid(child, 0)
    talk.session.ready(READ)
    last = talk.receive()
    assert (last.code, last.details["reason"]) == ("auth.peer_denied", "foreign_sender")
    assert talk.daemon.requests == []


# ---- peers that do not read


def test_large_answers_that_are_not_read_are_counted_until_they_are(talk: Talk) -> None:
    talk.greet()
    for number in (1, 2):
        talk.ask(number)
        result = msgspec.Raw(msgspec.msgpack.encode({}))
        talk.session.answer(Response(number, result), (sealed_memfd("result", b"x" * 1000),))
    assert talk.session.handed == 2000, "sent, but its memory is still the daemon's"
    for _ in range(2):
        _, fds, _, _ = socket.recv_fds(talk.peer, 1 << 16, 2)
        os.close(*fds)
    assert talk.session.handed == 0


def fill(talk: Talk) -> int:
    """Answer without the peer reading, until nothing more is read from it; returns how many were answered."""
    number = 0
    while talk.poller.events is not None and talk.poller.events & READ:
        number += 1
        talk.ask(number)
        talk.session.answer(Response(number, msgspec.Raw(msgspec.msgpack.encode(b"x" * 8000))))
        assert number < 10_000
    return number


def test_one_that_does_not_read_is_not_read_until_it_has_caught_up(talk: Talk) -> None:
    talk.greet()
    number = fill(talk)
    assert talk.poller.events == WRITE
    assert talk.session.unsent
    for one in range(1, number + 1):
        assert talk.receive().id == one
        talk.session.ready(WRITE)
    assert talk.poller.events == READ
    assert not talk.session.unsent


def test_frames_that_were_read_already_wait_as_well(talk: Talk) -> None:
    """One read may bring a thousand requests: those after the limit are handled when the peer has caught up."""
    talk.greet()
    many = 1000

    def answer(session: Session, request: Request, fds: tuple[int, ...]) -> None:
        talk.daemon.requests.append(request)
        session.answer(Response(request.id, msgspec.Raw(msgspec.msgpack.encode(b"x" * 20_000))))

    talk.daemon.request = answer  # type: ignore[method-assign]  # answers at once
    frames = b"".join(talk.client.send(Request(n, "daemon.info", EMPTY)) for n in range(1, many + 1))
    assert len(frames) < 64 * 1024
    talk.send_bytes(frames)
    handled = len(talk.daemon.requests)
    assert handled < (WAITING_BYTES + 500_000) // 20_000 + 2
    talk.session.ready(READ)  # reported before it was stopped: it must neither read nor close
    assert talk.session.alive
    for one in range(1, many + 1):
        talk.session.ready(WRITE)
        assert talk.receive().id == one
    assert len(talk.daemon.requests) == many


def test_the_end_of_one_that_is_not_read_is_seen(talk: Talk) -> None:
    talk.greet()
    fill(talk)
    talk.peer.close()
    talk.session.ready(GONE)
    assert not talk.session.alive
    assert talk.daemon.gone == 1


def test_undelivered_answers_are_told_so_when_the_session_ends(talk: Talk) -> None:
    talk.greet()
    fill(talk)
    talk.session._connection.in_flight.add(5000)
    delivered: list[bool] = []
    talk.session.answer(Response(5000, EMPTY), (os.dup(0),), delivered.append)
    assert delivered == []
    talk.session.close()
    assert delivered == [False]
