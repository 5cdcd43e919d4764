"""From results to frames: large values become sealed memfds, and descriptors get their index in the answer's frame."""

import os
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from signerd.errors import SignerdError
from signerd.host.memfd import sealed_memfd
from signerd.pipeline.evidence import Signed
from signerd.wire.methods import BatchError, BatchOutcome, BatchResult, Descriptor, SignResult

__all__ = ["batch_answer", "encode", "sign_answer"]

Bin = bytes | Descriptor
encode: Final = msgspec.msgpack.Encoder().encode

FRAME_ROOM: Final = 3 * 1024 * 1024
"""Bytes of values that an answer holds inline before even small ones become descriptors: its frame stays below 4 MiB."""
SMALL: Final = 4 * 1024


def sign_answer(signed: Signed, inline_max: int) -> tuple[Raw, tuple[int, ...]]:
    """Return the encoded result and the descriptors that go with it."""
    result = signed.result
    if not signed.fds and all([_inline(bundle, inline_max) for bundle in result.bundles]):
        envelope = result.envelope
        if envelope is UNSET or _inline(envelope, inline_max):
            return Raw(encode(result)), ()
    fds: list[int] = []
    moved = _moved(result, signed.fds, inline_max, fds)
    return Raw(encode(moved)), tuple(fds)


def batch_answer(results: Sequence[Signed | SignerdError], inline_max: int) -> tuple[Raw, tuple[int, ...]]:
    """Return the encoded result of a batch: an outcome per item, in order, and the descriptors of all."""
    size = sum(_size(result.result) for result in results if isinstance(result, Signed))
    limit = min(inline_max, SMALL) if size > FRAME_ROOM else inline_max
    fds: list[int] = []
    outcomes = []
    for index, result in enumerate(results):
        if isinstance(result, Signed):
            outcomes.append(BatchOutcome(index, ok=_moved(result.result, result.fds, limit, fds)))
        else:
            outcomes.append(BatchOutcome(index, error=BatchError(result.code, result.public, dict(result.details))))
    return Raw(encode(BatchResult(tuple(outcomes)))), tuple(fds)


def _moved(result: SignResult, own: Sequence[int], inline_max: int, fds: list[int]) -> SignResult:
    """Return ``result`` with its large values in ``fds``; ``own`` are the descriptors that it came with."""
    bundles = tuple([_place(bundle, own, inline_max, fds) for bundle in result.bundles])
    envelope = result.envelope if result.envelope is UNSET else _place(result.envelope, own, inline_max, fds)
    return msgspec.structs.replace(result, bundles=bundles, envelope=envelope)


def _place(value: Bin, own: Sequence[int], inline_max: int, fds: list[int]) -> Bin:
    if isinstance(value, Descriptor):
        fds.append(own[value.fd])
        return Descriptor(len(fds) - 1, value.size)
    if len(value) <= inline_max:
        return value
    fds.append(sealed_memfd("result", value))
    return Descriptor(len(fds) - 1, len(value))


def _inline(value: Bin, inline_max: int) -> bool:
    return not isinstance(value, Descriptor) and len(value) <= inline_max


def _size(result: SignResult) -> int:
    values = [*result.bundles, *(() if result.envelope is UNSET else (result.envelope,))]
    return sum(0 if isinstance(value, Descriptor) else len(value) for value in values)


def close_all(results: Sequence[Signed | SignerdError]) -> None:
    """Close the descriptors of results that nobody gets."""
    for result in results:
        if isinstance(result, Signed):
            for fd in result.fds:
                os.close(fd)
