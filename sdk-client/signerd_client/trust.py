"""Is the process that listens the one it should be? Asked before a single byte is sent.

The attack (threat T11): another process binds the daemon's path before the daemon does, and reads what
callers hand over, or hands back signatures of its own. Three questions answer it, in this order:

1. May anybody but trusted users put a socket at this path? (:func:`check_path`, before connecting)
2. Who called ``listen`` on the socket that answered? (``SO_PEERCRED``, :func:`check_listener`, after
connecting) 3. Is what stands at the path still the socket that question 1 was about? (:func:`check_listener`
too)

Trusted are root, the own effective uid, and one further uid that the caller names: that of a system service.
Every failure is ``auth.peer_denied`` with the reason named at the check.
"""

import os
import socket
import stat
import struct
from dataclasses import dataclass
from typing import NoReturn

from signerd.errors import Fault, Refusal

__all__ = ["Trust", "check_listener", "check_path"]

_UCRED = struct.Struct("3i")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Trust:
    """What question 1 found, for question 3: the socket's device, inode and owner, and who is trusted."""

    path: str
    device: int
    inode: int
    owner: int
    uids: frozenset[int]


def _refuse(reason: str, public: str, path: str) -> NoReturn:
    raise Refusal("auth.peer_denied", reason, public, operator=f"{path}: {public}")


def _stat(path: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except PermissionError:
        _refuse("socket_unreachable", "the path of the socket may not be entered", path)
    except (FileNotFoundError, NotADirectoryError):
        raise Fault(
            "daemon.draining",
            "unreachable",
            "no daemon listens there",
            operator=f"{path} is not there: no daemon runs, or its socket is elsewhere (SIGNERD_SOCKET)",
        ) from None
    except (OSError, ValueError) as error:
        raise Refusal("request.malformed", "socket_path", "that cannot be the path of a socket") from error


def _check_ancestor(path: str, trusted: frozenset[int]) -> None:
    """Refuse a directory above the socket's own in which others could put another one in place of it.

    A sticky directory such as ``/tmp`` passes here: nobody but its owner renames an entry of it.
    """
    found = _stat(path)
    if stat.S_ISLNK(found.st_mode):
        _refuse("symlink", "a symbolic link stands on the path of the socket; name the real path", path)
    if found.st_uid not in trusted:
        _refuse("directory_owner", "a directory above the socket belongs to a user who is not trusted", path)
    if found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX:
        _refuse("directory_mode", "a directory above the socket can be written by others", path)


def check_path(path: str, server_uid: int | None = None) -> Trust:
    """Check every component of the absolute ``path`` and return what :func:`check_listener` needs.

    Reasons: ``symlink`` anywhere on the path; ``directory_owner`` and ``directory_mode`` for a directory that
    is another user's or that others can write (the socket's own directory: sticky or not; those above it:
    unless sticky); ``not_a_socket``; ``socket_owner``; ``socket_mode`` for a user's own daemon whose socket
    everybody may open (a system service's may be open to all, for it tells its callers apart itself). Where
    nothing is there: Fault ``daemon.draining``, reason ``unreachable``.
    """
    trusted = frozenset({0, os.geteuid()} | (set() if server_uid is None else {server_uid}))
    # Whoever owns "/" owns the interpreter that runs this check too, so asking about it would prove nothing.
    # In a user namespace that owner is seen as the overflow uid, as are the owners of the system's other
    # directories.
    above = trusted | {os.stat("/").st_uid}
    parent = os.path.dirname(path)
    parts = parent.strip("/").split("/")
    for depth in range(1, len(parts)):
        _check_ancestor("/" + "/".join(parts[:depth]), above)
    directory = _stat(parent)
    _check_ancestor(parent, trusted)
    if directory.st_mode & _OTHERS_WRITE:
        _refuse("directory_mode", "the directory of the socket can be written by others", parent)
    found = _stat(path)
    if stat.S_ISLNK(found.st_mode):
        _refuse("symlink", "the socket is a symbolic link; name the real path", path)
    if not stat.S_ISSOCK(found.st_mode):
        _refuse("not_a_socket", "what stands at the path is no socket", path)
    if found.st_uid not in trusted:
        _refuse("socket_owner", "the socket belongs to a user who is not trusted", path)
    private = not directory.st_mode & (stat.S_IXGRP | stat.S_IXOTH)
    service = directory.st_uid in (0, server_uid)
    if found.st_mode & stat.S_IWOTH and not private and not service:
        _refuse("socket_mode", "everybody may open the socket; if it is meant for all, name the daemon's user", path)
    return Trust(path, found.st_dev, found.st_ino, found.st_uid, trusted)


def check_listener(connected: socket.socket, trust: Trust) -> None:
    """Check who called ``listen`` on the socket that ``connected`` is joined to; nothing may have been sent
    before.

    Reasons: ``listener_uid`` where ``SO_PEERCRED`` (unix(7)) names neither the socket's owner nor root (who
    listens in the name of a service that is started by its socket); ``socket_replaced`` where another socket
    stands at the path by now than the one that :func:`check_path` saw.
    """
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _pid, uid, _gid = _UCRED.unpack(credentials)
    if uid not in trust.uids or uid not in (0, trust.owner):
        _refuse("listener_uid", "the process that listens runs as a user who is not trusted", trust.path)
    found = _stat(trust.path)
    if (found.st_dev, found.st_ino) != (trust.device, trust.inode):
        _refuse("socket_replaced", "the socket was replaced while it was being opened", trust.path)
