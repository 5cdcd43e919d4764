"""One session with the daemon, without I/O: what both clients are made of.

Bytes and descriptors in, answers out; calls in, bytes out. The protocol's own state is
:class:`signerd.wire.connection.Connection`; here is what a client adds: ids, cancelled requests, the daemon's
limits, and whose process this is.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import UNSET, Raw

from signerd.errors import Fault, Refusal, SignerdError
from signerd.wire.connection import (
    FRAME_LIMIT_BOUND,
    Connection,
    ConnectionClosed,
    Rejected,
    RemoteProtocolError,
    Role,
    Wait,
)
from signerd.wire.messages import (
    ID_MAX,
    VERSION,
    Cancel,
    Error,
    Goaway,
    Hello,
    Limits,
    Message,
    Request,
    Response,
)
from signerd_client import __version__
from signerd_client.descriptors import close_all
from signerd_client.requests import FRAME_MARGIN, Call
from signerd_client.results import error_of, fresh

__all__ = ["GRACE_S", "SOFTWARE", "Answer", "Session", "connection_lost"]

SOFTWARE: Final = f"signerd-client/{__version__}"

GRACE_S: Final = 2.0
"""Seconds that a client waits beyond a request's deadline for the daemon to say that it passed."""


@dataclass(slots=True)
class Answer:
    """What came back for the request ``id``: its encoded ``result`` or an ``error``, and the descriptors with
    it."""

    id: int
    result: Raw | None = None
    error: SignerdError | None = None
    descriptors: tuple[int, ...] = field(default=())

    def close(self) -> None:
        """Close the descriptors; more than once does nothing."""
        descriptors, self.descriptors = self.descriptors, ()
        close_all(descriptors)


def connection_lost() -> Fault:
    """Return the fault of a connection that ended: whether what was in flight was signed is not known.

    To ask again is safe: the same request signs the same bytes.
    """
    return Fault("daemon.draining", "connection_lost", "the daemon closed the connection")


class Session:
    """The state of one connection of a client; ``inline_max`` is the largest bin it wants inside a frame, in
    bytes.

    Every method refuses with ``auth.peer_denied``, reason ``forked``, in another process than the one that
    made the session: the daemon reads the sender of each frame from the kernel and would end the session
    (threat T12).
    """

    def __init__(self, inline_max: int | None = None) -> None:
        self._connection = Connection(Role.CLIENT, limit=FRAME_LIMIT_BOUND)
        self._inline_max = inline_max
        self._process = os.getpid()
        self._last_id = 0
        self._draining = False
        self.hello: Hello | None = None
        self.failure: SignerdError | None = None
        """Why the connection is over: what the daemon said of it; ``daemon.draining``, reason
        ``connection_lost``, where it said nothing; ``internal``, reason ``protocol``, where it broke the
        protocol."""

    @property
    def greeting(self) -> Hello:
        """The daemon's hello; Fault ``internal``, reason ``no_hello``, before it is there."""
        if self.hello is None:
            raise Fault("internal", "no_hello", "the daemon has not said hello yet")
        return self.hello

    @property
    def limits(self) -> Limits:
        """The limits in the daemon's hello."""
        limits = self.greeting.limits
        if limits is UNSET:
            raise Fault("internal", "no_hello", "the daemon has named no limits")
        return limits

    def greet(self) -> bytes:
        """Return the bytes of our hello, the first to be sent."""
        self._check_process()
        inline_max = UNSET if self._inline_max is None else self._inline_max
        return self._connection.send(Hello((VERSION,), SOFTWARE, inline_max))

    def start(self, call: Call, deadline_s: float | None = None) -> tuple[int, bytes]:
        """Return the id that ``call`` got and the bytes to be sent with its descriptors.

        ``request.too_large`` with reason ``frame_too_large`` where the daemon would take no such frame,
        ``request.malformed`` for a deadline that has no time in it, ``daemon.draining`` where it takes no new
        requests; nothing is changed then.
        """
        self._check_process()
        if self.failure is not None:
            raise fresh(self.failure)
        if self._draining:
            raise Fault("daemon.draining", "goaway", "the daemon takes no new requests")
        if len(call.params) + FRAME_MARGIN > self.limits.frame_bytes:
            raise Refusal("request.too_large", "frame_too_large", "the request does not fit into a frame")
        deadline = UNSET if deadline_s is None else int(deadline_s * 1000)
        if deadline is not UNSET and deadline <= 0:
            raise Refusal("request.malformed", "out_of_range", "the deadline has no time in it")
        identifier = self._free_id()
        request = Request(identifier, call.method, call.params, deadline)
        return identifier, self._connection.send(request)

    def cancel(self, identifier: int) -> bytes:
        """Return the bytes that withdraw a request; empty where it needs no withdrawing any more."""
        self._check_process()
        if self.failure is not None or identifier not in self._connection.in_flight:
            return b""
        return self._connection.send(Cancel(identifier))

    def patience_s(self, deadline_s: float | None) -> float:
        """Return how many seconds to wait for an answer: the deadline in force and :data:`GRACE_S`."""
        longest = self.limits.deadline_ms / 1000
        return (longest if deadline_s is None else min(deadline_s, longest)) + GRACE_S

    def receive(self, data: bytes, descriptors: Sequence[int] = ()) -> list[Answer]:
        """Take what one read brought, ``b""`` for the end, and return the answers in it.

        Look at :attr:`failure` afterwards. All descriptors that no answer holds are closed.
        """
        self._check_process()
        answers: list[Answer] = []
        try:
            self._connection.receive_data(data, descriptors)
            # Once the connection is over, its last event would be given again and again.
            while self.failure is None and not isinstance(event := self._connection.next_event(), Wait):
                held = self._connection.take_descriptors()
                answer = self._answer(event, held)
                if answer is None:
                    close_all(held)
                else:
                    answers.append(answer)
        except RemoteProtocolError as error:
            self.fail(Fault("internal", "protocol", "the daemon broke the protocol", operator=str(error)))
        return answers

    def fail(self, error: SignerdError) -> None:
        """Take the connection as over because of ``error``, where nothing ended it before."""
        if self.failure is None:
            self.failure = error
        self.close()

    def close(self) -> None:
        """Close the descriptors of frames that are not whole yet."""
        close_all(self._connection.abandon())

    def _answer(self, event: Message | Rejected | ConnectionClosed, held: tuple[int, ...]) -> Answer | None:
        match event:
            case Hello():
                self.hello = event
            case Goaway():
                self._draining = True
            case ConnectionClosed():
                self.fail(connection_lost())
            case Response():
                return Answer(event.id, result=event.result.copy(), descriptors=held)
            case Error():
                error = error_of(event.code, event.message, event.details, event.retry_after_ms)
                if event.id is not UNSET:
                    return Answer(event.id, error=error, descriptors=held)
                self.fail(error)
            case _:
                # A message of a type that this version does not know is ignored.
                pass
        return None

    def _free_id(self) -> int:
        while True:
            self._last_id = self._last_id % ID_MAX + 1
            if self._last_id not in self._connection.in_flight:
                return self._last_id

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise Refusal(
                "auth.peer_denied", "forked", "the connection belongs to the process that opened it"
            )
