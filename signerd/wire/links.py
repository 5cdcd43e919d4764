"""Messages of the link between front end and sealer: private, and versioned with the release (:data:`LINK_VERSION`).

All are Structs of bytes, str and integers in the frames of :mod:`signerd.wire.frames`. Everything goes in arrays: what
waits goes into one frame, up to :data:`~signerd.wire.worker_calls.LINK_FRAME_BYTES`.
"""

from typing import Final

import msgspec

from signerd.errors import CODES
from signerd.wire.backends import BackendState
from signerd.wire.keyless import IdentityToken, Keyless
from signerd.wire.params import Descriptor
from signerd.wire.ring import Grant, RingEntry
from signerd.wire.signed import UserPresence
from signerd.wire.worker_calls import CallError

__all__ = [
    "LINK_VERSION",
    "AdminAnswer",
    "AdminCall",
    "Answer",
    "Close",
    "CloseMany",
    "DecisionFacts",
    "EntryCall",
    "Failed",
    "KeyUse",
    "Open",
    "Opened",
    "PeerFacts",
    "Query",
    "Recorded",
    "RefuseMany",
    "RefusedRecord",
    "ReleaseFacts",
    "RequestFacts",
    "SealItem",
    "SealMany",
    "SealOutcome",
    "Sealed",
    "SealedMany",
    "SealedSignature",
    "StillVerifying",
    "SubjectFacts",
    "outcome_of",
]

LINK_VERSION: Final = 4


class PeerFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The calling process, as the kernel named it."""

    uid: int
    pid: int
    exe: str = ""
    unit: str = ""


class SubjectFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """A subject as it was asked for: name and, once it is known, its SHA-256."""

    name: str
    sha256: str = ""


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
    purpose: str = ""
    key: str = ""


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
    """The decision; its RFC 8785 form is what ``decision_digest`` is the SHA-256 of.

    ``transparency`` (async or required) and ``timestamp`` (true) are there where something is to be published.
    """

    principal: str
    tenant: str
    plan: str
    release: ReleaseFacts
    keys: tuple[KeyUse, ...]
    degraded: tuple[str, ...] = ()
    transparency: str | msgspec.UnsetType = msgspec.UNSET
    timestamp: bool | msgspec.UnsetType = msgspec.UNSET


class Open(msgspec.Struct, frozen=True, tag_field="type", tag="open"):
    """The first message, once."""

    version: int
    software: str


class SealItem(msgspec.Struct, frozen=True):
    """One payload to sign with each of ``decision.keys``. ``deadline_ms`` is what is left of the request's time.

    ``envelope`` asks for the combined DSSE envelope too, ``rekor_request`` for what a Rekor v2 log takes.
    In the output ``profile`` dsse the envelope is what leaves, and the first ES256 key alone has a bundle.
    In the output ``profile`` cose each key signs a ``Sig_structure`` (RFC 9052), and its COSE_Sign1 is its ``bundle``.
    What is of another payload type than a Statement's leaves in an envelope alone.
    ``approval_id`` is that of the approval by user presence that the caller was given, else empty.
    """

    audit_id: str
    request: RequestFacts
    decision: DecisionFacts
    payload_type: str
    payload: bytes | Descriptor
    deadline_ms: int
    envelope: bool = False
    principal_expires_at: int = 0
    rekor_request: bool = False
    identity: IdentityToken | None = None
    profile: str = "cosign"
    approval_id: str = ""


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


class RefusedRecord(msgspec.Struct, frozen=True):
    """What ended before ``decided``, whether refused, fault or cancelled: one leaf.

    ``count`` above 1 is an aggregate: so many alike within a minute.
    """

    audit_id: str
    request: RequestFacts
    outcome: str
    code: str
    reason: str
    count: int = 1


def outcome_of(code: str) -> str:
    """Return the outcome of a record that ended with ``code``: ``refused`` where policy said no, else ``fault``."""
    info = CODES.get(code)
    return "refused" if info is not None and info.kind == "refusal" else "fault"


class RefuseMany(msgspec.Struct, frozen=True, tag_field="type", tag="refuse_many"):
    """Record these; ``recorded`` names them once they are durable."""

    items: tuple[RefusedRecord, ...]


class Query(msgspec.Struct, frozen=True, tag_field="type", tag="query"):
    """Read the log, from a read-only connection: records of ``tenant`` (None: of all), newest last; at most 200."""

    id: int
    tenant: str | None
    filters: dict[str, str]
    cursor: int
    limit: int


class AdminCall(msgspec.Struct, frozen=True, tag_field="type", tag="admin_call"):
    """A call of the admin plane, unread: the sealer decodes and decides.

    ``params`` is msgpack, ``uid`` the caller's as the kernel named it, ``inline_max`` the largest value that the caller
    wants within a frame.
    """

    id: int
    method: str
    params: bytes
    uid: int
    inline_max: int


class EntryCall(msgspec.Struct, frozen=True, tag_field="type", tag="entry_call"):
    """Ask what came of a record of ``tenant`` that is published after its answer; ``inline_max`` as of a call of the
    admin plane, and the answer is that of one."""

    id: int
    tenant: str
    audit_id: str
    inline_max: int


class AdminAnswer(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="admin_answer"):
    """The end of a call: ``result`` is msgpack, whose descriptors come with this frame; or ``error``, ``details``."""

    id: int
    result: bytes = b""
    error: CallError | None = None
    details: dict[str, str | int | list[str]] = {}


class StillVerifying(msgspec.Struct, frozen=True, tag_field="type", tag="still_verifying"):
    """What these items wait for takes the sealer longer than anything else that it does: it has not hung."""

    audit_ids: tuple[str, ...]


class Opened(msgspec.Struct, frozen=True, tag_field="type", tag="opened"):
    """Answer to ``open``: what the front end decides by. ``daily`` counts what was signed per tenant on ``day``.

    ``ring`` and what ``ring_changed`` brought before it are the whole ring.
    """

    ring: tuple[RingEntry, ...]
    day: int
    daily: dict[str, int]
    backends: tuple[BackendState, ...]
    separation: str
    grants: tuple[Grant, ...] = ()


class SealedSignature(msgspec.Struct, frozen=True, omit_defaults=True):
    """One signature that verified, and its bundle (Sigstore bundle v0.3, RFC 8785 bytes).

    A keyless key has version 0, and ``keyid`` is that of its certificate's key.
    ``rekor_request`` is the body of a post to a Rekor v2 log, where the item asked for it. A signature that stands in
    the envelope alone has neither bundle nor digests.
    """

    key: str
    keyid: str
    version: int
    bundle: bytes | Descriptor = b""
    bundle_sha256: str = ""
    envelope_sha256: str = ""
    rekor_request: bytes = b""
    keyless: Keyless | None = None


class Sealed(msgspec.Struct, frozen=True):
    """What leaves the sealer once ``decided`` is durable and every signature verified.

    ``envelope_sha256`` is that of ``envelope`` where it is what leaves (output profile dsse).
    """

    signatures: tuple[SealedSignature, ...]
    statement_sha256: str
    decision_digest: str
    leaf_hash: str
    index: int
    envelope: bytes | Descriptor | None = None
    envelope_sha256: str = ""
    presence: UserPresence | None = None


class SealOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of ``ok`` and ``error``; ``details`` and ``retry_after_ms`` (0: no hint) go with the error.

    ``recorded`` is false where not even the error could be recorded.
    """

    audit_id: str
    ok: Sealed | None = None
    error: CallError | None = None
    recorded: bool = True
    details: dict[str, str | int] = {}
    retry_after_ms: int = 0


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


class Failed(msgspec.Struct, frozen=True, tag_field="type", tag="failed"):
    """The sealer cannot start, and ends: its state is locked by another, unfit, or cannot be read."""

    error: CallError
