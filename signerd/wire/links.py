"""Messages of the internal links: front end to sealer, sealer to key worker, front end to document worker.

The sealer link and the document link are private and versioned with the release (:data:`LINK_VERSION`). The key
worker's half is public (``docs/protocol.md``, Worker protocol): it uses the ordinary messages of
:mod:`signerd.wire.messages`, with the params and results defined here.

All are Structs of bytes, str and integers in the frames of :mod:`signerd.wire.frames`. Everything goes in arrays: what
waits goes into one frame, up to :data:`LINK_FRAME_BYTES`. A payload above :data:`PAYLOAD_INLINE` is a sealed memfd.
"""

from typing import Final

import msgspec

__all__ = [
    "LINK_FRAME_BYTES",
    "LINK_VERSION",
    "PAYLOAD_INLINE",
    "Answer",
    "BackendChanged",
    "BackendState",
    "BatchCall",
    "BatchParams",
    "BatchResult",
    "CallError",
    "CallOutcome",
    "CheckDocument",
    "Close",
    "CloseMany",
    "DecisionFacts",
    "DescribeParams",
    "DescribeResult",
    "Descriptor",
    "DocumentChecked",
    "Failed",
    "GenerateParams",
    "Hangup",
    "KeyUse",
    "Open",
    "Opened",
    "PeerFacts",
    "Query",
    "Recorded",
    "Refusal",
    "RefuseMany",
    "ReleaseFacts",
    "RequestFacts",
    "RingChanged",
    "RingEntry",
    "SealItem",
    "SealMany",
    "SealOutcome",
    "Sealed",
    "SealedMany",
    "SealedSignature",
    "SignParams",
    "SignResultParams",
    "SubjectFacts",
]

LINK_VERSION: Final = 1
LINK_FRAME_BYTES: Final = 4 * 1024 * 1024
"""A frame of an internal link is at most this long; a larger group is cut into several."""
PAYLOAD_INLINE: Final = 256 * 1024
"""What is larger travels as a sealed memfd, so that no loop copies it."""


class Descriptor(msgspec.Struct, frozen=True):
    """A value that travels as a descriptor: ``fd`` is its index in the frame's SCM_RIGHTS, ``size`` in bytes."""

    fd: int
    size: int





class PeerFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The calling process, as the kernel named it."""

    uid: int
    pid: int
    exe: str = ""
    unit: str = ""


class SubjectFacts(msgspec.Struct, frozen=True):
    """A subject as it was asked for: name and its SHA-256."""

    name: str
    sha256: str


class RequestFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked, by whom. An empty field is absent from the leaf."""

    method: str
    peer: PeerFacts
    tenant: str = ""
    principal: str = ""
    issuer: str = ""
    subjects: tuple[SubjectFacts, ...] = ()
    subject_count: int = 0
    predicate_type: str = ""
    predicate_sha256: str = ""
    scanner_digest: str = ""
    poe: str = ""
    mode: str = ""
    traceparent: str = ""


class ReleaseFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the tool's digest was cleared; ``binding`` is attested, asserted or exempt."""

    binding: str
    how: str = ""
    verdict: str = ""
    version: str = ""


class KeyUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key that is to sign: its reference, the pinned keyid and version, and where it came from."""

    key: str
    source: str
    keyid: str = ""
    version: int = 0


class DecisionFacts(msgspec.Struct, frozen=True):
    """The decision; its RFC 8785 form is what ``decision_digest`` is the SHA-256 of."""

    principal: str
    tenant: str
    plan: str
    release: ReleaseFacts
    keys: tuple[KeyUse, ...]
    degraded: tuple[str, ...] = ()





class Open(msgspec.Struct, frozen=True, tag_field="type", tag="open"):
    """The first message, once."""

    version: int
    software: str


class SealItem(msgspec.Struct, frozen=True):
    """One payload to sign with each of ``decision.keys``. ``deadline_ms`` is what is left of the request's time.

    ``envelope`` asks for the combined DSSE envelope too.
    """

    audit_id: str
    request: RequestFacts
    decision: DecisionFacts
    payload_type: str
    payload: bytes | Descriptor
    deadline_ms: int
    envelope: bool = False
    principal_expires_at: int = 0


class SealMany(msgspec.Struct, frozen=True, tag_field="type", tag="seal_many"):
    """Sign these; the outcomes come as they are ready, in any order."""

    items: tuple[SealItem, ...]


class Close(msgspec.Struct, frozen=True):
    """How a sealed record ended, as the front end saw it: signed, signed_undelivered, cancelled, fault, unknown."""

    audit_id: str
    outcome: str
    code: str = ""


class CloseMany(msgspec.Struct, frozen=True, tag_field="type", tag="close_many"):
    """The outcomes of what was sealed; no answer."""

    items: tuple[Close, ...]


class Refusal(msgspec.Struct, frozen=True):
    """What ended before ``decided``, whether refused, fault or cancelled: one leaf.

    ``count`` above 1 is an aggregate: so many alike within a minute.
    """

    audit_id: str
    request: RequestFacts
    outcome: str
    code: str
    reason: str
    count: int = 1


class RefuseMany(msgspec.Struct, frozen=True, tag_field="type", tag="refuse_many"):
    """Record these; ``recorded`` names them once they are durable."""

    items: tuple[Refusal, ...]


class Query(msgspec.Struct, frozen=True, tag_field="type", tag="query"):
    """Read the log, from a read-only connection: records of ``tenant``, newest last; at most 200."""

    id: int
    tenant: str
    filters: dict[str, str]
    cursor: int
    limit: int


class Hangup(msgspec.Struct, frozen=True, tag_field="type", tag="reload"):
    """Read the configuration again (SIGHUP)."""





class RingEntry(msgspec.Struct, frozen=True):
    """One version of a key, public half only. Times are Unix milliseconds; 0 is never."""

    key: str
    tenant: str
    version: int
    keyid: str
    algorithm: str
    spki: bytes
    source: str
    status: str
    added_at: int
    expires_at: int = 0
    revoked_at: int = 0


class BackendState(msgspec.Struct, frozen=True):
    """Whether a key worker answers. ``scheme`` is that of the references it serves."""

    name: str
    scheme: str
    up: bool


class Opened(msgspec.Struct, frozen=True, tag_field="type", tag="opened"):
    """Answer to ``open``: what the front end decides by. ``daily`` counts what was signed per tenant on ``day``."""

    ring: tuple[RingEntry, ...]
    day: int
    daily: dict[str, int]
    backends: tuple[BackendState, ...]
    separation: str


class SealedSignature(msgspec.Struct, frozen=True):
    """One signature that verified, and its bundle (Sigstore bundle v0.3, RFC 8785 bytes)."""

    key: str
    keyid: str
    version: int
    bundle: bytes | Descriptor
    bundle_sha256: str
    envelope_sha256: str


class Sealed(msgspec.Struct, frozen=True):
    """What leaves the sealer once ``decided`` is durable and every signature verified."""

    signatures: tuple[SealedSignature, ...]
    statement_sha256: str
    decision_digest: str
    leaf_hash: str
    index: int
    envelope: bytes | Descriptor | None = None


class CallError(msgspec.Struct, frozen=True, omit_defaults=True):
    """A typed error on a link; ``operator`` stays inside the daemon."""

    code: str
    reason: str
    message: str
    operator: str = ""


class SealOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of ``ok`` and ``error``. ``recorded`` is false where not even the error could be recorded."""

    audit_id: str
    ok: Sealed | None = None
    error: CallError | None = None
    recorded: bool = True


