"""A key worker at work: any program that speaks the worker protocol, started as the sealer would start it.

The kit is the client. Whatever the worker says is checked as it comes: a frame that is too long, a message that is
none, an answer that nobody waits for, a descriptor beside it. Each is a :class:`Violation`, which names it.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec
from msgspec import UNSET, Raw

from signerd.host.hardening import PARENT_VARIABLE
from signerd.host.memfd import sealed_memfd
from signerd.wire.decoding import BROKEN
from signerd.wire.frames import FrameReader, FrameTooLarge, encode_frame
from signerd.wire.messages import VERSION, Error, Hello, Message, Request, Response
from signerd.wire.worker_calls import LINK_FRAME_BYTES
from signerd_conformance import __version__

__all__ = ["PLACE", "AtSocket", "Ending", "Start", "Violation", "Worker", "shaped", "told"]

PLACE: Final = "{fd}"
"""Stands in a command for the number of the worker's socket."""
_READ_BYTES: Final = 1 << 20
_SETTLES_S: Final = 0.5
"""What a worker started may need so long to go after it."""

_running: Final[set[int]] = set()
"""Workers that have not ended: none of them is what another left behind."""

T = TypeVar("T")
_decode: Final = msgspec.msgpack.Decoder(Message).decode


class Violation(Exception):
    """The worker did what the protocol does not allow, or not what it asks for; the text says what was seen."""


@dataclass(frozen=True, slots=True)
class AtSocket:
    """Where a worker that is a service of its own listens, what it shares with its client, and who it runs as."""

    path: str
    credential: bytes = field(repr=False)
    worker_uid: int


