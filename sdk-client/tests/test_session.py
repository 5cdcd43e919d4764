import os
from typing import Any

import pytest
from msgspec import UNSET, Raw

from signerd.errors import Fault, Refusal
from signerd.wire.connection import Connection, Role, Wait
from signerd.wire.frames import encode_frame
from signerd.wire.messages import Cancel, Error, Goaway, Hello, Limits, Message, Request, Response
from signerd_client.descriptors import sealed_memfd
from signerd_client.requests import Call, plain_call
from signerd_client.session import GRACE_S, Session, connection_lost


class Pair:
    """A session with the daemon's side of the protocol."""

    def __init__(self, limits: Limits) -> None:
        self.session = Session(inline_max=77)
        self.server = Connection(Role.SERVER)
        (hello,) = self.to_server(self.session.greet())
        assert isinstance(hello, Hello)
        assert hello.inline_max == 77
        greeting = Hello((1,), "d", version=1, limits=limits, methods=(), profiles=(), nonce=bytes(16))
        assert self.session.receive(self.server.send(greeting)) == []

    def to_server(self, data: bytes) -> list[Any]:
        self.server.receive_data(data)
        events: list[Any] = []
        while not isinstance(event := self.server.next_event(), Wait):
            events.append(event)
            if isinstance(event, Hello):
                break
        return events

    def ask(self) -> int:
        identifier, frame = self.session.start(plain_call("daemon.health"))
        (request,) = self.to_server(frame)
        assert isinstance(request, Request)
        return identifier

    def say(self, message: Message, *descriptors: int) -> list[Any]:
        return self.session.receive(self.server.send(message), descriptors)


@pytest.fixture
def pair(limits: Limits) -> Pair:
    return Pair(limits)


def closed(descriptor: int) -> bool:
    return not os.path.exists(f"/proc/self/fd/{descriptor}")


def test_before_the_hello_there_is_nothing_to_ask() -> None:
    session = Session()
    with pytest.raises(Fault) as caught:
        session.start(plain_call("daemon.info"))
    assert caught.value.reason == "no_hello"


def test_answers_come_in_any_order(pair: Pair) -> None:
    first, second = pair.ask(), pair.ask()
    (answer,) = pair.say(Response(second, Raw(b"\x80")))
    assert (answer.id, bytes(answer.result)) == (second, b"\x80")
    (refused,) = pair.say(Error("quota.rate", "slow", True, first, details={"reason": "rate"}))
    assert (refused.id, refused.error.code, refused.result) == (first, "quota.rate", None)
    assert pair.session.failure is None


def test_a_cancel_is_sent_once_and_only_for_what_is_in_flight(pair: Pair) -> None:
    identifier = pair.ask()
    assert pair.to_server(pair.session.cancel(identifier)) == [Cancel(identifier)]
    pair.say(Error("request.cancelled", "", False, identifier, details={"reason": "cancelled"}))
    assert pair.session.cancel(identifier) == b""
    assert pair.session.cancel(99) == b""


def test_descriptors_belong_to_their_answer(pair: Pair) -> None:
    identifier, descriptor = pair.ask(), sealed_memfd(b"x")
    (answer,) = pair.say(Response(identifier, Raw(b"\x80")), descriptor)
    assert answer.descriptors == (descriptor,)
    answer.close()
    assert closed(descriptor)


def test_descriptors_of_nothing_are_closed(pair: Pair) -> None:
    frame = pair.server.send(Goaway("draining"))
    descriptors = [sealed_memfd(b""), sealed_memfd(b"")]
    pair.session.receive(frame, descriptors[:1])
    assert pair.session.failure is not None
    assert closed(descriptors[0])
    other = Session()
    other.greet()
    other.receive(b"\0\0", descriptors[1:])
    other.close()
    assert closed(descriptors[1])


