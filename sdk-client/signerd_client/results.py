"""Results as callers get them: typed, with every value that came by descriptor read, unknown keys ignored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from signerd.errors import Fault, Refusal, SignerdError, error_from
from signerd.wire import methods
from signerd.wire.messages import DetailValue
from signerd.wire.methods import decode_result
from signerd.wire.params import Descriptor
from signerd_client.descriptors import read_sealed

__all__ = [
    "RESULT_BYTES_MAX",
    "BatchOutcome",
    "Signed",
    "batch_outcomes",
    "decode",
    "decode_signed",
    "error_of",
    "fresh",
]

S = TypeVar("S", bound=msgspec.Struct)

RESULT_BYTES_MAX = 1 << 30
"""Bytes of one value of a result that are read at most; a daemon that sends more is not believed."""


class _RawReceipt(msgspec.Struct):
    receipt: dict[str, object]


class _RawOutcome(msgspec.Struct):
    index: int
    ok: Raw | UnsetType = UNSET
    error: methods.BatchError | UnsetType = UNSET


class _RawOutcomes(msgspec.Struct):
    outcomes: list[_RawOutcome]


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed statement. ``result`` is the whole answer, its bins all bytes; ``receipt`` its receipt as it
    was sent, keys that this version does not know included, so that its digests can be computed again."""

    result: methods.SignResult
    receipt: dict[str, object]

    @property
    def bundles(self) -> tuple[bytes, ...]:
        """The Sigstore bundles, exact bytes, one for each signature in the order of the keys; in
        profile ``dsse`` that of the first ES256 key, or none."""
        return cast(tuple[bytes, ...], self.result.bundles)

    @property
    def envelope(self) -> bytes | None:
        """The combined DSSE envelope, where it was asked for or the profile is ``dsse``."""
        return None if self.result.envelope is UNSET else cast(bytes, self.result.envelope)

    @property
    def cose(self) -> tuple[bytes, ...]:
        """The COSE_Sign1 messages, exact bytes, one for each signature in the order of the keys; none but in the
        output profile ``cose``."""
        return () if self.result.cose is UNSET else cast(tuple[bytes, ...], self.result.cose)


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of one item of a batch: ``signed`` or ``error``, never both. ``index`` counts over the
    whole batch."""

    index: int
    signed: Signed | None = None
    error: SignerdError | None = None


def _bad(reason: str) -> Fault:
    return Fault("internal", reason, "the daemon answered with something else than the protocol says")


def _resolve(value: object, read: Callable[[Descriptor], bytes]) -> object:
    if isinstance(value, Descriptor):
        return read(value)
    if isinstance(value, tuple):
        return tuple(_resolve(item, read) for item in value)
    if isinstance(value, msgspec.Struct):
        fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
        changed = {name: new for name, old in fields if (new := _resolve(old, read)) is not old}
        return msgspec.structs.replace(value, **changed) if changed else value
    return value


def _reader(descriptors: Sequence[int]) -> Callable[[Descriptor], bytes]:
    def read(named: Descriptor) -> bytes:
        if named.fd >= len(descriptors):
            raise _bad("result_descriptor")
        return read_sealed(descriptors[named.fd], named.size, RESULT_BYTES_MAX)

    return read


def decode(method: str, kind: type[S], raw: Raw, descriptors: Sequence[int]) -> S:
    """Return the result of ``method``, values that came by descriptor read.

    Fault ``internal`` with reason ``result_shape`` or ``result_descriptor`` where the daemon broke the
    protocol. The descriptors stay open: whoever received them closes them.
    """
    try:
        typed = decode_result(method, raw)
    except Refusal as refusal:
        raise _bad("result_shape") from refusal
    resolved = _resolve(typed, _reader(descriptors))
    if not isinstance(resolved, kind):
        raise _bad("result_shape")
    return resolved


def decode_signed(raw: Raw, descriptors: Sequence[int]) -> Signed:
    """Return the result of ``sign.dsse`` or ``sign.payload``, which is alike; errors as :func:`decode`."""
    result = decode("sign.dsse", methods.SignResult, raw, descriptors)
    return Signed(result, msgspec.msgpack.decode(raw, type=_RawReceipt).receipt)


def batch_outcomes(raw: Raw, descriptors: Sequence[int], offset: int, expected: int) -> list[BatchOutcome]:
    """Return the outcomes of one ``sign.batch``, their indices counted from ``offset``.

    Errors as :func:`decode`, also where the outcomes are not one for each of the ``expected`` items, in
    order.
    """
    try:
        entries = msgspec.msgpack.decode(raw, type=_RawOutcomes).outcomes
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _bad("result_shape") from error
    if [entry.index for entry in entries] != list(range(expected)):
        raise _bad("result_shape")
    outcomes = []
    for entry in entries:
        if (entry.ok is UNSET) == (entry.error is UNSET):
            raise _bad("result_shape")
        index = offset + entry.index
        if entry.error is not UNSET:
            failed = error_of(entry.error.code, entry.error.message, entry.error.details)
            outcomes.append(BatchOutcome(index, error=failed))
        elif entry.ok is not UNSET:
            outcomes.append(BatchOutcome(index, signed=decode_signed(entry.ok, descriptors)))
    return outcomes


def error_of(
    code: str,
    message: str,
    details: dict[str, DetailValue] | UnsetType = UNSET,
    retry_after_ms: int | UnsetType = UNSET,
) -> SignerdError:
    """Return the exception that an error of the wire stands for; an unknown code is Fault ``internal``."""
    known = {} if details is UNSET else details
    reason = known.get("reason")
    error = error_from(code, reason if isinstance(reason, str) else "unspecified", message, details=known)
    if retry_after_ms is not UNSET:
        error.retry_after_ms = retry_after_ms
    return error


def fresh(error: SignerdError) -> SignerdError:
    """Return an equal error to raise: one that was raised before drags its first traceback along."""
    again = error_from(error.code, error.reason, error.public, operator=error.args[0], details=error.details)
    again.retry_after_ms = error.retry_after_ms
    return again