class SealedMany(msgspec.Struct, frozen=True, tag_field="type", tag="sealed_many"):
    """Outcomes of ``seal_many``, each when it is ready."""

    outcomes: tuple[SealOutcome, ...]


class Recorded(msgspec.Struct, frozen=True, tag_field="type", tag="recorded"):
    """These refusals are durable (``error`` absent), or could not be written."""

    audit_ids: tuple[str, ...]
    error: CallError | None = None


class Answer(msgspec.Struct, frozen=True, tag_field="type", tag="answer"):
    """Answer to ``query``: leaves as they were written, and the next cursor (0: no more)."""

    id: int
    records: tuple[bytes, ...] = ()
    indices: tuple[int, ...] = ()
    next: int = 0
    error: CallError | None = None


class RingChanged(msgspec.Struct, frozen=True, tag_field="type", tag="ring_changed"):
    """The whole ring as it is now."""

    ring: tuple[RingEntry, ...]


class Failed(msgspec.Struct, frozen=True, tag_field="type", tag="failed"):
    """The sealer cannot start, and ends: its state is locked by another, unfit, or cannot be read."""

    error: CallError


class BackendChanged(msgspec.Struct, frozen=True, tag_field="type", tag="backend_changed"):
    """A key worker came up or went down."""

    backend: BackendState





class DescribeParams(msgspec.Struct, frozen=True):
    """``describe``: the public half of a key."""

    key: str


class DescribeResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """``describe``'s result; ``prehash`` is ``sha256`` where ``sign`` wants the digest instead of the message."""

    algorithm: str
    keyid: str
    spki: bytes
    capabilities: tuple[str, ...] = ()
    chain: tuple[bytes, ...] = ()
    prehash: str = ""


class SignParams(msgspec.Struct, frozen=True):
    """``sign``: message bytes, a sealed memfd of them, or the digest where ``describe`` said so."""

    key: str
    message: bytes | Descriptor


class SignResultParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """``sign``'s result: the signature and the keyid of the key that made it."""

    signature: bytes
    keyid: str
    chain: tuple[bytes, ...] = ()


class GenerateParams(msgspec.Struct, frozen=True):
    """``generate`` (capability): a new key under a free reference; the result is that of ``describe``."""

    key: str
    algorithm: str


class BatchCall(msgspec.Struct, frozen=True):
    """One call of a batch: a method of this page and its params."""

    method: str
    params: msgspec.Raw


class BatchParams(msgspec.Struct, frozen=True):
    """``batch``: many calls in one frame."""

    items: tuple[BatchCall, ...]


class CallOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """One outcome of a batch, at the index of its call: exactly one of ``ok`` and ``error``."""

    # UNSET and not None: msgspec decodes no Raw that may also be nil.
    ok: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: CallError | None = None


class BatchResult(msgspec.Struct, frozen=True):
    """``batch``'s result, in the order of the calls: one bad item does not fail the others."""

    outcomes: tuple[CallOutcome, ...]





class CheckDocument(msgspec.Struct, frozen=True, tag_field="type", tag="check_document"):
    """Parse, validate and canonicalise one predicate; build the Statement. ``subjects`` are RFC 8785 bytes of the array."""

    id: int
    predicate_type: str
    predicate: bytes | Descriptor
    subjects: bytes
    policy_digest: str = ""
    policy_view_set: str = ""


class DocumentChecked(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="document_checked"):
    """The Statement (in a sealed memfd where it is large) and the predicate's SHA-256 as received, or the refusal.

    ``pointer`` (RFC 6901) says where in the predicate.
    """

    id: int
    statement: bytes | Descriptor | None = None
    predicate_sha256: str = ""
    error: CallError | None = None
    pointer: str = ""
