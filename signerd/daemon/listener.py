"""Binds the sign socket and accepts: the path is checked first, so that nobody else's socket is served by mistake."""

import contextlib
import grp
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from signerd.errors import Refusal

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
    if len(os.fsencode(path)) > 107:
        raise _unfit(path, "is longer than a Unix socket's path may be (107 bytes)", "path_length")
    _remove_dead(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # The mode is in force before anybody can connect: nothing listens yet.
        previous = os.umask(0o177)
        try:
            listening.bind(os.fspath(path))
        finally:
            os.umask(previous)
        if group:
            os.chown(path, -1, grp.getgrnam(group).gr_gid, follow_symlinks=False)
        os.chmod(path, mode)
        # Inherited by what is accepted: the kernel names the sender of every message (T12).
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listening.listen(BACKLOG)
    except (OSError, KeyError) as exc:
        listening.close()
        raise _unfit(path, f"cannot be bound: {exc}", "bind") from exc
    return listening


def release(listening: socket.socket, path: Path) -> None:
    """Stop listening, and remove the socket's name unless somebody else answers there by now."""
    listening.close()
    with contextlib.suppress(OSError, Refusal):
        _remove_dead(path)


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


def _remove_dead(path: Path) -> None:
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise _unfit(path, "is a symlink", "symlink")
    if not stat.S_ISSOCK(status.st_mode):
        raise _unfit(path, "is there and is no socket", "not_a_socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as exc:
            raise _unfit(path, f"cannot be looked at: {exc.strerror}", "bind") from exc
    raise _unfit(path, "is in use: somebody answers there", "socket_in_use")


def _unfit(path: Path, what: str, reason: str) -> Refusal:
    return Refusal("state.locked", reason, "the socket cannot be used", operator=f"{path} {what}")
