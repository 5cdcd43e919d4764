"""How the operator's commands reach the admin plane: through ``admin.sock`` of the running daemon, or, where none runs,
through a sealer that is started on the state directory for the command, under its lock.
"""

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import msgspec
from msgspec import Raw

from signerd import __version__
from signerd.errors import Fault, Refusal, error_from
from signerd.host.config import encode
from signerd.host.link import Frame, Link, LinkClosed
from signerd.host.memfd import read_sealed
from signerd.host.spawn import Spawned, spawn
from signerd.wire.connection import NEED_DATA, PAUSED, Connection, ConnectionClosed, RemoteProtocolError, Role
from signerd.wire.frames import encode_frame
from signerd.wire.links import LINK_VERSION, AdminAnswer, AdminCall, Failed, Open, Opened
from signerd.wire.messages import VERSION, Error, Hello, Request, Response
from signerd.wire.methods import decode_result
from signerd.wire.params import Descriptor

if TYPE_CHECKING:
    from signerd.host.config_model import Config

__all__ = ["Plane", "SealerPlane", "SocketPlane", "fetched", "reach"]

ANSWER_S: Final = 120.0
"""A backend that makes an RSA key in hardware takes its time; who waits longer waits for nobody."""
LEAVING_S: Final = 3.0
"""How long the sealer of a daemon that has just ended may still hold the lock."""
MOST_DOCUMENT: Final = 1024 * 1024 * 1024
_UCRED: Final = struct.Struct("3i")
_tagged: Final = msgspec.msgpack.Decoder(AdminAnswer | Opened | Failed)
_tag: Final = msgspec.msgpack.Decoder(dict[str, Raw])
_encode: Final = msgspec.msgpack.Encoder().encode
T = TypeVar("T", bound=msgspec.Struct)


class Plane(Protocol):
    """The admin plane, one call at a time."""

    def call(self, method: str, params: msgspec.Struct, result: type[T]) -> tuple[T, tuple[int, ...]]:
        """Return the method's result and the descriptors that came with it, which the caller closes; raises
        SignerdError."""
        ...


class SocketPlane:
    """A session on ``admin.sock``."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._connection = Connection(Role.CLIENT)
        self._next = 1

    @classmethod
    def connect(cls, path: Path, uids: frozenset[int]) -> "SocketPlane":
        """Open a session, if one of ``uids`` listens there; OSError where nobody does.

        ``auth.peer_denied`` for another listener: an operator's order is no stranger's business (T11).
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(ANSWER_S)
            connection.connect(os.fspath(path))
            _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
            if uid not in uids:
                raise Refusal("auth.peer_denied", "listener_uid", f"uid {uid} listens there, who is not the daemon's")
            plane = cls(connection)
            plane._send(Hello((VERSION,), f"signerd-cli/{__version__}"))
            plane._event()
        except BaseException:
            connection.close()
            raise
        return plane

    def call(self, method: str, params: msgspec.Struct, result: type[T]) -> tuple[T, tuple[int, ...]]:
        """See :meth:`Plane.call`."""
        number = self._next
        self._next += 1
        self._send(Request(number, method, Raw(_encode(params))))
        answer, fds = self._event()
        if isinstance(answer, Response):
            return _result(method, bytes(answer.result), result), fds
        raise Fault("internal", "answer", "the daemon gave no answer")

    def close(self) -> None:
        """End the session."""
        self._socket.close()

    def _send(self, message: Hello | Request) -> None:
        try:
            self._socket.sendall(self._connection.send(message))
        except OSError as exc:
            raise _ended() from exc

    def _event(self) -> tuple[object, tuple[int, ...]]:
        """Return the next message; an error of the daemon is raised."""
        while True:
            try:
                event = self._connection.next_event()
            except RemoteProtocolError as exc:
                raise Fault("internal", "protocol", "the daemon broke the protocol", operator=str(exc)) from exc
            if event is NEED_DATA or event is PAUSED:
                try:
                    data, came, _, _ = socket.recv_fds(self._socket, 65_536, 16)
                except TimeoutError as exc:
                    raise Fault("request.deadline", "no_answer", "the daemon does not answer") from exc
                except OSError as exc:
                    raise _ended() from exc
                self._connection.receive_data(data, tuple(came))
                continue
            fds = self._connection.take_descriptors()
            if isinstance(event, Error):
                _close(fds)
                details = event.details if isinstance(event.details, dict) else {}
                known = {str(n): v for n, v in details.items() if isinstance(v, str | int)}
                raise error_from(event.code, str(details.get("reason", "refused")), event.message, details=known)
            if isinstance(event, ConnectionClosed):
                raise _ended()
            if isinstance(event, Hello | Response):
                return event, fds
            _close(fds)


