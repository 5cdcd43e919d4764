"""What is asked of the daemon about bundles, and what it answers: one by one, or many in a request."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec import UNSET, Raw

from signerd.errors import Fault, SignerdError
from signerd.wire import methods, params
from signerd.wire.frames import ENCODER
from signerd.wire.messages import Limits
from signerd_client.requests import FRAME_MARGIN, Attachments, Call, binary
from signerd_client.results import decode, error_of

__all__ = ["VerifyOutcome", "VerifyRequest", "verify_batch_calls", "verify_call", "verify_outcomes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """One bundle to be verified, and who must have signed it: ``key`` (PEM), ``identity`` (certificate name, OIDC
    issuer) or ``policy`` (the id of a configured one); one is needed.

    ``artifact_sha256`` is the digest of what it must be about, ``predicate_type`` its type, literally. None is absent.
    """

    bundle: bytes | memoryview
    key: str | None = None
    identity: tuple[str, str] | None = None
    policy: str | None = None
    artifact_sha256: str | None = None
    predicate_type: str | None = None


@dataclass(frozen=True, slots=True)
class VerifyOutcome:
    """What became of one bundle of many: ``result``, which may say that it does not verify, or ``error``, why it was
    not looked at; never both. ``index`` counts over all."""

    index: int
    result: methods.BundleVerified | None = None
    error: SignerdError | None = None


def verify_call(request: VerifyRequest, limits: Limits) -> Call:
    """Return the ``verify.bundle`` call of ``request``; OSError where a memfd cannot be made."""
    attached = Attachments()
    try:
        return attached.call("verify.bundle", _encoded(request, limits, attached))
    except BaseException:
        attached.cut(0)
        raise


def verify_batch_calls(requests: Sequence[VerifyRequest], limits: Limits) -> Iterator[tuple[int, Call]]:
    """Yield (number of items, ``verify.batch`` call) until all ``requests`` are in one, in their order.

    Each call keeps the limits of the daemon for items, descriptors and bytes of a frame, and is built when it is asked
    for. An item that is too large for any frame stands in a call of its own.
    """
    at = 0
    while at < len(requests):
        items, call = _batch(requests[at : at + max(1, limits.batch_items)], limits)
        yield items, call
        at += items


def _batch(requests: Sequence[VerifyRequest], limits: Limits) -> tuple[int, Call]:
    room = limits.frame_bytes - FRAME_MARGIN
    attached = Attachments()
    items: list[Raw] = []
    try:
        for request in requests:
            before = len(attached.descriptors)
            item = _encoded(request, limits, attached)
            room -= len(item)
            if items and (room < 0 or len(attached.descriptors) > limits.descriptors):
                attached.cut(before)
                break
            items.append(Raw(item))
        return len(items), attached.call("verify.batch", ENCODER.encode(params.VerifyBatch(tuple(items))))
    except BaseException:
        attached.cut(0)
        raise


def _encoded(request: VerifyRequest, limits: Limits, attached: Attachments) -> bytes:
    return ENCODER.encode(
        params.VerifyBundle(
            binary(request.bundle, limits, attached),
            request.artifact_sha256 or UNSET,
            request.predicate_type or UNSET,
            request.key or UNSET,
            UNSET if request.identity is None else params.Identity(*request.identity),
            request.policy or UNSET,
        )
    )


def verify_outcomes(raw: Raw, descriptors: Sequence[int], offset: int, expected: int) -> list[VerifyOutcome]:
    """Return the outcomes of one ``verify.batch``, their indices counted from ``offset``.

    Fault ``internal``, reason ``result_shape``, where they are not one for each of the ``expected`` items, in order.
    """
    found = decode("verify.batch", methods.VerifiedBatch, raw, descriptors).outcomes
    whole = all((one.ok is UNSET) != (one.error is UNSET) for one in found)
    if [one.index for one in found] != list(range(expected)) or not whole:
        raise Fault("internal", "result_shape", "the daemon answered with something else than the protocol says")
    return [
        VerifyOutcome(
            offset + one.index,
            None if one.ok is UNSET else one.ok,
            None if one.error is UNSET else error_of(one.error.code, one.error.message, one.error.details),
        )
        for one in found
    ]
