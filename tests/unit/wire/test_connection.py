import tracemalloc
from collections.abc import Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from signerd.wire.connection import (
    FRAME_LIMIT,
    NEED_DATA,
    PAUSED,
    Connection,
    ConnectionClosed,
    LocalProtocolError,
    Rejected,
    RemoteProtocolError,
    Role,
    State,
)
from signerd.wire.frames import encode_frame
from signerd.wire.messages import Cancel, Error, Goaway, Hello, Limits, Message, Request, Response

EMPTY = Raw(b"\x80")
CLIENT_HELLO = Hello((1,), "client/1")
LIMITS = Limits(1, 1, 1, 1, 1, 1, 1, 1, 1)
SERVER_HELLO = Hello(
    (1,), "signerd/1", version=1, limits=LIMITS, methods=(), profiles=(), nonce=b"n" * 32
)  # fmt: skip
ASK = Request(1, "daemon.health", EMPTY)
REFUSED = Error("internal", "m", False, id=1)


def packed(content: object) -> bytes:
    body: bytes = msgpack.packb(content)
    return len(body).to_bytes(4, "big") + body


class Joined:
    """Two connections; what one sends the other receives, and what either says of it is kept."""

    def __init__(self) -> None:
        self.ends = {role: Connection(role) for role in Role}

    def say(self, role: Role, message: Message, fds: tuple[int, ...] = ()) -> Any:
        return self.put(role, self.ends[role].send(message), fds)

    def put(self, role: Role, data: bytes, fds: tuple[int, ...] = ()) -> Any:
        other = self.ends[role.other]
        other.receive_data(data, fds)
        return other.next_event()


def joined() -> Joined:
    both = Joined()
    assert both.say(Role.CLIENT, CLIENT_HELLO) == CLIENT_HELLO
    assert both.say(Role.SERVER, SERVER_HELLO) == SERVER_HELLO
    return both


def breach(both: Joined, data: bytes, role: Role = Role.CLIENT, fds: tuple[int, ...] = ()) -> tuple[str, str]:
    """The code and reason with which ``role`` is turned away for sending ``data``."""
    with pytest.raises(RemoteProtocolError) as caught:
        both.put(role, data, fds)
    receiver = both.ends[role.other]
    assert receiver.their_state is State.FAILED
    with pytest.raises(RemoteProtocolError):
        receiver.next_event()
    if role is Role.CLIENT:
        last = receiver.send(caught.value.error)
        assert "id" not in msgpack.unpackb(last[4:])
    with pytest.raises(LocalProtocolError):
        receiver.send(caught.value.error)
    return caught.value.code, caught.value.reason


# ---- both hellos


def test_hellos_are_exchanged_and_requests_answered_in_any_order() -> None:
    both = joined()
    for request_id in (1, 2, 3):
        assert both.say(Role.CLIENT, Request(request_id, "keys.list", EMPTY)).id == request_id
    assert both.ends[Role.SERVER].in_flight == both.ends[Role.CLIENT].in_flight == {1, 2, 3}
    assert both.say(Role.SERVER, Response(3, EMPTY)) == Response(3, EMPTY)
    assert both.say(Role.SERVER, REFUSED) == REFUSED
    assert both.ends[Role.SERVER].in_flight == both.ends[Role.CLIENT].in_flight == {2}
    assert both.say(Role.CLIENT, ASK) == ASK


def test_a_request_behind_the_hello_waits_for_the_servers_hello() -> None:
    server = Connection(Role.SERVER)
    server.receive_data(encode_frame(CLIENT_HELLO) + encode_frame(ASK))
    assert server.next_event() == CLIENT_HELLO
    assert server.next_event() is PAUSED
    server.send(SERVER_HELLO)
    assert server.next_event() == ASK
    assert server.next_event() is NEED_DATA


def test_a_client_that_speaks_other_versions_only_is_unsupported() -> None:
    assert breach(Joined(), encode_frame(Hello((2, 3), "c"))) == ("request.unsupported", "no_common_version")
    both = Joined()
    assert both.put(Role.CLIENT, encode_frame(Hello((7, 1), "c"))).versions == (7, 1)