def test_a_draining_daemon_is_asked_nothing_more_and_still_answers(pair: Pair) -> None:
    identifier = pair.ask()
    pair.say(Goaway("draining"))
    with pytest.raises(Fault) as caught:
        pair.session.start(plain_call("daemon.info"))
    assert (caught.value.code, caught.value.reason) == ("daemon.draining", "goaway")
    assert len(pair.say(Response(identifier, Raw(b"\x80")))) == 1


def test_what_the_daemon_says_of_the_connection_ends_it(pair: Pair) -> None:
    pair.say(Error("auth.peer_denied", "no", False, details={"reason": "uid"}))
    assert pair.session.failure is not None
    assert (pair.session.failure.code, pair.session.failure.reason) == ("auth.peer_denied", "uid")
    with pytest.raises(Refusal) as caught:
        pair.session.start(plain_call("daemon.info"))
    assert caught.value is not pair.session.failure


def test_the_end_keeps_the_answers_before_it(pair: Pair) -> None:
    identifier = pair.ask()
    answer = pair.server.send(Response(identifier, Raw(b"\x80")))
    assert len(pair.session.receive(answer + b"\xff\xff\xff\xff")) == 1
    assert pair.session.failure is not None
    assert (pair.session.failure.code, pair.session.failure.reason) == ("internal", "protocol")


def test_a_hang_up_is_told(pair: Pair) -> None:
    pair.session.receive(b"")
    assert str(pair.session.failure) == str(connection_lost())


def test_messages_of_an_unknown_type_are_ignored(pair: Pair) -> None:
    body = b"\x81\xa4type\xa5later"
    assert pair.session.receive(len(body).to_bytes(4, "big") + body) == []
    assert pair.session.failure is None
    assert pair.ask()


def test_an_answer_to_nothing_breaks_the_protocol(pair: Pair) -> None:
    pair.session.receive(encode_frame(Response(9, Raw(b"\x80"))))
    assert pair.session.failure is not None
    assert pair.session.failure.reason == "protocol"


def test_what_fits_into_no_frame_is_refused_here(pair: Pair, limits: Limits) -> None:
    big = Call("sign.dsse", Raw(b"\xc6" + bytes(limits.frame_bytes)))
    with pytest.raises(Refusal) as caught:
        pair.session.start(big)
    assert (caught.value.code, caught.value.reason) == ("request.too_large", "frame_too_large")
    assert pair.ask() == 1


@pytest.mark.parametrize("deadline_s", [0, -1, 0.0001])
def test_a_deadline_without_time_is_refused_here(pair: Pair, deadline_s: float) -> None:
    with pytest.raises(Refusal) as caught:
        pair.session.start(plain_call("daemon.health"), deadline_s)
    assert caught.value.code == "request.malformed"


def test_a_deadline_is_sent_in_milliseconds_and_waited_for_with_grace(pair: Pair, limits: Limits) -> None:
    _, frame = pair.session.start(plain_call("daemon.health"), 1.5)
    (request,) = pair.to_server(frame)
    assert request.deadline_ms == 1500
    _, frame = pair.session.start(plain_call("daemon.health"))
    assert pair.to_server(frame)[0].deadline_ms is UNSET
    assert pair.session.patience_s(1.5) == 1.5 + GRACE_S
    assert (
        pair.session.patience_s(None) == pair.session.patience_s(1e9) == limits.deadline_ms / 1000 + GRACE_S
    )


def test_ids_in_flight_are_not_given_again(pair: Pair) -> None:
    first = pair.ask()
    pair.session._last_id = 2**32 - 2
    assert [pair.ask(), pair.ask()] == [2**32 - 1, first + 1]


def test_a_forked_child_is_refused(pair: Pair) -> None:
    """T12: the daemon would end the session at the first frame of another sender."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            pair.session.start(plain_call("daemon.health"))
        except Refusal as refusal:
            os.write(writing, f"{refusal.code} {refusal.reason}".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"auth.peer_denied forked"
    os.close(reading)
    assert pair.ask() == 1
