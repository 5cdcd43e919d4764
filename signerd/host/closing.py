"""Closing what callers handed over, off the loop: close(2) may wait for whoever made the descriptor (T19).

A file of a FUSE file system is flushed by its server at each close, a TCP socket with SO_LINGER waits for its peer at
the last one; both are the caller's own, and may take for ever. The same comes with descriptors that nobody has read
yet, when the socket that they wait in is closed. So only memfds are closed at once; everything else by a thread of its
owner, so that one caller's holds up nobody else's.
"""

import contextlib
import fcntl
import os
import socket
import struct
import termios
import threading
from collections import deque
from collections.abc import Iterable

__all__ = ["Owner", "close_foreign", "close_socket", "held"]

Owner = int | tuple[str, str]
"""Whose descriptors hold each other up: a uid, or a principal."""


class _Queues:
    """What is still to be closed, by owner. An owner's thread lives as long as its queue holds something."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Owner, deque[int]] = {}

    def held(self, owner: Owner) -> int:
        """Return how many descriptors wait, the one in hand included."""
        with self._lock:
            return len(self._waiting.get(owner, ()))

    def add(self, owner: Owner, fds: list[int]) -> None:
        """Have these closed."""
        with self._lock:
            waiting = self._waiting.get(owner)
            if waiting is not None:
                waiting.extend(fds)
                return
            self._waiting[owner] = deque(fds)
        threading.Thread(target=self._run, args=(owner,), name="closing", daemon=True).start()

    def _run(self, owner: Owner) -> None:
        while True:
            with self._lock:
                waiting = self._waiting[owner]
                if not waiting:
                    del self._waiting[owner]
                    return
                fd = waiting[0]
            _close(fd)
            with self._lock:
                waiting.popleft()


_queues = _Queues()


def close_foreign(owner: Owner, fds: Iterable[int]) -> None:
    """Close descriptors that ``owner`` handed over; never waits."""
    later = []
    for fd in fds:
        if _is_memfd(fd):
            os.close(fd)
        else:
            later.append(fd)
    if later:
        _queues.add(owner, later)


def close_socket(owner: Owner, connection: socket.socket) -> None:
    """Close a connection of ``owner``'s, and with it descriptors that came and were not read; never waits."""
    with contextlib.suppress(OSError):  # its peer has gone
        # Nothing can arrive from here on, so that what is found to be empty stays so.
        connection.shutdown(socket.SHUT_RDWR)
    if _unread(connection):
        _queues.add(owner, [connection.detach()])
    else:
        connection.close()


def held(owner: Owner) -> int:
    """Return how many descriptors of ``owner`` are not closed yet."""
    return _queues.held(owner)


def _close(fd: int) -> None:
    # Whatever close(2) says, the number is free: an error is that of the caller's own file.
    with contextlib.suppress(OSError):
        os.close(fd)


def _is_memfd(fd: int) -> bool:
    """Return whether the kernel alone stands behind ``fd``: closing it waits for nobody."""
    try:
        fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        return False
    return True


def _unread(connection: socket.socket) -> bool:
    size = struct.Struct("i")
    try:
        return bool(size.unpack(fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(size.size)))[0])
    except OSError:
        return True