def test_a_server_that_chose_another_version_is_turned_away() -> None:
    both = Joined()
    both.say(Role.CLIENT, CLIENT_HELLO)
    hello = Hello(
        (1, 2), "s", version=2, limits=SERVER_HELLO.limits, methods=(), profiles=(), nonce=b"n" * 16
    )
    assert breach(both, encode_frame(hello), Role.SERVER) == ("request.unsupported", "no_common_version")


@pytest.mark.parametrize("field", ["version", "limits", "methods", "profiles", "nonce"])
def test_a_servers_hello_is_whole(field: str) -> None:
    both = Joined()
    both.say(Role.CLIENT, CLIENT_HELLO)
    content = msgpack.unpackb(encode_frame(SERVER_HELLO)[4:])
    del content[field]
    assert breach(both, packed(content), Role.SERVER) == ("request.malformed", "missing_field")


# ---- what closes a connection


@pytest.mark.parametrize("message", [ASK, Cancel(1), Response(1, EMPTY), REFUSED, Goaway("r")])
def test_a_first_frame_that_is_no_hello(message: Message) -> None:
    assert breach(Joined(), encode_frame(message)) == ("request.malformed", "hello_expected")


def test_a_first_frame_of_unknown_type() -> None:
    assert breach(Joined(), packed({"type": "greeting"})) == ("request.malformed", "hello_expected")


def test_a_second_hello() -> None:
    assert breach(joined(), encode_frame(CLIENT_HELLO)) == ("request.malformed", "second_hello")


@pytest.mark.parametrize("message", [Response(1, EMPTY), REFUSED, Error("internal", "m", False), Goaway("r")])
def test_what_only_a_server_says(message: Message) -> None:
    both = joined()
    both.say(Role.CLIENT, ASK)
    assert breach(both, encode_frame(message)) == ("request.malformed", "not_from_this_side")


@pytest.mark.parametrize("message", [ASK, Cancel(1)])
def test_what_only_a_client_says(message: Message) -> None:
    assert breach(joined(), encode_frame(message), Role.SERVER) == ("request.malformed", "not_from_this_side")


def test_an_id_in_flight_twice() -> None:
    both = joined()
    both.say(Role.CLIENT, ASK)
    assert breach(both, encode_frame(ASK)) == ("request.malformed", "id_in_flight")


@pytest.mark.parametrize("message", [Response(9, EMPTY), Error("internal", "m", False, id=9)])
def test_an_answer_that_nobody_waits_for(message: Message) -> None:
    assert breach(joined(), encode_frame(message), Role.SERVER) == ("request.malformed", "unknown_id")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"type": "request", "id": 0, "method": "m", "params": {}}, "out_of_range"),
        ({"type": "request", "id": 2**32, "method": "m", "params": {}}, "out_of_range"),
        ({"type": "request", "id": 1.0, "method": "m", "params": {}}, "wrong_type"),
        ({"type": "request", "id": None, "method": "m", "params": {}}, "wrong_type"),
        ({"type": "request", "id": 1, "method": b"m", "params": {}}, "wrong_type"),
        ({"type": "request", "id": 1, "method": "m", "params": {}, "deadline_ms": None}, "wrong_type"),
        ({"type": "request", "id": 1, "params": {}}, "missing_field"),
        ({"type": "request", "id": 1, "method": "m"}, "missing_field"),
        ({"id": 1, "method": "m", "params": {}}, "missing_field"),
        ({"type": 5}, "wrong_type"),
        ({"type": None}, "wrong_type"),
        ({5: 5}, "wrong_type"),
        ([], "wrong_type"),
        (None, "wrong_type"),
    ],
)
def test_messages_out_of_shape(content: object, reason: str) -> None:
    assert breach(joined(), packed(content)) == ("request.malformed", reason)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_msgpack"),
        (b"\xc1", "not_msgpack"),
        (b"\x82\xa4type\xa6cancel\xa2id", "not_msgpack"),
        (b"\x82\xa4type\xa6cancel\xa2id\x01\x00", "not_msgpack"),
        (b"\xdf\xff\xff\xff\xff\xa4type\xa6cancel\xa2id\x01", "not_msgpack"),
        (b"\x81\xa4type\xa1\xff", "bad_utf8"),
        (b"\x82\xa4type\xa6goaway\xa6reason\xa1\xff", "bad_utf8"),
        (b"\x83\xa4type\xa6cancel\xa2id\x01\xa1g" + b"\x91" * 100_000 + b"\xc0", "too_deep"),
        (b"\x83\xa4type\xa6cancel\xa2id\x01\xa2id\x02", "repeated_key"),
        (b"\x83\xa4type\xa6cancel\xa4type\xa6cancel\xa2id\x01", "repeated_key"),
        (b"\x84\xa4type\xa6cancel\xa2id\x01\xa1g\x01\xa1g\x02", "repeated_key"),
    ],
)
def test_bytes_that_are_no_message(body: bytes, reason: str) -> None:
    assert breach(joined(), len(body).to_bytes(4, "big") + body) == ("request.malformed", reason)


