"""One end of an internal link: whole frames in, a queue out, on a non-blocking Unix socket.

Both sides of every link use it: front end and sealer, sealer and key workers, front end and document worker. It
knows frames and descriptors, not messages. Nothing here blocks; who owns a link waits for it in a loop of its own.
"""

import os
import socket
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from signerd.wire.frames import FrameReader, FrameTooLarge
from signerd.wire.worker_calls import LINK_FRAME_BYTES

__all__ = ["Link", "LinkBroken", "LinkClosed"]

READ_BYTES: Final = 64 * 1024
"""One read: below the allocator's threshold for fresh pages, so that it costs no page faults."""
CTRUNC: Final = int(socket.MSG_CTRUNC)
MOST_DESCRIPTORS: Final = 253
"""SCM_MAX_FD of Linux: what one message can carry."""
_ANCILLARY: Final = socket.CMSG_SPACE(MOST_DESCRIPTORS * array("i").itemsize)

Frame = memoryview | bytes
Closing = Callable[[Sequence[int]], None]


class LinkClosed(Exception):  # the name says what happened
    """The other side is gone, or broke the framing; nothing more can be said to it."""


class LinkBroken(LinkClosed):
    """The other side broke the framing; ``reason`` is a word for how."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Link:
    """A framed socket. Owns the socket and every descriptor that is queued or not yet taken."""

    __slots__ = ("_out", "_reader", "_socket")

    def __init__(self, connection: socket.socket, limit: int = LINK_FRAME_BYTES) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._reader = FrameReader(limit)
        self._out: deque[tuple[bytes, tuple[int, ...], Closing]] = deque()

    def fileno(self) -> int:
        """Return the socket's number, for poll."""
        return self._socket.fileno()

    def allow(self, limit: int) -> None:
        """Take frames of up to ``limit`` bytes from the next one on."""
        self._reader.limit = limit

    @property
    def wants_write(self) -> bool:
        """Whether something is queued that the socket did not take yet."""
        return bool(self._out)

    def read(self) -> list[tuple[Frame, tuple[int, ...]]]:
        """Return all whole frames that are readable now, each with its descriptors, which the caller closes.

        Raises LinkClosed at the end of the stream, once the frames that came before it were returned, and LinkBroken
        for a frame above the limit or descriptors that were cut off, whatever came before.
        """
        frames: list[tuple[Frame, tuple[int, ...]]] = []
        reader = self._reader
        while True:
            try:
                data, ancillary, flags, _ = self._socket.recvmsg(READ_BYTES, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return frames
            except OSError as exc:
                raise LinkClosed(str(exc)) from None
            if flags & CTRUNC:
                _close(_descriptors(ancillary))
                raise _broken(frames, "descriptors_cut_off", "descriptors were cut off")
            if not data:
                if frames:
                    return frames
                raise LinkClosed("end of stream")
            try:
                reader.feed(data, _descriptors(ancillary) if ancillary else ())
                while (found := reader.next_frame()) is not None:
                    frames.append(found)
            except FrameTooLarge as exc:
                raise _broken(frames, "frame_size", str(exc)) from None
            if len(data) < READ_BYTES:
                return frames

    def queue(self, frame: bytes, fds: Sequence[int] = (), closing: Closing | None = None) -> None:
        """Queue one frame; ``fds`` are closed once they are sent, or with the link: by ``closing`` where that may wait
        for whoever made them."""
        self._out.append((frame, tuple(fds), closing or _close))

    def flush(self) -> bool:
        """Send what the socket takes; whether the queue is empty. Raises LinkClosed where nobody listens any more."""
        out = self._out
        while out:
            frame, fds, closing = out[0]
            try:
                if fds:
                    # All descriptors of a frame go with the message that starts at its first byte.
                    sent = socket.send_fds(self._socket, [frame], list(fds))
                    closing(fds)
                elif len(out) > 1 and not out[1][1]:
                    frame = self._merge()
                    sent = self._socket.send(frame)
                else:
                    sent = self._socket.send(frame)
            except BlockingIOError:
                return False
            except OSError as exc:
                raise LinkClosed(str(exc)) from None
            if sent == len(frame):
                out.popleft()
            else:
                out[0] = (frame[sent:], (), _close)
        return True

    def close(self) -> None:
        """Close the socket and every descriptor that is still held."""
        self._socket.close()
        _close(self._reader.drain_descriptors())
        while self._out:
            _, fds, closing = self._out.popleft()
            closing(fds)

    def _merge(self) -> bytes:
        """Join the frames at the head of the queue that carry no descriptors: one system call for all."""
        out = self._out
        parts: list[bytes] = []
        while out and not out[0][1]:
            parts.append(out.popleft()[0])
        merged = b"".join(parts)
        out.appendleft((merged, (), _close))
        return merged


def _broken(frames: list[tuple[Frame, tuple[int, ...]]], reason: str, text: str) -> LinkBroken:
    """Return what to raise; nobody will take the frames that came before, so their descriptors are closed."""
    for _, fds in frames:
        _close(fds)
    return LinkBroken(reason, text)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, ...]:
    numbers = array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return tuple(numbers)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
