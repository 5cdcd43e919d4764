"""A key worker as a service: it listens at a path, and serves one proved connection at a time (T1).

Whoever could connect would have anything signed, beside the whole pipeline. So the socket lies in a directory that
nobody else can write to, the kernel names the uid of each peer, a connection proves the credential within
:data:`PROOF_S` or is closed, and while there is one every other is refused. A sealer that was restarted connects again.
"""

import contextlib
import errno
import fcntl
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NoReturn, Protocol

from signerd.errors import Fault, Refusal
from signerd.host import socket_file
from signerd.host.link import Frame, Link, LinkClosed
from signerd.host.socket_file import SocketUnfit
from signerd.host.worker_socket import open_directory, peer_uid, unfit
from signerd.wire.frames import encode_frame
from signerd.wire.messages import error_from_exception
from signerd.wire.worker_calls import LINK_FRAME_BYTES

__all__ = ["PROOF_S", "Service", "ServiceSession", "bind", "inherited"]

PROOF_S: Final = 5.0
"""Seconds from a connection to its proof: a sealer has both of its messages ready."""
UNPROVED_BYTES: Final = 64 * 1024
"""A frame's limit until then: a hello and an auth are far shorter."""
LOCK_S: Final = 5.0
"""Another worker that starts holds the directory's lock for less than a millisecond."""
BACKLOG: Final = 16
"""What may wait while a call is made: a sealer, and those who are refused."""
_PASSED_FD: Final = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""


class ServiceSession(Protocol):
    """What a connection is to the service: :class:`signerd.worker.key.Session`."""

    over: bool
    proved: bool

    def answer(self, frame: Frame, fds: tuple[int, ...]) -> bytes:
        """Return the frame that answers ``frame``; takes ``fds`` over."""

    def fileno(self) -> int:
        """Return what is readable when :meth:`finished` has something."""

    def finished(self) -> list[bytes]:
        """Return the frames that answer calls which have taken long."""

    def close(self) -> None:
        """Have what is under way end."""


