"""Requests as frames need them: params encoded, and the descriptors that go with them.

Both clients build through here. What is larger than the daemon takes inline becomes a sealed memfd; a batch
that one frame cannot carry becomes several requests.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from signerd.wire import macs, params
from signerd.wire.frames import ENCODER
from signerd.wire.messages import Limits
from signerd_client.descriptors import close_all, sealed_memfd
from signerd_client.subjects import Subject, SubjectFile

__all__ = [
    "FRAME_MARGIN",
    "Attachments",
    "Call",
    "MacData",
    "PayloadRequest",
    "SignRequest",
    "batch_calls",
    "binary",
    "mac_call",
    "payload_call",
    "plain_call",
    "sign_call",
]

FRAME_MARGIN: Final = 4096
"""Bytes of a frame kept for what stands around the params: type, id, method, deadline."""


MacData = bytes | memoryview | int
"""What a MAC is over: the bytes, or the descriptor of a regular file, read from its start to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignRequest:
    """One Statement to be signed, as ``sign.dsse`` of the protocol document takes it.

    ``predicate`` is the UTF-8 JSON text of one object; ``predicate_type`` a URI or a short name of the
    catalogue; ``scanner_image_digest`` (``sha256:…``) that of the tool that made the predicate. None is
    absent.
    """

    subject: Sequence[Subject | SubjectFile]
    predicate_type: str
    predicate: bytes | memoryview
    scanner_image_digest: str | None = None
    options: params.Options | None = None
    policy: params.PolicyMetadata | None = None
    poe: params.Poe | None = None
    approval_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadRequest:
    """One document to be signed bare, as ``sign.payload`` of the protocol document takes it.

    ``payload`` is the UTF-8 JSON text of one object of the catalogued ``payload_type``; its RFC 8785 form is what is
    signed. Without a ``subject`` the record names the payload itself. None is absent.
    """

    payload_type: str
    payload: bytes | memoryview
    subject: Sequence[Subject | SubjectFile] | None = None
    scanner_image_digest: str | None = None
    options: params.Options | None = None
    policy: params.PolicyMetadata | None = None
    poe: params.Poe | None = None
    approval_id: str | None = None
    idempotency_key: str | None = None


@dataclass(slots=True)
class Call:
    """A request without its id: method, encoded params, descriptors in the order of their indices.

    The descriptors belong to the call, also where the caller opened the file: it may close its own as soon as
    it has asked. :meth:`close` is called by whoever sends the call, once it is sent or given up.
    """

    method: str
    params: Raw
    descriptors: tuple[int, ...] = ()

    def close(self) -> None:
        """Close the descriptors; more than once does nothing."""
        descriptors, self.descriptors = self.descriptors, ()
        close_all(descriptors)


