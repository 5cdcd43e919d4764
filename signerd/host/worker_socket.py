"""A key worker that is a service of its own, reached at a socket path: is it the one that was meant? (T1)

Whoever can put a socket in the worker's place would be asked to sign, and whoever can reach the worker's would be
signed for. So the path is walked without following a symlink, each directory on it may be changed only by root, by
this process's user or by the worker's, the last one only by root or the worker's user, and the socket's inode is
compared before and after connecting. What a peer cannot show in this way it shows with
:mod:`signerd.wire.worker_auth`. Nothing here waits.
"""

import contextlib
import os
import select
import socket
import stat
import struct
from collections.abc import Collection
from typing import Final

from signerd.errors import Fault
from signerd.wire.worker_auth import NONCE_BYTES, Proof

__all__ = ["Connected", "connect", "open_directory", "peer_uid", "unfit"]

_WALK: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UCRED: Final = struct.Struct("3i")


class Connected:
    """A connection to a worker that somebody else started: what :class:`~signerd.host.spawn.Spawned` is to a child.

    It cannot be killed and has no pidfd: the end of the connection is the worker's end. ``pid`` is what the kernel
    said of the process that listened.
    """

    __slots__ = ("pid", "proof", "socket")

    def __init__(self, connection: socket.socket, pid: int, credential: bytes) -> None:
        self.socket = connection
        self.pid = pid
        self.proof = Proof(credential, "sealer", os.urandom(NONCE_BYTES))

    @property
    def pidfd(self) -> None:
        """None: there is no process to watch."""

    @property
    def fate(self) -> str:
        """What :meth:`reap` has seen, for the log."""
        return "worker hung up"

    def kill(self) -> None:
        """Close the connection; harmless when it is closed."""
        self.socket.close()

    def reap(self, seconds: float = 0) -> bool:
        """Whether the connection is over: it is once the other side has closed it, so no ``seconds`` are waited."""
        if self.socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self.socket.fileno(), select.POLLRDHUP)
        if not poll.poll(0):
            return False
        self.socket.close()
        return True

    def end(self, seconds: float) -> None:
        """Close the connection; ``seconds`` are of no use."""
        self.socket.close()


def connect(path: str, credential: bytes, worker_uid: int) -> Connected:
    """Return a connection to the worker at ``path``, which runs as ``worker_uid``; nothing is sent yet.

    Fault ``key.backend_unavailable`` with a reason: what :func:`open_directory` raises, ``socket_missing``,
    ``symlink``, ``not_a_socket``, ``socket_owner`` (neither root nor the worker's user), ``not_listening``,
    ``backlog_full``, ``socket_swapped`` (another inode than before), ``peer_uid`` (somebody else listens).
    """
    directory = open_directory(os.path.dirname(path), {0, worker_uid})
    name = os.path.basename(path)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        before = _socket_status(path, name, directory)
        if before.st_uid not in {0, worker_uid}:
            raise unfit(path, "socket_owner", f"belongs to uid {before.st_uid}, and not to root or uid {worker_uid}")
        _reach(connection, path, f"/proc/self/fd/{directory}/{name}")
        after = _socket_status(path, name, directory)
        if (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino):
            raise unfit(path, "socket_swapped", "was replaced while it was connected to")
        pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid != worker_uid:
            raise unfit(path, "peer_uid", f"is listened on by uid {uid}, and not by uid {worker_uid}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(directory)
    return Connected(connection, pid, credential)


def open_directory(path: str, owners: Collection[int]) -> int:
    """Return a descriptor (O_PATH) of the directory that a worker's socket lies in.

    It must belong to one of ``owners`` and be closed to other writers; the directories above it too, where ours may
    own one as well, or be sticky. Fault ``key.backend_unavailable``, reason ``directory_missing``, ``symlink``,
    ``directory_owner`` or ``directory_mode``.
    """
    parts = [part for part in path.split("/") if part]
    at = os.open("/", _WALK)
    try:
        for number, part in enumerate(parts):
            if part == "..":
                raise unfit(path, "directory_missing", "has .. in it")
            inner = _step(path, part, at)
            os.close(at)
            at = inner
            _check_directory(path, "/" + "/".join(parts[: number + 1]), at, owners, last=number == len(parts) - 1)
    except BaseException:
        os.close(at)
        raise
    return at


def peer_uid(connection: socket.socket) -> int:
    """Return the uid of the process at the other end, as it was when it connected or listened (SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[1])


def unfit(path: str, reason: str, what: str) -> Fault:
    """Return the fault of a path that cannot be used; the operator's text alone names it."""
    return Fault("key.backend_unavailable", reason, "the key's backend is not available", operator=f"{path} {what}")


def _step(path: str, part: str, at: int) -> int:
    try:
        return os.open(part, _WALK, dir_fd=at)
    except OSError as exc:
        # O_DIRECTORY comes first where O_PATH meets a symlink (ENOTDIR), so the kind is looked up.
        with contextlib.suppress(OSError):
            if stat.S_ISLNK(os.stat(part, dir_fd=at, follow_symlinks=False).st_mode):
                raise unfit(path, "symlink", f"leads over a symlink, {part}") from None
        raise unfit(path, "directory_missing", f"cannot be reached at {part}: {exc.strerror}") from None


def _check_directory(path: str, part: str, at: int, owners: Collection[int], *, last: bool) -> None:
    found = os.fstat(at)
    allowed = {*owners} if last else {*owners, 0, os.geteuid()}
    if found.st_uid not in allowed:
        raise unfit(path, "directory_owner", f"cannot be trusted: {part} belongs to uid {found.st_uid}")
    # In a sticky directory nobody but the owner moves what is there; the last one must not let others add either.
    if found.st_mode & 0o022 and (last or not found.st_mode & stat.S_ISVTX):
        mode = f"{found.st_mode & 0o7777:04o}"
        raise unfit(path, "directory_mode", f"cannot be trusted: others may write to {part} (mode {mode})")


def _socket_status(path: str, name: str, directory: int) -> os.stat_result:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as exc:
        raise unfit(path, "socket_missing", f"cannot be looked at: {exc.strerror}") from None
    if stat.S_ISLNK(found.st_mode):
        raise unfit(path, "symlink", "is a symlink")
    if not stat.S_ISSOCK(found.st_mode):
        raise unfit(path, "not_a_socket", "is no socket")
    return found


def _reach(connection: socket.socket, path: str, place: str) -> None:
    try:
        # By the directory's descriptor: it is the one that was checked, whatever its path leads to by now.
        connection.connect(place)
    except BlockingIOError:
        raise unfit(path, "backlog_full", "accepts nobody: its queue is full") from None
    except OSError as exc:
        raise unfit(path, "not_listening", f"cannot be connected to: {exc.strerror}") from None
