"""One connection: reads what is there, hands requests over, writes answers as far as the peer takes them.

One boundary: whatever a peer does ends its own session and nothing else. A session waits for nothing by itself; the
poller calls it.
"""

import fcntl
import logging
import os
import socket
import struct
import termios
from array import array
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import UNSET

from signerd.contracts.values import Peer, Principal
from signerd.daemon.peer import CREDENTIALS, sender_pid
from signerd.daemon.poller import GONE, READ, WRITE, Poller
from signerd.errors import Refusal, SignerdError
from signerd.host.closing import close_foreign, close_socket
from signerd.wire.connection import (
    FRAME_LIMIT_BOUND,
    NEED_DATA,
    PAUSED,
    Connection,
    ConnectionClosed,
    Rejected,
    RemoteProtocolError,
    Role,
    State,
)
from signerd.wire.messages import Cancel, Error, Goaway, Hello, Request, Response, error_from_exception
from signerd.wire.methods import SocketName

__all__ = ["Owner", "Session"]

_log = logging.getLogger(__name__)

READ_BYTES: Final = 64 * 1024
CTRUNC: Final = int(socket.MSG_CTRUNC)
"""As a plain number: an operation on the enum costs more than the rest of the check."""
MOST_DESCRIPTORS: Final = 64
"""Descriptors of one frame; the connection of a peer that sends more ends."""
_SCM_MAX_FD: Final = 253
_ANCILLARY: Final = socket.CMSG_SPACE(CREDENTIALS.size) + socket.CMSG_SPACE(_SCM_MAX_FD * 4)
"""Room for all that the kernel lets through: what it cuts off it closes within the call, which may wait for ever."""
INLINE_DEFAULT: Final = 1024 * 1024
WAITING_BYTES: Final = 1024 * 1024
WAITING_ANSWERS: Final = 64
"""Answers that may wait for a peer to read them: above either, nothing more is read from it until it has caught up."""
UNREAD_BYTES: Final = 512 * 1024 * 1024
"""Bytes of memfds that one uid's connections may have been sent and not have read: they are the daemon's memory, and a
socket takes hundreds of frames that hold one."""
_SIZE: Final = struct.Struct("i")


class Owner(Protocol):
    """What the daemon does for its sessions."""

    def hello(self, session: "Session", hello: Hello) -> Hello:
        """Return the server's hello."""

    def request(self, session: "Session", request: Request, fds: tuple[int, ...]) -> None:
        """Handle one request; the answer comes by :meth:`Session.answer` or :meth:`Session.refuse`. Takes ``fds``
        over."""

    def cancel(self, session: "Session", request_id: int) -> None:
        """Withdraw a request that is in flight."""

    def unbound_read(self, session: "Session") -> None:
        """Look at what an unbound session makes the daemon hold."""

    def descriptors_read(self, session: "Session") -> None:
        """Look at how many descriptors of the peer's the daemon holds."""

    def unread(self, session: "Session") -> int:
        """Return the bytes of memfds that wait to be read by the session's peer, on all of its connections."""

    def failed(self, session: "Session", code: str, reason: str) -> None:
        """Take note of what the connection itself, or a message that is no request, was refused for."""

    def closed(self, session: "Session") -> None:
        """Forget the session: what is in flight for it is cut short."""