class SealerPlane:
    """A sealer of one's own, for as long as the command runs; the daemon's state is locked meanwhile."""

    def __init__(self, config: "Config") -> None:
        """Start it and wait until it has opened; raises what it cannot start for (``state.locked``)."""
        args = ["--admin", *(["--config", config.source] if config.source else [])]
        self._spawned: Spawned = spawn("signerd.sealer.main", args, settings=encode(config))
        self._link = Link(self._spawned.socket)
        self._next = 1
        try:
            self._send(Open(LINK_VERSION, "signerd-cli"))
            message, _ = self._take()
            if isinstance(message, Failed):
                error = message.error
                raise error_from(error.code, error.reason, error.message, operator=error.operator or None)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, params: msgspec.Struct, result: type[T]) -> tuple[T, tuple[int, ...]]:
        """See :meth:`Plane.call`."""
        self._send(AdminCall(self._next, method, _encode(params), os.geteuid(), 0))
        self._next += 1
        answer, fds = self._take()
        if not isinstance(answer, AdminAnswer):
            raise Fault("internal", "answer", "the sealer gave no answer")
        if answer.error is not None:
            _close(fds)
            error = answer.error
            raise error_from(
                error.code, error.reason, error.message, operator=error.operator or None, details=answer.details
            )
        return _result(method, answer.result, result), fds

    def close(self) -> None:
        """Let the sealer close its records and end."""
        self._spawned.end(LEAVING_S)

    def _send(self, message: msgspec.Struct) -> None:
        self._link.queue(encode_frame(message))
        with contextlib.suppress(LinkClosed):  # why it has gone is told by what can be read
            while not self._link.flush():
                select.select([], [self._link], [], ANSWER_S)

    def _take(self) -> tuple[AdminAnswer | Opened | Failed, tuple[int, ...]]:
        """Return the next message that is an answer; what is told without being asked is dropped."""
        until = time.monotonic() + ANSWER_S
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._link], [], [], left)[0]:
                break
            try:
                frames = self._link.read()
            except LinkClosed as exc:
                raise Fault("audit.unavailable", "sealer_lost", "the sealer has ended", operator=str(exc)) from exc
            found: tuple[AdminAnswer | Opened | Failed, tuple[int, ...]] | None = None
            for frame, fds in frames:
                if found is None and _is_answer(frame):
                    found = _tagged.decode(frame), fds
                else:
                    _close(fds)
            if found is not None:
                return found
        raise Fault("request.deadline", "no_answer", "the sealer does not answer")


@contextlib.contextmanager
def reach(config: "Config", given: Path | None = None) -> Iterator[Plane]:
    """Open the way to the admin plane of the daemon that has ``config``'s state: its socket (``given``, else the
    configured one), or a sealer of one's own where none runs.

    ``auth.peer_denied``, reason ``admin_off``, where one runs and there is no such socket: exit code 3.
    """
    from signerd.sealer.lock import is_locked

    state = Path(config.daemon.state)
    admin = config.sockets.admin
    path = given or (Path(admin.path) if admin is not None and admin.path else None)
    plane: SocketPlane | SealerPlane | None = None
    until = time.monotonic() + LEAVING_S
    while plane is None:
        if path is not None:
            with contextlib.suppress(OSError):
                plane = SocketPlane.connect(path, _trusted(state))
                break
        if not is_locked(state):
            plane = SealerPlane(config)
        elif time.monotonic() > until:
            where = f"{path}: nobody answers there" if path else "it is off"
            raise Refusal(
                "auth.peer_denied",
                "admin_off",
                "the daemon runs, and its admin socket cannot be reached",
                operator=f"a daemon uses {state}, and its admin socket cannot be reached ({where}): turn it on with"
                " [sockets.admin] in the configuration, name it with --socket or --config, or stop the daemon",
            )
        else:
            time.sleep(0.05)
    try:
        yield plane
    finally:
        plane.close()


def fetched(value: bytes | Descriptor, fds: tuple[int, ...]) -> bytes:
    """Return a bin of a result, also one that came by descriptor."""
    if isinstance(value, Descriptor):
        if not 0 <= value.fd < len(fds):
            raise Fault("internal", "descriptor_index", "the daemon broke the protocol")
        return read_sealed(fds[value.fd], value.size, MOST_DOCUMENT)
    return value


def _trusted(state: Path) -> frozenset[int]:
    owner = state.stat().st_uid if state.exists() else os.geteuid()
    return frozenset({0, os.geteuid(), owner})


def _result(method: str, raw: bytes, expected: type[T]) -> T:
    result = decode_result(method, Raw(raw))
    assert isinstance(result, expected)
    return result


def _is_answer(frame: Frame) -> bool:
    kind = _tag.decode(frame).get("type")
    return kind is not None and msgspec.msgpack.decode(kind) in ("admin_answer", "opened", "failed")


def _ended() -> Fault:
    return Fault("daemon.draining", "ended", "the daemon has ended the connection")


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
