"""From results to frames: large values become sealed memfds, and descriptors get their index in the answer's frame."""

import os
from collections.abc import Sequence
from typing import Final, Self

import msgspec
from msgspec import UNSET, Raw

from signerd.errors import SignerdError
from signerd.host.memfd import sealed_memfd
from signerd.pipeline.evidence import Signed
from signerd.wire.methods import BatchError, BatchOutcome, BatchResult, Descriptor, SignResult

__all__ = ["FRAME_ROOM", "batch_answer", "close_all", "encode", "sign_answer"]

Bin = bytes | Descriptor
encode: Final = msgspec.msgpack.Encoder().encode

FRAME_ROOM: Final = 3 * 1024 * 1024
"""Bytes of values that an answer holds inline before even small ones become descriptors: frames stay below 4 MiB."""
SMALL: Final = 4 * 1024
MOST_SENT: Final = 253
"""SCM_MAX_FD of Linux: descriptors that go with one message."""


def sign_answer(signed: Signed, inline_max: int) -> tuple[Raw, tuple[int, ...]]:
    """Return the encoded result and the descriptors that go with it."""
    result = signed.result
    if not signed.fds and result.cose is UNSET and all([_inline(bundle, inline_max) for bundle in result.bundles]):
        envelope = result.envelope
        # One bundle of what travels inline at all fits.
        fits = len(result.bundles) == 1 or _size(result, inline_max) <= FRAME_ROOM
        if fits and (envelope is UNSET or _inline(envelope, inline_max)):
            return Raw(encode(result)), ()
    # As many values as keys, and the envelope: never more than one message carries.
    with _Descriptors([signed]) as fds:
        return Raw(encode(_moved(result, signed.fds, _limit([signed], inline_max), fds))), tuple(fds)


def batch_answer(
    results: Sequence[Signed | SignerdError], inline_max: int
) -> tuple[Raw, tuple[int, ...], list[Signed]]:
    """Return the encoded result of a batch, the descriptors of all, and the items that it has no room for.

    An outcome per item, in order. One frame and one message bound what an answer can hold: an item beyond that was
    signed in vain, its outcome is ``request.too_large``, reason ``answer_too_large``, and its descriptors are closed.
    Raises OSError where no descriptor is left, as :func:`sign_answer` does.
    """
    signed = [result for result in results if isinstance(result, Signed)]
    limit = _limit(signed, inline_max)
    room = FRAME_ROOM
    outcomes = []
    left_out = []
    with _Descriptors(signed) as fds:
        for index, result in enumerate(results):
            if not isinstance(result, Signed):
                error = BatchError(result.code, result.public, dict(result.details))
                outcomes.append(BatchOutcome(index, error=error))
            elif (size := _size(result.result, limit)) <= room:
                room -= size
                outcomes.append(BatchOutcome(index, ok=_moved(result.result, result.fds, limit, fds)))
            else:
                left_out.append(result)
                outcomes.append(BatchOutcome(index, error=_NO_ROOM))
        return Raw(encode(BatchResult(tuple(outcomes)))), tuple(fds), left_out


class _Descriptors(list[int]):
    """The answer's descriptors. Of those that the results came with, what is not sent on is closed at the end; all of
    both where the answer cannot be made.
    """

    def __init__(self, signed: Sequence[Signed]) -> None:
        super().__init__()
        self._own = [fd for one in signed for fd in one.fds]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        for fd in {*self._own, *self} if kind is not None else {*self._own}.difference(self):
            os.close(fd)


_NO_ROOM: Final = BatchError(
    "request.too_large",
    "the answer has no room for this item: ask for fewer at once",
    {"reason": "answer_too_large"},
)


def _limit(signed: Sequence[Signed], inline_max: int) -> int:
    """Return the size above which a value goes by descriptor: the caller's, as far as frame and message allow."""
    sizes = sorted((_length(value) for one in signed for value in _values(one.result)), reverse=True)
    limit = inline_max
    if sum(size for size in sizes if size <= limit) > FRAME_ROOM:
        limit = min(inline_max, SMALL)
    return max(limit, sizes[MOST_SENT]) if len(sizes) > MOST_SENT else limit


def _moved(result: SignResult, own: Sequence[int], limit: int, fds: list[int]) -> SignResult:
    """Return ``result`` with its large values in ``fds``; ``own`` are the descriptors that it came with."""
    bundles = tuple([_place(bundle, own, limit, fds) for bundle in result.bundles])
    envelope = result.envelope if result.envelope is UNSET else _place(result.envelope, own, limit, fds)
    cose = result.cose if result.cose is UNSET else tuple([_place(one, own, limit, fds) for one in result.cose])
    return msgspec.structs.replace(result, bundles=bundles, envelope=envelope, cose=cose)


def _place(value: Bin, own: Sequence[int], limit: int, fds: list[int]) -> Bin:
    if isinstance(value, Descriptor):
        fd = own[value.fd]
        if value.size <= limit:
            return os.pread(fd, value.size, 0)
        fds.append(fd)
        return Descriptor(len(fds) - 1, value.size)
    if len(value) <= limit:
        return value
    fds.append(sealed_memfd("result", value))
    return Descriptor(len(fds) - 1, len(value))


def _inline(value: Bin, inline_max: int) -> bool:
    return not isinstance(value, Descriptor) and len(value) <= inline_max


def _values(result: SignResult) -> tuple[Bin, ...]:
    envelope = () if result.envelope is UNSET else (result.envelope,)
    return (*result.bundles, *envelope, *(() if result.cose is UNSET else result.cose))


def _length(value: Bin) -> int:
    return value.size if isinstance(value, Descriptor) else len(value)


def _size(result: SignResult, limit: int) -> int:
    """Return the bytes of the values that stay inline."""
    return sum(size for size in map(_length, _values(result)) if size <= limit)


def close_all(results: Sequence[Signed | SignerdError]) -> None:
    """Close the descriptors of results that nobody gets."""
    for result in results:
        if isinstance(result, Signed):
            for fd in result.fds:
                os.close(fd)