class Attachments:
    """The descriptors of one frame while it is built."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def add(self, descriptor: int) -> int:
        """Take a descriptor over; returns its index in the frame."""
        self.descriptors.append(descriptor)
        return len(self.descriptors) - 1

    def cut(self, length: int) -> None:
        """Give up all descriptors from index ``length`` on."""
        surplus = self.descriptors[length:]
        del self.descriptors[length:]
        close_all(surplus)

    def call(self, method: str, encoded: bytes) -> Call:
        """Return the call with all of them."""
        return Call(method, Raw(encoded), tuple(self.descriptors))


def _subjects(asked: Sequence[Subject | SubjectFile], attached: Attachments) -> tuple[params.Subject, ...]:
    subjects = []
    for subject in asked:
        if isinstance(subject, Subject):
            subjects.append(params.Subject(subject.name, subject.digest))
        else:
            index = attached.add(os.dup(subject.descriptor))
            size = os.fstat(subject.descriptor).st_size
            subjects.append(params.Subject(subject.name, fd=index, size=size))
    return tuple(subjects)


def _sign_params(request: SignRequest, limits: Limits, attached: Attachments) -> params.SignDsse:
    return params.SignDsse(
        _subjects(request.subject, attached),
        request.predicate_type,
        binary(request.predicate, limits, attached),
        request.scanner_image_digest or UNSET,
        request.poe or UNSET,
        request.options or UNSET,
        request.policy or UNSET,
        request.approval_id or UNSET,
        request.idempotency_key or UNSET,
    )


def _payload_params(request: PayloadRequest, limits: Limits, attached: Attachments) -> params.SignPayload:
    return params.SignPayload(
        request.payload_type,
        binary(request.payload, limits, attached),
        UNSET if request.subject is None else _subjects(request.subject, attached),
        request.scanner_image_digest or UNSET,
        request.poe or UNSET,
        request.options or UNSET,
        request.policy or UNSET,
        request.approval_id or UNSET,
        request.idempotency_key or UNSET,
    )


def binary(value: bytes | memoryview, limits: Limits, attached: Attachments) -> bytes | params.Descriptor:
    """Return ``value`` as it goes into a frame: itself, or its place among the descriptors."""
    if len(value) <= limits.inline_bytes:
        return bytes(value)
    return params.Descriptor(attached.add(sealed_memfd(value)), len(value))


def plain_call(method: str, value: msgspec.Struct | None = None) -> Call:
    """Return a call of ``method`` without descriptors; None stands for the empty map."""
    return Call(method, Raw(ENCODER.encode(params.NoParams() if value is None else value)))


def sign_call(request: SignRequest, limits: Limits) -> Call:
    """Return the ``sign.dsse`` call of ``request``; OSError where a memfd cannot be made."""
    attached = Attachments()
    try:
        return attached.call("sign.dsse", ENCODER.encode(_sign_params(request, limits, attached)))
    except BaseException:
        attached.cut(0)
        raise


def payload_call(request: PayloadRequest, limits: Limits) -> Call:
    """Return the ``sign.payload`` call of ``request``; OSError where a memfd cannot be made."""
    attached = Attachments()
    try:
        return attached.call("sign.payload", ENCODER.encode(_payload_params(request, limits, attached)))
    except BaseException:
        attached.cut(0)
        raise


def mac_call(data: MacData, wanted: macs.HmacCompute | macs.HmacVerify, limits: Limits) -> Call:
    """Return the ``hmac.compute`` or ``hmac.verify`` call over ``data`` with the rest of ``wanted``.

    OSError where a memfd cannot be made or the descriptor is none. A file's descriptor stays the caller's.
    """
    attached = Attachments()
    try:
        where: bytes | params.Descriptor
        if isinstance(data, int):
            size = os.fstat(data).st_size
            where = params.Descriptor(attached.add(os.dup(data)), size)
        else:
            where = binary(data, limits, attached)
        method = "hmac.compute" if isinstance(wanted, macs.HmacCompute) else "hmac.verify"
        return attached.call(method, ENCODER.encode(msgspec.structs.replace(wanted, data=where)))
    except BaseException:
        attached.cut(0)
        raise


def batch_calls(
    requests: Sequence[SignRequest], options: params.Options | None, limits: Limits
) -> Iterator[tuple[int, Call]]:
    """Yield (number of items, ``sign.batch`` call) until all ``requests`` are in one, in their order.

    Each call keeps the limits of the daemon for items, descriptors and bytes of a frame, and is built when it
    is asked for. An item that is too large for any frame stands in a call of its own.
    """
    at = 0
    while at < len(requests):
        # A daemon that announces room for nothing gets single items to refuse.
        items, call = _batch_call(requests[at : at + max(1, limits.batch_items)], options, limits)
        yield items, call
        at += items


def _batch_call(
    requests: Sequence[SignRequest], options: params.Options | None, limits: Limits
) -> tuple[int, Call]:
    room = limits.frame_bytes - FRAME_MARGIN - (len(ENCODER.encode(options)) if options else 0)
    attached = Attachments()
    items: list[Raw] = []
    try:
        for request in requests:
            before = len(attached.descriptors)
            item = ENCODER.encode(_sign_params(request, limits, attached))
            room -= len(item)
            if items and (room < 0 or len(attached.descriptors) > limits.descriptors):
                attached.cut(before)
                break
            items.append(Raw(item))
        batch = params.SignBatch(tuple(items), options or UNSET)
        return len(items), attached.call("sign.batch", ENCODER.encode(batch))
    except BaseException:
        attached.cut(0)
        raise
