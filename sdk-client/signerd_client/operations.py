"""What can be asked of the daemon: each operation as its call and the way to read its answer.

Both clients run these and add nothing but how they wait.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
from msgspec import Raw

from signerd.errors import SignerdError
from signerd.wire import macs, methods, params
from signerd.wire.messages import Limits
from signerd_client.requests import (
    Call,
    MacData,
    PayloadRequest,
    SignRequest,
    batch_calls,
    mac_call,
    payload_call,
    plain_call,
    sign_call,
)
from signerd_client.results import BatchOutcome, Signed, batch_outcomes, decode, decode_signed
from signerd_client.session import Answer
from signerd_client.verifying import VerifyOutcome, VerifyRequest, verify_batch_calls, verify_call, verify_outcomes

__all__ = [
    "Operation",
    "batch",
    "bind",
    "describe",
    "entry",
    "health",
    "hmac_compute",
    "hmac_verify",
    "info",
    "keys",
    "sign",
    "sign_payload",
    "verify",
    "verify_many",
]

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A call and how its answer is read. ``failed`` turns an error into an answer, where there is one for
    it."""

    call: Call
    read: Callable[[Raw, Sequence[int]], T]
    failed: Callable[[SignerdError], T] | None = None

    def conclude(self, answer: Answer) -> T:
        """Return the answer's value or raise its error; its descriptors are closed either way."""
        try:
            if answer.error is not None or answer.result is None:
                return self.fail(answer.error)
            return self.read(answer.result, answer.descriptors)
        finally:
            answer.close()

    def fail(self, error: SignerdError | None) -> T:
        """Return what ``failed`` makes of the error, or raise it."""
        if error is None:
            raise ValueError("an answer has a result or an error")
        if self.failed is None:
            raise error
        return self.failed(error)


def _plain(method: str, kind: type[S], value: msgspec.Struct | None = None) -> Operation[S]:
    def read(raw: Raw, descriptors: Sequence[int]) -> S:
        return decode(method, kind, raw, descriptors)

    return Operation(plain_call(method, value), read)


def bind() -> Operation[methods.SessionBound]:
    """``session.bind`` by the kernel's word on who we are."""
    return _plain("session.bind", methods.SessionBound, params.SessionBind())


def info() -> Operation[methods.DaemonInfo]:
    """``daemon.info``."""
    return _plain("daemon.info", methods.DaemonInfo)


def health() -> Operation[methods.DaemonHealth]:
    """``daemon.health``."""
    return _plain("daemon.health", methods.DaemonHealth)


def keys() -> Operation[methods.KeyList]:
    """``keys.list``."""
    return _plain("keys.list", methods.KeyList)


def describe(key: str) -> Operation[methods.KeyDescription]:
    """``keys.describe``; ``key`` is a reference or a keyid."""
    return _plain("keys.describe", methods.KeyDescription, params.KeysDescribe(key))


def entry(audit_id: str) -> Operation[methods.LaterEntries]:
    """``transparency.entry``."""
    return _plain("transparency.entry", methods.LaterEntries, methods.EntryOf(audit_id))


def sign(request: SignRequest, limits: Limits) -> Operation[Signed]:
    """``sign.dsse``."""
    return Operation(sign_call(request, limits), decode_signed)


def sign_payload(request: PayloadRequest, limits: Limits) -> Operation[Signed]:
    """``sign.payload``."""
    return Operation(payload_call(request, limits), decode_signed)


def verify(request: VerifyRequest, limits: Limits) -> Operation[methods.BundleVerified]:
    """``verify.bundle``."""

    def read(raw: Raw, descriptors: Sequence[int]) -> methods.BundleVerified:
        return decode("verify.bundle", methods.BundleVerified, raw, descriptors)

    return Operation(verify_call(request, limits), read)


def verify_many(requests: Sequence[VerifyRequest], limits: Limits) -> Iterator[Operation[list[VerifyOutcome]]]:
    """``verify.batch``, as many as the daemon's limits make it; an error of a whole one is that of each of its
    items."""
    offset = 0
    for count, call in verify_batch_calls(requests, limits):
        yield _verify_operation(call, offset, count)
        offset += count


def _verify_operation(call: Call, offset: int, count: int) -> Operation[list[VerifyOutcome]]:
    def read(raw: Raw, descriptors: Sequence[int]) -> list[VerifyOutcome]:
        return verify_outcomes(raw, descriptors, offset, count)

    def failed(error: SignerdError) -> list[VerifyOutcome]:
        return [VerifyOutcome(offset + index, error=error) for index in range(count)]

    return Operation(call, read, failed)


def hmac_compute(purpose: macs.MacPurpose, key: str, data: MacData, limits: Limits) -> Operation[methods.MacComputed]:
    """``hmac.compute``."""

    def read(raw: Raw, descriptors: Sequence[int]) -> methods.MacComputed:
        return decode("hmac.compute", methods.MacComputed, raw, descriptors)

    return Operation(mac_call(data, macs.HmacCompute(purpose, key, b""), limits), read)


def hmac_verify(
    purpose: macs.MacPurpose, key: str, data: MacData, mac: bytes, limits: Limits
) -> Operation[methods.MacVerified]:
    """``hmac.verify``."""

    def read(raw: Raw, descriptors: Sequence[int]) -> methods.MacVerified:
        return decode("hmac.verify", methods.MacVerified, raw, descriptors)

    return Operation(mac_call(data, macs.HmacVerify(purpose, key, b"", mac), limits), read)


def batch(
    requests: Sequence[SignRequest], options: params.Options | None, limits: Limits
) -> Iterator[Operation[list[BatchOutcome]]]:
    """``sign.batch``, as many as the daemon's limits make it; an error of a whole one is that of each of its
    items."""
    offset = 0
    for count, call in batch_calls(requests, options, limits):
        yield _batch_operation(call, offset, count)
        offset += count


def _batch_operation(call: Call, offset: int, count: int) -> Operation[list[BatchOutcome]]:
    def read(raw: Raw, descriptors: Sequence[int]) -> list[BatchOutcome]:
        return batch_outcomes(raw, descriptors, offset, count)

    def failed(error: SignerdError) -> list[BatchOutcome]:
        return [BatchOutcome(offset + index, error=error) for index in range(count)]

    return Operation(call, read, failed)
