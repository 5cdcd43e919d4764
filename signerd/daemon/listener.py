"""Binds the sign socket and accepts: the path is checked first, so that nobody else's socket is served by mistake."""

import contextlib
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from signerd.errors import Refusal
from signerd.host import socket_file
from signerd.host.socket_file import SocketUnfit, remove_dead

__all__ = ["bind", "release", "serve"]

BACKLOG: Final = 1024
"""As many as connections are allowed at all; the kernel's own limit applies too."""


def bind(path: Path, mode: int, group: str = "") -> socket.socket:
    """Return a socket that listens on ``path``; its file gets ``mode`` and, where one is named, ``group``.

    The directory is made (0700) where it is missing. Refused, with what is wrong: a symlink anywhere on the path, a
    directory that others may write to (they could put their own socket there: T11), a path that is no socket, one
    on which somebody answers. A socket that nobody answers on is a dead daemon's and is replaced.
    """
    directory = path.parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise _unfit(directory, f"cannot be made: {exc.strerror}", "directory") from exc
    _check_directory(directory)
    try:
        listening = socket_file.bind(os.fspath(path), mode, group)
    except SocketUnfit as exc:
        raise _unfit(path, exc.what, exc.reason) from exc
    # Inherited by what is accepted: the kernel names the sender of every message (T12).
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    listening.listen(BACKLOG)
    return listening


def release(listening: socket.socket, path: Path) -> None:
    """Stop listening, and remove the socket's name unless somebody else answers there by now."""
    listening.close()
    with contextlib.suppress(OSError, SocketUnfit):
        remove_dead(os.fspath(path))


async def serve(listening: socket.socket, accept: Callable[[socket.socket], Awaitable[None]]) -> None:
    """Accept until cancelled, each connection in a task: an authenticator that must ask somebody delays its own alone.

    Out of descriptors, it waits a moment instead of spinning.
    """
    listener = trio.socket.from_stdlib_socket(listening)
    async with trio.open_nursery() as accepting:
        while True:
            try:
                accepted, _ = await listener.accept()
            except OSError:
                await trio.sleep(0.05)
                continue
            # The raw socket goes to the poller; trio's wrapper is let go of without closing it.
            connection = socket.socket(fileno=accepted.detach())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            accepting.start_soon(accept, connection)


def _check_directory(directory: Path) -> None:
    for part in (directory, *directory.parents):
        status = os.stat(part, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            raise _unfit(part, "is a symlink on the socket's path", "symlink")
    status = os.stat(directory)
    if status.st_uid not in (os.geteuid(), 0):
        raise _unfit(directory, f"belongs to uid {status.st_uid}", "directory_owner")
    if status.st_mode & 0o022:
        raise _unfit(directory, f"can be written by others (mode {status.st_mode & 0o7777:04o})", "directory_mode")


def _unfit(path: Path, what: str, reason: str) -> Refusal:
    return Refusal("state.locked", reason, "the socket cannot be used", operator=f"{path} {what}")