def test_a_frame_above_the_limit_is_turned_away_at_its_length() -> None:
    assert breach(joined(), (FRAME_LIMIT + 1).to_bytes(4, "big")) == ("request.too_large", "frame_too_large")


def test_a_raised_limit_lets_longer_frames_through() -> None:
    both = joined()
    server = both.ends[Role.SERVER]
    server.raise_limit(4 << 20)
    assert server.limit == 4 << 20
    assert both.say(Role.CLIENT, Request(1, "sign.dsse", Raw(msgpack.packb({"p": bytes(2 << 20)})))).id == 1
    with pytest.raises(ValueError, match="never lowered"):
        server.raise_limit(1 << 20)


# ---- what is refused while the connection stays


@pytest.mark.parametrize("deadline", [0, -1])
def test_a_deadline_without_time_is_refused_alone(deadline: int) -> None:
    both = joined()
    event = both.put(
        Role.CLIENT,
        packed({"type": "request", "id": 4, "method": "m", "params": {}, "deadline_ms": deadline}),
    )
    assert isinstance(event, Rejected)
    assert (event.error.code, event.error.id) == ("request.malformed", 4)
    both.ends[Role.SERVER].send(event.error)
    assert both.say(Role.CLIENT, ASK) == ASK


@pytest.mark.parametrize(
    ("rest", "answered"),
    [
        ({"id": 7}, 7),
        ({}, None),
        ({"id": 1}, None),
        ({"id": 0}, None),
        ({"id": "x"}, None),
        ({"id": 2**32}, None),
    ],
)
def test_an_unknown_type_is_unsupported_and_the_connection_stays(
    rest: dict[str, Any], answered: int | None
) -> None:
    both = joined()
    both.say(Role.CLIENT, ASK)
    event = both.put(Role.CLIENT, packed({"type": "subscribe", **rest, "params": None}))
    assert isinstance(event, Rejected)
    assert event.error.code == "request.unsupported"
    assert event.error.details == {"reason": "unknown_type", "name": "subscribe"}
    assert (event.error.id if answered else None) == answered
    both.ends[Role.SERVER].send(event.error)
    assert both.say(Role.SERVER, Response(1, EMPTY)) == Response(1, EMPTY)


def test_a_client_is_told_of_an_unknown_type_and_says_nothing() -> None:
    both = joined()
    event = both.put(Role.SERVER, packed({"type": "progress", "id": 1}))
    assert isinstance(event, Rejected)
    with pytest.raises(LocalProtocolError):
        both.ends[Role.CLIENT].send(event.error)
    assert both.say(Role.CLIENT, ASK) == ASK


def test_cancel_of_what_is_in_flight_and_of_what_is_not() -> None:
    both = joined()
    both.say(Role.CLIENT, ASK)
    assert both.say(Role.CLIENT, Cancel(2)) is NEED_DATA
    assert both.say(Role.CLIENT, Cancel(1)) == Cancel(1)
    assert both.say(Role.SERVER, Error("request.cancelled", "m", True, id=1)).id == 1
    assert both.say(Role.CLIENT, Cancel(1)) is NEED_DATA