@dataclass(frozen=True, slots=True)
class Start:
    """How a worker is started, and what all workers of a run have said.

    ``command``: its arguments; ``{fd}`` in them becomes the number of its socket, else ``--fd N`` is appended.
    ``settings``: its standard input, or None for an empty one. ``seconds``: the longest that an answer may take.
    ``codes`` collects every error code, ``output`` counts the bytes on standard output. With ``at_socket`` nothing is
    started: the worker is connected to.
    """

    command: tuple[str, ...]
    settings: bytes | None = None
    seconds: float = 5.0
    codes: set[str] = field(default_factory=set)
    output: list[int] = field(default_factory=list)
    at_socket: AtSocket | None = None

    def arguments(self, fd: int) -> list[str]:
        """Return the command for a socket of that number."""
        if any(PLACE in part for part in self.command):
            return [part.replace(PLACE, str(fd)) for part in self.command]
        return [*self.command, "--fd", str(fd)]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker ended: seconds from the end of its link (None: it was killed), its status, pids left behind."""

    seconds: float | None
    status: int
    left: tuple[int, ...]


class Worker:
    """One process and this side's end of its socket; OSError where the command cannot be started."""

    _pidfd = -1  # of a process that was started here

    def __init__(self, start: Start) -> None:
        self._start = start
        self._reader = FrameReader(LINK_FRAME_BYTES)
        self._id = 0
        self._before = _children()
        self._output = os.memfd_create("output", os.MFD_CLOEXEC)
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        stdin = subprocess.DEVNULL if start.settings is None else sealed_memfd("settings", start.settings)
        try:
            self._process = subprocess.Popen(
                start.arguments(theirs.fileno()),
                stdin=stdin,
                stdout=self._output,
                pass_fds=(theirs.fileno(),),
                env={name: value for name, value in os.environ.items() if name != PARENT_VARIABLE},
                process_group=0,
            )
            _running.add(self._process.pid)
            self._pidfd = os.pidfd_open(self._process.pid)
        except BaseException:
            self._link.close()
            os.close(self._output)
            raise
        finally:
            theirs.close()
            if stdin >= 0:
                os.close(stdin)

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end(0)

    def hello(self, versions: tuple[int, ...] = (VERSION,)) -> Hello | Error:
        """Exchange the first messages; an Error where the worker will not talk."""
        self.send(encode_frame(Hello(versions, f"signerd-conformance/{__version__}")))
        answer = self.receive()
        if not isinstance(answer, Hello | Error):
            raise Violation(f"the first message is a {type(answer).__name__.lower()} and no hello")
        return answer

    def request(self, method: str, params: object, fds: Sequence[int] = ()) -> int:
        """Send one request and return its id; ``fds`` stay the caller's."""
        self._id += 1
        self.send(encode_frame(Request(self._id, method, Raw(msgspec.msgpack.encode(params)))), fds)
        return self._id

    def answer(self, *waiting: int) -> Response | Error:
        """Return the next message, which must answer one of the requests in ``waiting``."""
        message = self.receive()
        if not isinstance(message, Response | Error):
            raise Violation(f"a {type(message).__name__.lower()} where an answer is due")
        if message.id not in waiting:
            named = "no id" if message.id is UNSET else f"the id {message.id}"
            raise Violation(f"an answer with {named}, which nobody waits for")
        return message

    def ask(self, method: str, params: object, fds: Sequence[int] = ()) -> Response | Error:
        """Ask one thing and return what is answered to it."""
        return self.answer(self.request(method, params, fds))

    def result(self, method: str, params: object, shape: type[T], fds: Sequence[int] = ()) -> T:
        """Ask what must succeed, and return its result as a ``shape``."""
        answer = self.ask(method, params, fds)
        if isinstance(answer, Error):
            raise Violation(f"{method} is refused: {told(answer)}")
        return shaped(answer.result, shape, method)

    def refusal(self, method: str, params: object, fds: Sequence[int] = ()) -> Error:
        """Ask what must be refused, and return the error."""
        answer = self.ask(method, params, fds)
        if isinstance(answer, Response):
            raise Violation(f"{method} is answered where it must be refused")
        return answer

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Write bytes, whatever they are; a worker that has gone is found by :meth:`receive`."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        self._link.settimeout(self._start.seconds)
        try:
            sent = self._link.sendmsg([data], rights)
            self._link.sendall(data[sent:])
        except TimeoutError:
            raise Violation(f"the worker does not read for {self._start.seconds:g} s") from None
        except OSError:
            return

    def receive(self) -> Message:
        """Return the next message; Violation for anything else, the end of the link and silence included."""
        try:
            message: Message = _decode(self._frame())
        except BROKEN as exc:
            raise Violation(f"a frame is no message ({exc})") from None
        if isinstance(message, Error):
            self._start.codes.add(message.code)
            _check_error(message)
        return message

    def closed(self) -> bool:
        """Wait for the worker to close the link; whether it does so in time, whatever it says before."""
        until = time.monotonic() + self._start.seconds
        while time.monotonic() < until:
            try:
                if not self._read():
                    return True
                while (found := self._reader.next_frame()) is not None:
                    _close(found[1])
            except Violation:
                return False
            except FrameTooLarge:
                return True
        return False

    def end(self, seconds: float) -> Ending:
        """Close the link, wait ``seconds`` for the process to end by itself, then kill it and all that it left."""
        self._link.close()
        _close(self._reader.drain_descriptors())
        started = time.monotonic()
        took: float | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            took = time.monotonic() - started
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        _running.discard(self.pid)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        left = self._left(_SETTLES_S if took is not None else 0)
        if self._output >= 0:
            self._start.output.append(os.fstat(self._output).st_size)
            os.close(self._output)
            self._output = -1
        return Ending(took, self._process.returncode, left)

    def _frame(self) -> memoryview | bytes:
        """Return the next whole frame."""
        while True:
            try:
                found = self._reader.next_frame()
            except FrameTooLarge as exc:
                raise Violation(str(exc)) from None
            if found is not None:
                break
            if not self._read():
                raise Violation("the worker has closed the link")
        frame, fds = found
        _close(fds)
        if fds:
            raise Violation(f"{len(fds)} descriptors come with an answer")
        return frame

    def _read(self) -> bool:
        """Take what comes in time; False at the end of the link."""
        link = self._link.fileno()
        watched = [link] if self._pidfd < 0 else [link, self._pidfd]
        if not select.select(watched, [], [], self._start.seconds)[0]:
            raise Violation(f"no answer in {self._start.seconds:g} s")
        if not select.select([link], [], [], 0)[0]:
            return False  # the worker has ended, and something that it left behind holds the link
        try:
            data, fds, _, _ = socket.recv_fds(self._link, _READ_BYTES, 16, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return False
        if data:
            self._reader.feed(data, fds)
        return bool(data)

    def _left(self, seconds: float) -> tuple[int, ...]:
        """Kill what the worker left running, and return what was still there after ``seconds``."""
        until = time.monotonic() + seconds
        while (left := self._orphans()) and time.monotonic() < until:
            time.sleep(0.01)
        for pid in left:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return left

    def _orphans(self) -> tuple[int, ...]:
        # Children that were not there before came to this process, their subreaper, when the worker ended.
        for pid in (found := _children() - self._before - _running):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return tuple(sorted(found & _children()))


def _check_error(message: Error) -> None:
    reason = "" if message.details is UNSET else message.details.get("reason")
    if not isinstance(reason, str) or not reason.replace("_", "a").isalnum() or not reason.islower():
        raise Violation(f"the error {message.code} has no reason in its details")


def told(error: Error) -> str:
    """Say an error in a few words."""
    details: Mapping[str, object] = {} if error.details is UNSET else error.details
    return f"{error.code} ({details.get('reason', '')})"


def shaped(raw: Raw, shape: type[T], method: str) -> T:
    """Decode a result; Violation where it is not as the protocol has it."""
    try:
        return msgspec.msgpack.decode(raw, type=shape)
    except BROKEN as exc:
        raise Violation(f"the result of {method} is not as it should be ({exc})") from None


def _children() -> frozenset[int]:
    pids: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            pids.update(int(pid) for pid in (task / "children").read_text().split())
    return frozenset(pids)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
