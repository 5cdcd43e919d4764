"""One connection, either side of it, without I/O.

::

    connection = Connection(Role.SERVER)
    connection.receive_data(data, fds)            # what one recvmsg brought; b"" is the end
    while (event := connection.next_event()) not in (NEED_DATA, PAUSED):
        fds = connection.take_descriptors()       # those of this event; the caller closes them
        ...
        sock.sendall(connection.send(answer))

An event is a message of the peer, :class:`Rejected` (a frame to be answered with ``error``; the connection
stays) or :class:`ConnectionClosed`. Whatever the peer sends, :meth:`Connection.next_event` raises
:exc:`RemoteProtocolError` or nothing; its ``error`` is what a server sends before it closes. What we do wrong
ourselves is a :exc:`LocalProtocolError` and changes nothing.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from signerd.errors import Refusal
from signerd.wire.decoding import BROKEN, NAME_MAX, check_keys, refusal_from
from signerd.wire.events import (
    NEED_DATA,
    PAUSED,
    ConnectionClosed,
    Event,
    LocalProtocolError,
    Rejected,
    RemoteProtocolError,
    Wait,
    broken,
)
from signerd.wire.frames import FrameReader, FrameTooLarge, encode_frame
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
    "State",
    "Wait",
]

FRAME_LIMIT: Final = 1 << 20
"""Bytes of a frame from a peer that is not bound: a hello, and a token with its chain, are a few KiB."""

FRAME_LIMIT_BOUND: Final = 4 << 20
"""Bytes of a frame of a bound session: an inline predicate, or a batch of small ones; else a descriptor."""

_KINDS: Final[dict[type, Kind]] = {
    Hello: Kind.HELLO,
    Request: Kind.REQUEST,
    Response: Kind.ANSWER,
    Error: Kind.ANSWER,
    Cancel: Kind.CANCEL,
    Goaway: Kind.GOAWAY,
}
_TYPES: Final = frozenset(("hello", "request", "response", "error", "cancel", "goaway"))
_CLOSED: Final = ConnectionClosed()


class _Envelope(msgspec.Struct, frozen=True):
    """What is read of a message whose type is not known."""

    type: str
    id: Raw | UnsetType = UNSET


_DECODER: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)
_ENVELOPE: Final = msgspec.msgpack.Decoder(_Envelope)
_INTEGER: Final = msgspec.msgpack.Decoder(int)


class Connection:
    """The protocol's state of one connection.

    ``role`` is ours. ``limit`` is the longest frame that we accept, in bytes. ``in_flight`` holds the ids
    that wait for their answer: a server's own to give, a client's to come.
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
        """Accept longer frames from the next one on: the session was bound. ValueError for a shorter one."""
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

        Take all events before feeding again. Raises what ``FrameReader.feed`` raises.
        """
        if data or fds:
            self._reader.feed(data, fds)
        else:
            self._ended = True

    def next_event(self) -> Event | Wait:
        """The next event, or why there is none; raises :exc:`RemoteProtocolError`, and again once it did.

        The descriptors of an event must have been taken before the next one is asked for.
        """
        if self._broken is not None:
            raise self._broken
        if self._descriptors:
            raise LocalProtocolError("take the descriptors of the event before the next one")
        if self._state.stopped:
            if self.their_state is State.CLOSED:
                return _CLOSED
            if self._role is Role.SERVER and self.our_state is State.GREETING:
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

        Raises :exc:`LocalProtocolError` where it is not our turn: the tables of :mod:`signerd.wire.state`
        forbid it, a request's id is taken or out of range, an answer's id waits for none, the server drains.
        """
        kind = _kind(message)
        if not self._state.allows(self._role, kind):
            raise LocalProtocolError(f"{self._role.name} in {self.our_state.name} may not send {kind.name}")
        if isinstance(message, Request):
            if not 1 <= message.id <= ID_MAX or message.id in self.in_flight:
                raise LocalProtocolError(f"id {message.id} is out of range or in flight")
            if self.their_state is State.DRAINING:
                raise LocalProtocolError("the server drains")
            frame = encode_frame(message)
            self.in_flight.add(message.id)
        elif (answered := _answered(message)) is not None:
            if answered not in self.in_flight:
                raise LocalProtocolError(f"no request of id {answered} waits for an answer")
            frame = encode_frame(message)
            self.in_flight.discard(answered)
        else:
            frame = encode_frame(message)
        self._state.step(self._role, kind)
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
            check_keys(message, frame)
        except msgspec.ValidationError as exc:
            return self._unreadable(frame, exc)
        except BROKEN as exc:
            raise broken(refusal_from(exc).reason) from None
        except Refusal as exc:
            raise broken(exc.reason) from None
        kind = _kind(message)
        if not self._state.step(self._peer, kind):
            raise broken(self._misplaced(kind))
        if isinstance(message, Request):
            return self._request(message)
        if fds and not isinstance(message, Response):
            raise broken("surplus_descriptor")
        if isinstance(message, Hello):
            self._check_hello(message)
        elif isinstance(message, Cancel):
            return message if message.id in self.in_flight else None
        elif (answered := _answered(message)) is not None:
            if answered not in self.in_flight:
                raise broken("unknown_id")
            self.in_flight.discard(answered)
        return message

    def _request(self, request: Request) -> Event:
        if request.id in self.in_flight:
            raise broken("id_in_flight")
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

    def _check_hello(self, hello: Hello) -> None:
        chosen = hello.version if self._peer is Role.SERVER and hello.version is not UNSET else VERSION
        if VERSION not in hello.versions or chosen != VERSION:
            raise RemoteProtocolError(
                "request.unsupported",
                "no_common_version",
                "no version of the protocol is common to both sides",
                details={"name": "versions"},
            )
        if self._peer is Role.SERVER:
            for name in ("version", "limits", "methods", "profiles", "nonce"):
                if getattr(hello, name) is UNSET:
                    raise broken("missing_field", name)

    def _unreadable(self, frame: memoryview | bytes, exc: msgspec.ValidationError) -> Event:
        """A message that is none of ours: one of another version, or one of ours in another shape."""
        try:
            envelope = _ENVELOPE.decode(frame)
        except BROKEN as worse:
            raise broken(refusal_from(worse).reason, "type") from None
        if envelope.type in _TYPES:
            refusal = refusal_from(exc)
            raise broken(refusal.reason, str(refusal.details.get("field", "")))
        if not self._state.step(self._peer, Kind.UNKNOWN):
            raise broken(self._misplaced(Kind.UNKNOWN))
        refusal = Refusal(
            "request.unsupported",
            "unknown_type",
            "this type of message is not known",
            details={"name": envelope.type[:NAME_MAX]},
        )
        return Rejected(error_from_exception(refusal, self._id_of(envelope)))

    def _id_of(self, envelope: _Envelope) -> int | None:
        """The id to answer a message of unknown type with; from then on it is in flight.

        One that no request could have is not repeated, nor one that waits for another answer: the peer would
        take this error for the end of a request that still runs.
        """
        try:
            found = None if envelope.id is UNSET else _INTEGER.decode(envelope.id)
        except BROKEN:
            return None
        if found is None or self._role is Role.CLIENT or not 1 <= found <= ID_MAX or found in self.in_flight:
            return None
        self.in_flight.add(found)
        return found

    def _misplaced(self, kind: Kind) -> str:
        if self.their_state is State.GREETING:
            return "hello_expected"
        return "second_hello" if kind is Kind.HELLO else "not_from_this_side"


def _kind(message: Message) -> Kind:
    if type(message) is Error and message.id is UNSET:
        return Kind.NOTICE
    return _KINDS[type(message)]


def _answered(message: Message) -> int | None:
    """The id of the request that ``message`` ends."""
    if isinstance(message, Response):
        return message.id
    if isinstance(message, Error) and message.id is not UNSET:
        return message.id
    return None