def test_unknown_keys_of_a_message_are_ignored() -> None:
    both = joined()
    content = {
        "grease": [None],
        "type": "request",
        "id": 1,
        "method": "m",
        "params": {},
        "x" * 300: {"y": -1.5},
    }
    assert both.put(Role.CLIENT, packed(content)).method == "m"


def test_params_are_not_looked_at() -> None:
    both = joined()
    assert (
        both.put(Role.CLIENT, packed({"type": "request", "id": 1, "method": "no.such", "params": None})).id
        == 1
    )


# ---- the ends


def test_a_drain_lets_answers_out_and_no_request_in() -> None:
    both = joined()
    both.say(Role.CLIENT, ASK)
    assert both.say(Role.SERVER, Goaway("stopping")) == Goaway("stopping")
    assert both.ends[Role.CLIENT].their_state is State.DRAINING
    with pytest.raises(LocalProtocolError, match="drains"):
        both.ends[Role.CLIENT].send(Request(2, "m", EMPTY))
    assert both.put(Role.CLIENT, encode_frame(Request(2, "crossing", EMPTY))).method == "crossing"
    both.ends[Role.SERVER].send(Error("daemon.draining", "m", True, id=2))
    assert both.say(Role.SERVER, Response(1, EMPTY)) == Response(1, EMPTY)
    with pytest.raises(LocalProtocolError):
        both.ends[Role.SERVER].send(Goaway("again"))


@pytest.mark.parametrize("rest", [b"", b"\x00", b"\x00\x00\x00\x05\x81"])
def test_the_end_is_a_hang_up_after_all_that_came_before(rest: bytes) -> None:
    server = joined().ends[Role.SERVER]
    server.receive_data(encode_frame(ASK) + rest)
    server.receive_data(b"")
    assert server.next_event() == ASK
    assert server.next_event() == ConnectionClosed()
    assert server.next_event() == ConnectionClosed()
    assert server.in_flight == {1}
    with pytest.raises(LocalProtocolError):
        server.send(Response(1, EMPTY))


def test_a_refusal_at_the_door_is_read_by_the_client() -> None:
    both = Joined()
    notice = Error("daemon.overloaded", "m", True)
    assert both.say(Role.SERVER, notice) == notice
    assert both.ends[Role.CLIENT].next_event() == ConnectionClosed()


# ---- our own mistakes


@pytest.mark.parametrize(
    ("role", "message"),
    [
        (Role.SERVER, ASK),
        (Role.SERVER, Cancel(1)),
        (Role.SERVER, SERVER_HELLO),
        (Role.SERVER, Response(1, EMPTY)),
        (Role.CLIENT, CLIENT_HELLO),
        (Role.CLIENT, Response(1, EMPTY)),
        (Role.CLIENT, Goaway("r")),
        (Role.CLIENT, Error("internal", "m", False)),
        (Role.CLIENT, Request(0, "m", EMPTY)),
        (Role.CLIENT, Request(2**32, "m", EMPTY)),
    ],
)
def test_what_we_may_not_say_changes_nothing(role: Role, message: Message) -> None:
    both = joined()
    with pytest.raises(LocalProtocolError):
        both.ends[role].send(message)
    assert not both.ends[role].in_flight
    assert both.say(Role.CLIENT, ASK) == ASK
    with pytest.raises(LocalProtocolError):
        both.ends[Role.CLIENT].send(ASK)


def test_a_client_says_nothing_between_the_hellos() -> None:
    client = Connection(Role.CLIENT)
    with pytest.raises(LocalProtocolError):
        client.send(ASK)
    client.send(CLIENT_HELLO)
    with pytest.raises(LocalProtocolError):
        client.send(ASK)


# ---- descriptors


def test_descriptors_come_with_their_event_and_are_taken_once() -> None:
    both = joined()
    assert both.say(Role.CLIENT, ASK, (7, 8)) == ASK
    server = both.ends[Role.SERVER]
    with pytest.raises(LocalProtocolError, match="take the descriptors"):
        server.next_event()
    assert server.take_descriptors() == (7, 8)
    assert server.take_descriptors() == ()
    assert server.next_event() is NEED_DATA
    assert both.say(Role.SERVER, Response(1, EMPTY), (9,)) == Response(1, EMPTY)
    assert both.ends[Role.CLIENT].take_descriptors() == (9,)