class Session:
    """A connection with its peer and, once bound, its principal."""

    __slots__ = (
        "_connection",
        "_credentials",
        "_events",
        "_handed",
        "_out",
        "_owner",
        "_poller",
        "_socket",
        "_stopped",
        "_waiting_bytes",
        "alive",
        "descriptors",
        "greeted",
        "inline_max",
        "opened_at",
        "peer",
        "principal",
        "software",
        "via",
    )

    def __init__(
        self,
        connection: socket.socket,
        peer: Peer,
        principal: Principal | None,
        owner: Owner,
        poller: Poller,
        now: float,
        via: SocketName = "sign",
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._connection = Connection(Role.SERVER)
        self._owner = owner
        self._poller = poller
        self._events = READ
        self._credentials: bytes | None = None
        self._out: deque[tuple[bytes, tuple[int, ...], Callable[[bool], None] | None]] = deque()
        self._waiting_bytes = 0
        self._handed = 0
        self._stopped = False  # frames that were read wait until the peer has taken its answers
        self.alive = True
        self.descriptors = 0
        """the peer's descriptors that are open here; whoever closes one that came with a request counts down"""
        self.greeted = False
        self.inline_max = INLINE_DEFAULT
        self.opened_at = now
        self.peer = peer
        self.principal = principal
        self.software = ""
        self.via = via
        """the socket that it came in by: what it may ask for depends on that"""
        poller.add(connection.fileno(), self, READ)

    @property
    def in_flight(self) -> int:
        """How many requests wait for their answer."""
        return len(self._connection.in_flight)

    @property
    def held(self) -> int:
        """Bytes of unfinished frames that the peer makes the daemon hold."""
        return self._connection.buffered

    @property
    def handed(self) -> int:
        """Bytes of memfds in answers, from the first one on that the peer has not read."""
        if self._handed and not self._out and self.alive:
            empty = bytes(_SIZE.size)
            if not _SIZE.unpack(fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, empty))[0]:
                self._handed = 0
        return self._handed

    @property
    def overfull(self) -> bool:
        """Whether the peer has left so much unread that it gets no further large value."""
        return self._owner.unread(self) > UNREAD_BYTES

    @property
    def unsent(self) -> bool:
        """Whether something waits for the peer to read."""
        return bool(self._out)

    def ready(self, events: int) -> None:
        """Write what waits, read what is there."""
        try:
            if events & WRITE:
                self._flush()
                if self._stopped and not self._behind():
                    self._stopped = False
                    self._take_events()
            if self.alive and events & ~WRITE:
                if self._events & READ:
                    self._read()
                elif events & GONE:
                    # Nothing is read now, and nobody is left to read: the end would be reported for ever.
                    self.close()
        except Refusal as error:
            self.fail(error)
        except OSError:
            self.close()
        except Exception:  # noqa: BLE001  # the one boundary of a connection: a defect ends this session alone
            _log.exception("session of pid %d: defect", self.peer.pid)
            self.close()

    def answer(
        self, response: Response, fds: tuple[int, ...] = (), delivered: Callable[[bool], None] | None = None
    ) -> None:
        """Send a result. ``delivered`` is told once whether the kernel took all of it. Takes ``fds`` over."""
        self._send(self._connection.send(response) if self.alive else b"", fds, delivered)

    def refuse(self, request_id: int, error: SignerdError) -> None:
        """Send why there is no result."""
        if self.alive:
            self._send(self._connection.send(error_from_exception(error, request_id)), (), None)

    def goaway(self, reason: str) -> None:
        """Say that nothing new is taken."""
        if self.alive and self._connection.our_state is State.OPEN:
            self._send(self._connection.send(Goaway(reason)), (), None)

    def fail(self, error: SignerdError) -> None:
        """Say why, without id, and close."""
        if self.alive:
            self._owner.failed(self, error.code, error.reason)
            try:
                self._out.append((self._connection.send(error_from_exception(error)), (), None))
                self._flush()
            except (SignerdError, OSError):
                pass  # there was no more to say, or nobody to say it to
        self.close()

    def close(self) -> None:
        """End the session: close every descriptor, tell whoever waits that nothing more was delivered."""
        if not self.alive:
            return
        self.alive = False
        self._poller.remove(self._socket.fileno())
        close_socket(self.peer.uid, self._socket)
        close_foreign(self.peer.uid, self._connection.abandon())
        while self._out:
            self._drop(*self._out.popleft()[1:])
        self._owner.closed(self)

    def _read(self) -> None:
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(READ_BYTES, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        fds = self._check_ancillary(ancillary, flags)
        self._connection.receive_data(data, fds)
        if fds:
            self.descriptors += len(fds)
            self._owner.descriptors_read(self)
        self._take_events()

    def _take_events(self) -> None:
        connection = self._connection
        while self.alive:
            if self._out and self._behind():
                self._stopped = True
                return
            event = connection.next_event()
            if event is NEED_DATA or event is PAUSED:
                if self.principal is None:
                    self._owner.unbound_read(self)
                return
            if isinstance(event, Request):
                self._owner.request(self, event, connection.take_descriptors())
            elif isinstance(event, ConnectionClosed):
                self.close()
            else:
                self._other(event)

    def _other(self, event: object) -> None:
        fds = self._connection.take_descriptors()
        self.descriptors -= len(fds)
        close_foreign(self.peer.uid, fds)
        if isinstance(event, Hello):
            self.software = event.software
            if event.inline_max is not UNSET:
                self.inline_max = event.inline_max
            self._send(self._connection.send(self._owner.hello(self, event)), (), None)
            self.greeted = True
            if self.principal is not None:
                self._connection.raise_limit(FRAME_LIMIT_BOUND)
        elif isinstance(event, Cancel):
            self._owner.cancel(self, event.id)
        elif isinstance(event, Rejected):
            self._reject(event.error)

    def _reject(self, error: Error) -> None:
        self._owner.failed(self, error.code, str((error.details or {}).get("reason", "")))
        self._send(self._connection.send(error), (), None)

    def _check_ancillary(self, ancillary: list[tuple[int, int, bytes]], flags: int) -> tuple[int, ...]:
        """Return the descriptors, after the kernel has named the sender: the process that opened the connection (T12).

        A frame of a child, or of whoever was handed the descriptor, ends the session; so does a cut-off message.
        """
        fds: tuple[int, ...] = ()
        credentials = None
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                credentials = data
            elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                fds += tuple(numbers)
        cut_off = flags & CTRUNC or len(fds) > MOST_DESCRIPTORS
        known = credentials is not None and credentials == self._credentials
        if known and not cut_off:
            return fds
        first = self._credentials is None and not cut_off
        # SO_PEERCRED has the effective ids, a message the real ones: the pid must agree, the rest is pinned here.
        if first and credentials is not None and sender_pid(credentials) == self.peer.pid:
            self._credentials = credentials
            return fds
        close_foreign(self.peer.uid, fds)
        if cut_off:
            raise RemoteProtocolError("request.malformed", "descriptors_cut_off", "too many descriptors came at once")
        if credentials is None or sender_pid(credentials) == 0:
            raise OSError("end of stream")  # what carries no sender is no data
        raise _foreign_sender()

    def _send(self, frame: bytes, fds: tuple[int, ...], delivered: Callable[[bool], None] | None) -> None:
        if not self.alive:
            self._drop(fds, delivered)
            return
        self._out.append((frame, fds, delivered))
        for fd in fds:
            self._handed += os.fstat(fd).st_size
        self._waiting_bytes += len(frame)
        if len(self._out) == 1:
            try:
                self._flush()
            except OSError:
                self.close()
        elif self._behind():
            self._wait_for(WRITE)

    def _flush(self) -> None:
        out = self._out
        while out:
            frame, fds, delivered = out[0]
            try:
                if fds:
                    sent = socket.send_fds(self._socket, [frame], list(fds))
                    for fd in fds:
                        os.close(fd)
                else:
                    sent = self._socket.send(frame)
            except BlockingIOError:
                self._wait_for(WRITE if self._behind() else READ | WRITE)
                return
            self._waiting_bytes -= sent
            if sent < len(frame):
                out[0] = (frame[sent:], (), delivered)
            else:
                out.popleft()
                if delivered is not None:
                    delivered(True)
        self._wait_for(READ)

    def _behind(self) -> bool:
        return self._waiting_bytes > WAITING_BYTES or len(self._out) > WAITING_ANSWERS

    def _wait_for(self, events: int) -> None:
        if events != self._events and self.alive:
            self._events = events
            self._poller.change(self._socket.fileno(), events)

    @staticmethod
    def _drop(fds: tuple[int, ...], delivered: Callable[[bool], None] | None) -> None:
        for fd in fds:
            os.close(fd)
        if delivered is not None:
            delivered(False)


def _foreign_sender() -> Refusal:
    return Refusal("auth.peer_denied", "foreign_sender", "a frame came from a process that did not open the connection")
