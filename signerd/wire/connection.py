"""One connection, either side of it, without I/O.

::

    connection = Connection(Role.SERVER)
    connection.receive_data(data, fds)            # what one recvmsg brought; b"" is the end
    while (event := connection.next_event()) not in (NEED_DATA, PAUSED):
        fds = connection.take_descriptors()       # those of this event; the caller closes them
        ...
        sock.sendall(connection.send(answer))

An event is a message of the peer, :class:`Rejected` (a frame to be answered with its ``error``; the connection
stays) or :class:`ConnectionClosed`. Whatever the peer sends, :meth:`Connection.next_event` raises
:exc:`RemoteProtocolError` or nothing; its ``error`` is what a server sends before it closes. What we do wrong
ourselves is a :exc:`LocalProtocolError` and changes nothing.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from signerd.errors import Fault, Refusal
from signerd.wire.decoding import BROKEN, NAME_MAX, check_keys, refusal_from
from signerd.wire.frames import ENCODER, FrameReader, FrameTooLarge, encode_frame
from signerd.wire.messages import (
    ID_MAX,
    VERSION,
    Cancel,
    Error,
    Goaway,
    Hello,
    Message,
    Request,
    Response,
    error_from_exception,
)
from signerd.wire.state import Kind, ProtocolState, Role, State

__all__ = [
    "FRAME_LIMIT",
    "FRAME_LIMIT_BOUND",
    "NEED_DATA",
    "PAUSED",
    "Connection",
    "ConnectionClosed",
    "Event",
    "LocalProtocolError",
    "Rejected",
    "RemoteProtocolError",
    "Role",
    "Wait",
]

FRAME_LIMIT: Final = 1 << 20
"""Bytes of a frame from a peer that is not bound: a hello, and a token with its chain, are a few KiB."""

FRAME_LIMIT_BOUND: Final = 4 << 20
"""Bytes of a frame of a bound session: an inline predicate with room for a batch; more comes by descriptor."""


class Wait(Enum):
    """Why there is no event."""

    NEED_DATA = auto()
    """feed more"""
    PAUSED = auto()
    """send the hello that is due first; do not read meanwhile"""


NEED_DATA: Final = Wait.NEED_DATA
PAUSED: Final = Wait.PAUSED


class RemoteProtocolError(Refusal):
    """The peer broke the protocol: the connection is over, and ``error`` is the last word to it, if we are the server."""

    @property
    def error(self) -> Error:
        """The message to send before closing."""
        return error_from_exception(self)


class LocalProtocolError(Fault):
    """We were about to break the protocol: a defect of the caller; nothing was changed or sent."""

    def __init__(self, operator: str) -> None:
        super().__init__("internal", "local_protocol", "the signer failed", operator=operator)


class Rejected(msgspec.Struct, frozen=True):
    """A frame that is refused while the connection stays; a server sends ``error``, a client drops it."""

    error: Error


class ConnectionClosed(msgspec.Struct, frozen=True):
    """The peer closed, or shut down its writing half: nothing more will come, and nothing is to be answered."""


Event = Message | Rejected | ConnectionClosed

_KINDS: Final[dict[type, Kind]] = {
    Hello: Kind.HELLO,
    Request: Kind.REQUEST,
    Response: Kind.ANSWER,
    Error: Kind.ANSWER,
    Cancel: Kind.CANCEL,
    Goaway: Kind.GOAWAY,
}
_TYPES: Final = frozenset(str(kind.__struct_config__.tag) for kind in _KINDS)  # type: ignore[attr-defined]
_CLOSED: Final = ConnectionClosed()


class _Envelope(msgspec.Struct, frozen=True):
    """What is read of a message whose type is not known."""

    type: str
    id: int | UnsetType = UNSET


_DECODER: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)
_ENVELOPE: Final = msgspec.msgpack.Decoder(_Envelope)
_PUBLIC: Final = "the message breaks the protocol"


class Connection:
    """The protocol's state of one connection.

    ``role`` is ours. ``limit`` is the longest frame that we accept, in bytes. ``in_flight`` holds the ids that
    wait for their answer: a server's own to give, a client's to come.
    """

    def __init__(self, role: Role, *, limit: int = FRAME_LIMIT) -> None:
        self._role = role
        self._peer = role.other
        self._state = ProtocolState()
        self._reader = FrameReader(limit)
        self._ended = False
        self._broken: RemoteProtocolError | None = None
        self._descriptors: tuple[int, ...] = ()
        self.in_flight: set[int] = set()

    @property
    def limit(self) -> int:
        """Longest frame that is accepted, in bytes."""
        return self._reader.limit

    def raise_limit(self, limit: int) -> None:
        """Accept longer frames from the next one on: the session was bound. Raises ValueError for a shorter one."""
        if limit < self._reader.limit:
            raise ValueError("a limit is never lowered: the peer has been told of it")
        self._reader.limit = limit

    @property
    def our_state(self) -> State:
        """Where we stand."""
        return self._state[self._role]

    @property
    def their_state(self) -> State:
        """Where the peer stands; ``DRAINING`` in a client: ask nothing more here."""
        return self._state[self._peer]

    @property
    def buffered(self) -> int:
        """Bytes held of frames that are not whole yet, or not taken."""
        return self._reader.buffered

    def receive_data(self, data: bytes | memoryview, fds: Sequence[int] = ()) -> None:
        """Add what one read brought, with its descriptors; ``b""`` is the end of the stream.

        Take all events before feeding again. Raises what :meth:`~signerd.wire.frames.FrameReader.feed` raises.
        """
        if data or fds:
            self._reader.feed(data, fds)
        else:
            self._ended = True

    def next_event(self) -> Event | Wait:
        """The next event, or why there is none; raises :exc:`RemoteProtocolError`, again and again once it did."""
        if self._broken is not None:
            raise self._broken
        if self._descriptors:
            raise LocalProtocolError("take the descriptors of the event before the next one")
        if self._state[self._role] is State.GREETING and self._role is Role.SERVER:
            return PAUSED
        try:
            return self._next_event()
        except RemoteProtocolError as exc:
            self._broken = exc
            self._state.fail(self._peer)
            raise

    def take_descriptors(self) -> tuple[int, ...]:
        """The descriptors of the event just returned, in the order of their index; the caller closes them."""
        taken, self._descriptors = self._descriptors, ()
        return taken

    def abandon(self) -> tuple[int, ...]:
        """Every descriptor that is still held, to be closed by whoever gives the connection up."""
        return self.take_descriptors() + self._reader.drain_descriptors()

    def send(self, message: Message) -> bytes:
        """The bytes of ``message``, to be written whole and in order of the calls.

        Raises :exc:`LocalProtocolError` where it is not our turn: the tables of :mod:`signerd.wire.state` forbid
        it, a request's id is taken or out of range, an answer's id waits for none, the server drains.
        """
        kind = _kind(message)
        if not self._state.allows(self._role, kind):
            raise LocalProtocolError(f"{self._role.name} in {self.our_state.name} may not send {kind.name}")
        if isinstance(message, Request):
            if not 1 <= message.id <= ID_MAX or message.id in self.in_flight:
                raise LocalProtocolError(f"id {message.id} is out of range or in flight")
            if self.their_state is State.DRAINING:
                raise LocalProtocolError("the server drains")
        elif kind is Kind.ANSWER and message.id not in self.in_flight:  # type: ignore[union-attr]  # an answer has one
            raise LocalProtocolError("no request of this id waits for an answer")
        frame = encode_frame(message)
        self._state.step(self._role, kind)
        if kind is Kind.REQUEST:
            self.in_flight.add(message.id)  # type: ignore[union-attr, arg-type]  # a request has one
        elif kind is Kind.ANSWER:
            self.in_flight.discard(message.id)  # type: ignore[union-attr, arg-type]  # an answer has one
        return frame

    def _next_event(self) -> Event | Wait:
        while True:
            try:
                found = self._reader.next_frame()
            except FrameTooLarge as exc:
                raise RemoteProtocolError(
                    "request.too_large",
                    "frame_too_large",
                    "the frame is too large",
                    details={"limit": exc.limit},
                ) from None
            if found is None:
                if not self._ended:
                    return NEED_DATA
                self._state.step(self._peer, Kind.EOF)
                return _CLOSED
            event = self._read(*found)
            if event is not None:
                return event

    def _read(self, frame: memoryview | bytes, fds: tuple[int, ...]) -> Event | None:
        """The event that a frame is, or None for one to be ignored."""
        self._descriptors = fds
        try:
            message = _DECODER.decode(frame)
            if len(ENCODER.encode(message)) != len(frame):
                check_keys(message, frame)
        except msgspec.ValidationError as exc:
            return self._unknown(frame, exc)
        except BROKEN as exc:
            raise _remote(refusal_from(exc).reason) from None
        except Refusal as exc:
            raise _remote(exc.reason) from None
        kind = _kind(message)
        if not self._state.allows(self._peer, kind):
            raise _remote(self._misplaced(kind))
        if kind is Kind.REQUEST:
            return self._request(message)  # type: ignore[arg-type]  # by its kind
        if fds and kind is not Kind.ANSWER:
            raise _remote("surplus_descriptor")
        return self._other(message, kind)

    def _request(self, request: Request) -> Event:
        if request.id in self.in_flight:
            raise _remote("id_in_flight")
        self.in_flight.add(request.id)
        if request.deadline_ms is not UNSET and request.deadline_ms <= 0:
            refusal = Refusal(
                "request.malformed",
                "out_of_range",
                "the deadline has no time in it",
                details={"field": "deadline_ms"},
            )
            return Rejected(error_from_exception(refusal, request.id))
        return request

    def _other(self, message: Message, kind: Kind) -> Event | None:
        if isinstance(message, Hello):
            self._check_hello(message)
        elif kind is Kind.ANSWER:
            if message.id not in self.in_flight:  # type: ignore[union-attr]  # an answer has one
                raise _remote("unknown_id")
            self.in_flight.discard(message.id)  # type: ignore[union-attr, arg-type]  # an answer has one
        elif isinstance(message, Cancel) and message.id not in self.in_flight:
            return None
        self._state.step(self._peer, kind)
        return message

    def _check_hello(self, hello: Hello) -> None:
        if VERSION not in hello.versions:
            raise RemoteProtocolError(
                "request.unsupported",
                "no_common_version",
                "no version of the protocol is common to both sides",
                details={"name": "versions"},
            )
        if self._peer is Role.SERVER:
            if hello.version is not UNSET and hello.version != VERSION:
                raise RemoteProtocolError(
                    "request.unsupported", "no_common_version", "the server speaks another version"
                )
            for name in ("version", "limits", "methods", "profiles", "nonce"):
                if getattr(hello, name) is UNSET:
                    raise _remote("missing_field", name)

    def _unknown(self, frame: memoryview | bytes, exc: msgspec.ValidationError) -> Event:
        """A message that is none of ours: one of another version, or one of ours in another shape."""
        try:
            envelope = _ENVELOPE.decode(frame)
        except BROKEN as broken:
            raise _remote(refusal_from(broken).reason, "type") from None
        if envelope.type in _TYPES:
            refusal = refusal_from(exc)
            raise _remote(refusal.reason, str(refusal.details.get("field", "")))
        if not self._state.step(self._peer, Kind.UNKNOWN):
            raise _remote(self._misplaced(Kind.UNKNOWN))
        request_id: int | None = None
        # An id that waits for another answer is not repeated, nor one that no request could have: the peer would
        # take this error for the end of a request that still runs.
        if envelope.id is not UNSET and 1 <= envelope.id <= ID_MAX and envelope.id not in self.in_flight:
            request_id = envelope.id
            if self._role is Role.SERVER:
                self.in_flight.add(request_id)
        refusal = Refusal(
            "request.unsupported",
            "unknown_type",
            "this type of message is not known",
            details={"name": envelope.type[:NAME_MAX]},
        )
        return Rejected(error_from_exception(refusal, request_id))

    def _misplaced(self, kind: Kind) -> str:
        if self.their_state is State.GREETING:
            return "hello_expected"
        return "second_hello" if kind is Kind.HELLO else "not_from_this_side"


def _kind(message: Message) -> Kind:
    if type(message) is Error and message.id is UNSET:
        return Kind.NOTICE
    return _KINDS[type(message)]


def _remote(reason: str, field: str = "") -> RemoteProtocolError:
    return RemoteProtocolError(
        "request.malformed", reason, _PUBLIC, details={"field": field} if field else None
    )
