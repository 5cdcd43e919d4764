"""The six messages of the wire, each a frozen Struct tagged by its key ``type``.

An absent field is an absent key (``UNSET`` here) and never nil. Keys that a message does not know are
ignored; keys of ``params`` that a method does not know are not (:mod:`signerd.wire.methods`). The text under
a field is what the protocol document says of it.
"""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from signerd.errors import SignerdError

__all__ = [
    "ID_MAX",
    "VERSION",
    "Cancel",
    "Error",
    "Goaway",
    "Hello",
    "Limits",
    "Message",
    "Request",
    "Response",
    "error_from_exception",
]

VERSION: Final = 1
"""The one version of this protocol."""

ID_MAX: Final = 2**32 - 1

MessageId = Annotated[int, Meta(ge=1, le=ID_MAX)]
Nonce = Annotated[bytes, Meta(min_length=16, max_length=64)]
DetailValue = str | int | bool | list[str]


class Limits(msgspec.Struct, frozen=True):
    """What this connection may ask for; the server names them so that a client need not try."""

    frame_bytes: int
    """largest frame once the session is bound, length prefix not counted"""
    inline_bytes: int
    """largest bin inside a frame; a larger one comes by descriptor"""
    payload_bytes: int
    """largest predicate or payload in all"""
    in_flight: int
    """requests that may wait for their answer at once on one connection"""
    batch_items: int
    """items of one `sign.batch`"""
    subjects: int
    """subjects of one statement"""
    digests: int
    """digests of one subject"""
    descriptors: int
    """descriptors that one frame may bring"""
    deadline_ms: int
    """longest `deadline_ms`; a longer one is lowered to it"""


class Hello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """The first message of each side: the client's, then the server's."""

    versions: Annotated[tuple[int, ...], Meta(max_length=64)]
    """versions of this protocol that the sender speaks; this document is version 1"""
    software: str
    """name and version of the sender's software, for the log"""
    inline_max: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    """client: largest bin of a result that it wants inline, else 1 MiB"""
    version: int | UnsetType = UNSET
    """server: the version that both speak from here on"""
    limits: Limits | UnsetType = UNSET
    """server: see Limits"""
    methods: tuple[str, ...] | UnsetType = UNSET
    """server: methods that it serves on this socket"""
    profiles: tuple[str, ...] | UnsetType = UNSET
    """server: output profiles that it serves"""
    nonce: Nonce | UnsetType = UNSET
    """server: 16 to 64 random bytes, of this connection alone; on a key worker's socket path both sides, 32 bytes"""


class Request(msgspec.Struct, frozen=True, tag_field="type", tag="request"):
    """Asks for one method; answered by exactly one response or error of the same id."""

    id: MessageId
    """chosen by the client, 1 to 2³² - 1, unique among those in flight"""
    method: str
    """see Methods"""
    params: Raw
    """a map, see the method; an empty map where the method takes none"""
    deadline_ms: int | UnsetType = UNSET
    """time that the answer may take, from the last byte of the frame; more than 0"""
    traceparent: str | UnsetType = UNSET
    """W3C trace context, carried into the record"""
    token: str | UnsetType = UNSET
    """token for this request alone"""
    proof: str | UnsetType = UNSET
    """proof of possession that belongs to `token`"""


class Response(msgspec.Struct, frozen=True, tag_field="type", tag="response"):
    """The result of a request."""

    id: MessageId
    """id of the request"""
    result: Raw
    """a map, see the method"""
    nonce: Nonce | UnsetType = UNSET
    """next nonce for a proof, where a token came with the request"""


class Error(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """The refusal of a request, or, without an id, of the connection."""

    code: str
    """a stable code, see Errors"""
    message: str
    """a sentence for people; never to be compared"""
    retryable: bool
    """whether the same request, sent again, can succeed without anybody changing anything"""
    id: MessageId | UnsetType = UNSET
    """id of the request; absent where the connection is meant"""
    retry_after_ms: int | UnsetType = UNSET
    """wait at least so long"""
    details: dict[str, DetailValue] | UnsetType = UNSET
    """`reason` is always there, a stable snake_case word; values are str, integer, bool or array of str"""
    nonce: Nonce | UnsetType = UNSET
    """next nonce for a proof, where a token came with the request"""


class Cancel(msgspec.Struct, frozen=True, tag_field="type", tag="cancel"):
    """Withdraws a request, which is still answered: `request.cancelled`, or its result if that was sealed."""

    id: MessageId
    """id of the request; one that is not in flight is ignored"""


class Goaway(msgspec.Struct, frozen=True, tag_field="type", tag="goaway"):
    """The server drains: it answers what is in flight and takes no new requests."""

    reason: str
    """a stable snake_case word"""


Message = Hello | Request | Response | Error | Cancel | Goaway
"""Any message; decode with ``type=Message``."""


def error_from_exception(exc: SignerdError, request_id: int | None = None) -> Error:
    """What the peer is told of ``exc``: code, public sentence, details; never the operator's text."""
    details: dict[str, DetailValue] = {**exc.details}
    return Error(
        code=exc.code,
        message=exc.public,
        retryable=exc.retryable,
        id=UNSET if request_id is None else request_id,
        retry_after_ms=UNSET if exc.retry_after_ms is None else exc.retry_after_ms,
        details=details,
    )
