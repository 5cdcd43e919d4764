"""The file of a socket that this process listens on: what may be replaced there, and with which mode it appears.

Whether the directory can be trusted is looked at before, by whoever calls.
"""

import grp
import os
import socket
import stat
from contextlib import suppress

__all__ = ["LONGEST_PATH", "SocketUnfit", "bind", "remove_dead"]

LONGEST_PATH = 107
"""Bytes of a Unix socket's path, beside the zero at its end (unix(7))."""


class SocketUnfit(Exception):
    """Nothing can listen there: ``reason`` is a stable word, ``what`` is said of the path to the operator."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason
        self.what = what


def bind(path: str, mode: int, group: str = "") -> socket.socket:
    """Return a stream socket that is bound to ``path`` and does not listen yet, so that nobody can connect.

    What a dead process has left there is replaced, as by :func:`remove_dead`. The file gets ``mode`` and, where one is
    named, ``group``. Raises SocketUnfit: ``path_length``, what :func:`remove_dead` raises, ``bind``.
    """
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise SocketUnfit("path_length", f"is longer than a Unix socket's path may be ({LONGEST_PATH} bytes)")
    remove_dead(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        previous = os.umask(0o177)
        try:
            bound.bind(path)
        finally:
            os.umask(previous)
        if group:
            os.chown(path, -1, grp.getgrnam(group).gr_gid, follow_symlinks=False)
        os.chmod(path, mode)
    except (OSError, KeyError) as exc:
        bound.close()
        raise SocketUnfit("bind", f"cannot be bound: {exc}") from exc
    return bound


def remove_dead(path: str) -> None:
    """Remove a socket's file on which nobody answers. Never waits; a full queue is somebody who answers.

    Raises SocketUnfit: ``symlink``, ``not_a_socket``, ``socket_in_use``, ``bind`` (it cannot be looked at).
    """
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise SocketUnfit("symlink", "is a symlink")
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketUnfit("not_a_socket", "is there and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with suppress(FileNotFoundError):
                os.unlink(path)
            return
        except BlockingIOError:
            pass
        except OSError as exc:
            raise SocketUnfit("bind", f"cannot be looked at: {exc.strerror}") from exc
    raise SocketUnfit("socket_in_use", "is in use: somebody answers there")
