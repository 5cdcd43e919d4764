"""Bytes and descriptors over the daemon's socket, never waiting: what both clients wait for differs, this
does not."""

import array
import errno
import socket
from collections import deque
from typing import Final

from signerd.errors import Fault, Refusal
from signerd_client.descriptors import close_all
from signerd_client.requests import Call
from signerd_client.trust import Trust, check_listener, check_path

__all__ = ["Channel", "Opening"]

_READ_BYTES: Final = 256 * 1024
_DESCRIPTORS_MAX: Final = 253  # SCM_MAX_FD, unix(7)
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)


class Opening:
    """The way to a connected socket: the path checked first, the listener checked before anything is sent.

    ``path`` is absolute. Refuses as :mod:`signerd_client.trust` does. :meth:`attempt` may be called again
    where it returned False: the daemon's backlog is full.
    """

    def __init__(self, path: str, server_uid: int | None = None) -> None:
        self._trust: Trust = check_path(path, server_uid)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def attempt(self) -> bool:
        """Connect and check who listens; False where it must be tried again a little later.

        ``daemon.draining`` with reason ``unreachable`` where nobody listens, ``auth.peer_denied`` with reason
        ``socket_permission`` where we may not connect.
        """
        path = self._trust.path
        try:
            self._socket.connect(path)
        except BlockingIOError:
            return False
        except PermissionError as error:
            raise Refusal(
                "auth.peer_denied", "socket_permission", "the socket may not be used", operator=path
            ) from error
        except OSError as error:
            if error.errno is None or error.errno == errno.ENAMETOOLONG:
                # Python refuses a path above sun_path's 108 bytes without an errno.
                raise Refusal(
                    "request.malformed", "socket_path", "the path of the socket is too long", operator=path
                ) from error
            raise Fault(
                "daemon.draining", "unreachable", "no daemon listens there", operator=f"{path}: {error}"
            ) from error
        check_listener(self._socket, self._trust)
        return True

    def channel(self) -> "Channel":
        """Return the channel over the connected socket."""
        return Channel(self._socket)

    def close(self) -> None:
        """Close the socket: after a failure only."""
        self._socket.close()


class Channel:
    """A connected, non-blocking socket with what waits to be written."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._waiting: deque[tuple[memoryview, Call | None]] = deque()

    def queue(self, frame: bytes, call: Call | None = None) -> None:
        """Append a frame and the call whose descriptors go with it; the call is closed once they are sent.

        No bytes are no frame and add nothing.
        """
        if frame:
            self._waiting.append((memoryview(frame), call))

    def flush(self) -> bool:
        """Write what waits; False where the socket takes no more for now.

        A connection that the daemon has ended takes everything: reading will tell why it ended.
        """
        while self._waiting:
            data, call = self._waiting[0]
            try:
                sent = self._send(data, call)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                self._give_up()
                return True
            if call is not None:
                call.close()
            if sent == len(data):
                self._waiting.popleft()
            else:
                self._waiting[0] = (data[sent:], None)
        return True

    def read(self) -> tuple[bytes, tuple[int, ...]] | None:
        """Return what one read brought, ``b""`` at the end, None where nothing is there for now.

        Fault ``daemon.draining``, reason ``descriptors_lost``, where this process has no room for the
        descriptors that came; those that did are closed.
        """
        try:
            data, ancillary, flags, _address = self.socket.recvmsg(
                _READ_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b"", ()
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if flags & socket.MSG_CTRUNC:
            close_all(descriptors.tolist())
            raise Fault("daemon.draining", "descriptors_lost", "descriptors of an answer were lost")
        return data, tuple(descriptors)

    def close(self) -> None:
        """Close the socket and every descriptor that was to be sent."""
        self._give_up()
        self.socket.close()

    def _send(self, data: memoryview, call: Call | None) -> int:
        if call is None or not call.descriptors:
            return self.socket.send(data, socket.MSG_NOSIGNAL)
        # They go with the frame's first bytes, and with bytes of this frame only.
        rights = array.array("i", call.descriptors)
        return self.socket.sendmsg(
            [data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], socket.MSG_NOSIGNAL
        )

    def _give_up(self) -> None:
        while self._waiting:
            _data, call = self._waiting.popleft()
            if call is not None:
                call.close()