@pytest.mark.parametrize(
    ("role", "message"),
    [(Role.CLIENT, Cancel(1)), (Role.SERVER, REFUSED), (Role.SERVER, Goaway("r"))],
)
def test_descriptors_of_a_message_that_names_none_are_surplus(role: Role, message: Message) -> None:
    both = joined()
    both.say(Role.CLIENT, ASK)
    assert breach(both, encode_frame(message), role, (5,)) == ("request.malformed", "surplus_descriptor")
    assert both.ends[role.other].abandon() == (5,)


def test_no_descriptor_is_forgotten_when_the_connection_breaks() -> None:
    both = joined()
    assert breach(both, packed([]) + b"\x00\x00\x00\x05\x00", fds=(3, 4)) == (
        "request.malformed",
        "wrong_type",
    )
    assert both.ends[Role.SERVER].abandon() == (3, 4)
    assert both.ends[Role.SERVER].abandon() == ()


# ---- any bytes, any cut


def events_of(connection: Connection, reads: Sequence[tuple[bytes, tuple[int, ...]]]) -> list[Any]:
    seen: list[Any] = []
    for data, fds in reads:
        connection.receive_data(data, fds)
        try:
            while (event := connection.next_event()) not in (NEED_DATA, PAUSED, ConnectionClosed()):
                seen.append((repr(type(event)), getattr(event, "id", None), connection.take_descriptors()))
        except RemoteProtocolError as exc:
            return [*seen, (exc.code, exc.reason, connection.abandon())]
    return seen


FRAGMENTS = st.one_of(
    st.binary(max_size=30),
    st.binary(max_size=30).map(lambda body: len(body).to_bytes(4, "big") + body),
    st.sampled_from(
        [
            encode_frame(message)
            for message in (CLIENT_HELLO, ASK, Cancel(1), REFUSED, Goaway("r"), Request(2, "m", EMPTY))
        ]
        + [packed({"type": "other", "id": 3}), packed({"type": "cancel", "id": 1, "x": 1})]
    ),
)


@given(st.lists(FRAGMENTS, max_size=6), st.sampled_from(Role))
def test_any_bytes_give_events_or_a_remote_protocol_error(fragments: list[bytes], role: Role) -> None:
    connection = joined().ends[role]
    events_of(connection, [(fragment, ()) for fragment in fragments] + [(b"", ())])


@given(st.lists(FRAGMENTS, max_size=6), st.sampled_from(Role))
def test_byte_by_byte_is_the_same_as_whole(fragments: list[bytes], role: Role) -> None:
    reads = [(fragment, (100 + index,)) for index, fragment in enumerate(fragments) if fragment]
    whole, bytewise = joined().ends[role], joined().ends[role]
    single = [
        (fragment[at : at + 1], fds if at == len(fragment) - 1 else ())
        for fragment, fds in reads
        for at in range(len(fragment))
    ]
    first, second = events_of(whole, reads), events_of(bytewise, single)
    if first and len(first[-1]) == 3 and first[-1][0].startswith("request."):
        # Which descriptors are still held depends on how far the stream was read.
        assert first[-1][:2] == second[-1][:2]
        first, second = first[:-1], second[:-1]
    assert first == second


def test_memory_stays_under_the_limit_and_one_read() -> None:
    server = joined().ends[Role.SERVER]
    frame = encode_frame(Request(1, "sign.dsse", Raw(msgpack.packb({"p": bytes(FRAME_LIMIT - 100)}))))
    read = 64 << 10
    tracemalloc.start()
    try:
        for start in range(0, len(frame) - 1, read):
            server.receive_data(memoryview(frame)[start : min(start + read, len(frame) - 1)])
            assert server.next_event() is NEED_DATA
            assert server.buffered <= FRAME_LIMIT + 4 + read
        # A growing array is given some room by its allocator, an eighth at most.
        assert tracemalloc.get_traced_memory()[0] <= (FRAME_LIMIT + read) * 9 // 8
    finally:
        tracemalloc.stop()
