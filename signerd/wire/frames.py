"""Frames: a big-endian u32 length, then one msgpack map of that length.

The reader never allocates by what a peer announces: the length is compared with the limit first, and what it
holds is at most one unfinished frame and one read. It hands a frame out in place where the frame is all there
is, and as a copy of its own bytes otherwise, so that a small frame never keeps a large read alive.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

__all__ = ["ENCODER", "HEADER_BYTES", "FrameReader", "FrameTooLarge", "encode_frame"]

HEADER_BYTES: Final = 4
LENGTH_MAX: Final = 2**32 - 1
ENCODER: Final = msgspec.msgpack.Encoder()

Frame = memoryview | bytes
_NO_DESCRIPTORS: Final[tuple[int, ...]] = ()


class FrameTooLarge(Exception):  # the name says what is wrong; every user catches it by name
    """A frame is longer than the limit allows: ``size`` and ``limit`` in bytes, header not counted."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a frame of {size} bytes is above the limit of {limit}")
        self.size = size
        self.limit = limit


def encode_frame(message: msgspec.Struct) -> bytes:
    """Encode one message with its length; :exc:`FrameTooLarge` where a u32 cannot count it."""
    body = ENCODER.encode(message)
    if len(body) > LENGTH_MAX:
        raise FrameTooLarge(len(body), LENGTH_MAX)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class FrameReader:
    """Cuts a stream of bytes and descriptors into frames.

    ``limit`` (bytes of a frame, header not counted) may be set at any time and holds from the next frame on.
    Descriptors belong to the frame that holds the last byte of the read which brought them. The reader closes
    none: whoever gives up takes the rest from :meth:`drain_descriptors`.
    """

    __slots__ = ("_at", "_base", "_buffer", "_descriptors", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer: bytes | bytearray = b""
        self._at = 0
        self._base = 0  # place of _buffer[0] in the stream
        self._descriptors: deque[tuple[int, tuple[int, ...]]] = deque()

    @property
    def buffered(self) -> int:
        """How many bytes are held: below the limit, the header and one read together."""
        return len(self._buffer)

    def feed(self, data: bytes | memoryview, fds: Sequence[int] = ()) -> None:
        """Add one read. A memoryview is copied, so its buffer may be used again at once.

        Raises ValueError for descriptors without bytes, which no Unix socket delivers, and BufferError where
        whole frames are still waiting: feeding on without taking them would be the unbounded queue.
        """
        if fds and not data:
            raise ValueError("descriptors come with at least one byte")
        if len(self._buffer) - self._at >= self.limit + HEADER_BYTES:
            raise BufferError("take the frames that are there before feeding more")
        if not self._buffer:
            self._buffer = data if isinstance(data, bytes) else bytes(data)
        else:
            if self._at or isinstance(self._buffer, bytes):
                self._base += self._at
                self._buffer = bytearray(memoryview(self._buffer)[self._at :])
                self._at = 0
            self._buffer += data
        if fds:
            self._descriptors.append((self._base + len(self._buffer), tuple(fds)))

    def next_frame(self) -> tuple[Frame, tuple[int, ...]] | None:
        """The next whole frame and its descriptors, or None until more is fed.

        Raises :exc:`FrameTooLarge` as soon as a length is seen that is above the limit. The stream cannot be
        resumed after it.
        """
        buffer, start = self._buffer, self._at + HEADER_BYTES
        held = len(buffer)
        if held < start:
            return None
        size = int.from_bytes(buffer[start - HEADER_BYTES : start], "big")
        if size > self.limit:
            raise FrameTooLarge(size, self.limit)
        end = start + size
        if end > held:
            return None
        frame: Frame
        if start == HEADER_BYTES and end == held:
            frame = memoryview(buffer)[start:]
        elif isinstance(buffer, bytes):
            frame = buffer[start:end]
        else:
            # A slice of a bytearray is a bytearray: two copies where the view needs one.
            with memoryview(buffer) as view:
                frame = bytes(view[start:end])
        if end == held:
            self._buffer, self._at = b"", 0
            self._base += end
            return frame, self._take_descriptors(self._base) if self._descriptors else _NO_DESCRIPTORS
        self._at = end
        return frame, self._take_descriptors(self._base + end) if self._descriptors else _NO_DESCRIPTORS

    def drain_descriptors(self) -> tuple[int, ...]:
        """Give up every descriptor that no frame was given; the caller closes them."""
        left = tuple(fd for _, fds in self._descriptors for fd in fds)
        self._descriptors.clear()
        return left

    def _take_descriptors(self, end: int) -> tuple[int, ...]:
        taken: tuple[int, ...] = ()
        while self._descriptors and self._descriptors[0][0] <= end:
            taken += self._descriptors.popleft()[1]
        return taken