def bind(path: str, sealer_uid: int) -> socket.socket:
    """Return a socket that listens at ``path``, in a directory that is made (0700) where it is missing.

    Fault ``key.backend_unavailable`` as :func:`~signerd.host.worker_socket.open_directory`, and with reason
    ``path_length``, ``symlink``, ``not_a_socket``, ``socket_in_use`` (somebody answers there), ``directory_locked`` or
    ``bind``. A socket that nobody answers on is a dead worker's and is replaced.
    """
    if not path.startswith("/"):
        raise unfit(path, "bind", "is no absolute path")
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.dirname(path), 0o700)
    directory = open_directory(os.path.dirname(path), {0, os.geteuid()})
    os.close(directory)
    # For a sealer of another user: the directory says who comes as far as this, the kernel who is let in.
    mode = 0o600 if sealer_uid == os.geteuid() else 0o666
    with _locked(path):
        try:
            listener = socket_file.bind(path, mode)
        except SocketUnfit as exc:
            raise unfit(path, exc.reason, exc.what) from exc
        listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Keep others of this user's from binding ``path``: of two workers that start at once, neither may take the
    other's fresh socket for a dead one.

    Anybody who may read the directory can hold this lock for as long as he likes: so it is waited for a while only.
    """
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise unfit(path, "directory_locked", "cannot be bound: its directory is locked") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def inherited(env: Mapping[str, str]) -> socket.socket | None:
    """Return the listening socket that systemd handed over (sd_listen_fds(3)), or None where there is none.

    ValueError where what came is not exactly one listening Unix stream socket; Fault for its directory, as
    :func:`bind`.
    """
    if env.get("LISTEN_PID") != str(os.getpid()):
        return None
    if env.get("LISTEN_FDS") != "1":
        raise ValueError("expected one socket of systemd's")
    listener = socket.socket(fileno=_PASSED_FD)
    os.set_inheritable(_PASSED_FD, False)
    accepts = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    name = listener.getsockname() if listener.family == socket.AF_UNIX else b""
    if listener.type != socket.SOCK_STREAM or not accepts or not isinstance(name, str) or not name.startswith("/"):
        raise ValueError("expected a listening Unix stream socket with a path")
    os.close(open_directory(os.path.dirname(name), {0, os.geteuid()}))
    # SO_PEERCRED shows the sealer who called listen() last: so far that was systemd.
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


class _Connection:
    """The one connection: its link, its session, and when it must have proved itself (None: it has)."""

    def __init__(self, accepted: socket.socket, session: ServiceSession) -> None:
        self.link = Link(accepted, UNPROVED_BYTES)
        self.session = session
        self.proved_by: float | None = time.monotonic() + PROOF_S


class Service:
    """Accepts at ``listener`` from ``sealer_uid`` alone; ``new_session`` is asked for a session for each connection."""

    def __init__(self, listener: socket.socket, sealer_uid: int, new_session: Callable[[], ServiceSession]) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._sealer_uid = sealer_uid
        self._new_session = new_session
        self._current: _Connection | None = None

    def run(self) -> NoReturn:
        """Serve until a signal ends this process."""
        while True:
            self.turn(None)

    def turn(self, seconds: float | None) -> None:
        """Wait for whatever comes next, at most ``seconds``, and do it."""
        current = self._current
        poll = select.poll()
        poll.register(self._listener.fileno(), select.POLLIN)
        wait = seconds
        if current is not None:
            # A peer that does not read is not read from: answers never pile up here.
            wanted = select.POLLOUT if current.link.wants_write else select.POLLIN
            poll.register(current.link.fileno(), wanted | select.POLLRDHUP)
            poll.register(current.session.fileno(), select.POLLIN)
            if current.proved_by is not None:
                left = max(0.0, current.proved_by - time.monotonic())
                wait = left if wait is None else min(wait, left)
        ready = dict(poll.poll(None if wait is None else wait * 1000 + 1))
        if current is not None:
            if current.session.fileno() in ready:
                for late in current.session.finished():
                    current.link.queue(late)
            self._look(current, ready.get(current.link.fileno(), 0))
        if self._listener.fileno() in ready:
            self._accept()

    def close(self) -> None:
        """Stop listening, and hang up."""
        self._drop()
        self._listener.close()

    def _look(self, current: _Connection, events: int) -> None:
        try:
            if current.link.wants_write and events:
                current.link.flush()
            elif events & select.POLLIN:
                self._serve(current)
            elif events:
                self._drop()
        except LinkClosed:
            self._drop()
            return
        if self._current is current and current.proved_by is not None and time.monotonic() >= current.proved_by:
            _say("closed a connection that proved nothing in time")
            self._drop()

    def _serve(self, current: _Connection) -> None:
        session = current.session
        for frame, fds in current.link.read():
            if answer := session.answer(frame, fds):
                current.link.queue(answer)
            if current.proved_by is not None and session.proved:
                current.proved_by = None
                current.link.allow(LINK_FRAME_BYTES)
        current.link.flush()
        if session.over:
            if not session.proved:
                _say("closed a connection that did not prove the credential")
            self._drop()

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError as exc:
            if exc.errno in {errno.EMFILE, errno.ENFILE}:
                time.sleep(0.05)  # it stays in the queue: no spinning
            return
        if peer_uid(accepted) != self._sealer_uid:
            _say(f"closed a connection of uid {peer_uid(accepted)}")
            _refuse(accepted, Refusal("key.forbidden", "peer_uid", "this worker serves another user"))
        elif self._current is not None and not _hung_up(self._current.link.fileno()):
            _say("closed a second connection")
            _refuse(accepted, Fault("key.backend_unavailable", "worker_taken", "this worker serves another connection"))
        else:
            self._drop()
            self._current = _Connection(accepted, self._new_session())

    def _drop(self) -> None:
        if self._current is not None:
            self._current.session.close()
            self._current.link.close()
            self._current = None


def _hung_up(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    return bool(poll.poll(0))


def _refuse(accepted: socket.socket, why: Refusal | Fault) -> None:
    with accepted, contextlib.suppress(OSError):
        accepted.setblocking(False)
        accepted.send(encode_frame(error_from_exception(why)))


def _say(what: str) -> None:
    sys.stderr.write(f"signerd.worker.key: {what}\n")
