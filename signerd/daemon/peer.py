"""Who is at the other end of a connection, as the kernel says."""

import errno
import os
import socket
import struct
from typing import Final

from signerd.contracts.values import Peer
from signerd.errors import Refusal

__all__ = ["CREDENTIALS", "open_pidfd", "read_peer", "sender_pid"]

CREDENTIALS: Final = struct.Struct("iII")
"""``struct ucred`` of unix(7): pid, uid, gid."""
_SO_PEERPIDFD: Final = 77  # asm-generic/socket.h; Linux 6.5
_START_TIME: Final = 19  # field 22 of /proc/PID/stat, counted from the state, which follows the name


def read_peer(connection: socket.socket) -> Peer:
    """Return the process that opened ``connection``.

    The start time is read while a pidfd holds the process, so that it is that process's and not a later one's of the
    same number; ``auth.peer_denied``, reason ``peer_gone``, where it has ended already. Executable and unit are left
    out where they cannot be read.
    """
    pid, uid, gid = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    try:
        pidfd = open_pidfd(connection, pid)
    except OSError as exc:
        raise _gone() from exc
    try:
        start = _start_time(pid)
        executable, unit = _executable(pid), _unit(pid)
        if start != _start_time(pid):
            raise _gone()
    finally:
        os.close(pidfd)
    return Peer(uid, gid, pid, start, unit, executable)


def sender_pid(credentials: bytes) -> int:
    """Return the pid in an SCM_CREDENTIALS message."""
    return int(CREDENTIALS.unpack(credentials)[0])


def open_pidfd(connection: socket.socket, pid: int) -> int:
    """Return a pidfd of the process that opened ``connection``: readable once that has ended; the caller closes it.

    Raises OSError where it has ended already.
    """
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as exc:
        if exc.errno != errno.ENOPROTOOPT:
            raise  # it has gone; the number may be another's by now
        return os.pidfd_open(pid)


def _start_time(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The name is in parentheses and may itself hold any character.
            return int(stat.read().rpartition(b")")[2].split()[_START_TIME])
    except (OSError, ValueError, IndexError) as exc:
        raise _gone() from exc


def _executable(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None


def _unit(pid: int) -> str | None:
    """Return the systemd unit from the full cgroup path (cgroup v2): its last component that is one."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as cgroup:
            line = next((text for text in cgroup if text.startswith("0::")), "")
    except OSError:
        return None
    for part in reversed(line.strip()[3:].split("/")):
        if part.endswith((".service", ".scope")):
            return part
    return None


def _gone() -> Refusal:
    return Refusal("auth.peer_denied", "peer_gone", "the process that opened the connection is gone")
