"""The leaves of the audit log: RFC 8785 bytes of what was decided, how it ended, what was refused, what
changed.

Every leaf is one JSON object with ``v`` (1), ``kind`` and ``time`` (Unix milliseconds); an empty field is
absent. The ``decision`` in a ``decided`` leaf is the very object that the receipt shows, and
``decision_digest`` is the SHA-256 of its bytes.

Encoding: msgspec with sorted keys is RFC 8785 for what stands here (strings, integers within ±(2⁵³-1),
arrays, and objects whose keys are ASCII, so that sorting by bytes is sorting by UTF-16 units). No float
reaches a leaf.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Literal

import msgspec

from signerd.attestation.log_entry import LogEntry
from signerd.contracts.services import Leaf
from signerd.errors import Fault
from signerd.wire.ceremonies import Ceremony
from signerd.wire.links import DecisionFacts, Grant, RefusedRecord, RequestFacts, RingChange, RingEntry

__all__ = [
    "LEAF_VERSION",
    "AdminFacts",
    "Change",
    "KeylessSigner",
    "PluginFacts",
    "admin_facts",
    "admin_leaf",
    "approval_leaf",
    "decided_leaf",
    "decision_digest",
    "outcome_leaf",
    "published_leaf",
    "refused_leaf",
    "request_facts",
    "request_id",
    "ring_change",
    "ring_leaf",
    "start_leaf",
]

LEAF_VERSION: Final = 1
"""The ``v`` of every leaf. A reader that does not know it must not interpret the rest."""

Change = Literal[
    "generate", "import", "rotate", "suspend", "resume", "revoke", "retire", "attest", "restore"
]
"""What a ring leaf may say; :class:`~signerd.wire.links.RingChange` explains those that nobody orders."""

_ring_change: Final = msgspec.json.Decoder(RingChange).decode
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class PluginFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """A distribution that was loaded at start; ``digest`` is ``sha256:…`` of its RECORD, ``certificate`` of the file of
    its conformance certificate."""

    name: str
    version: str
    digest: str
    certificate: str = ""


class KeylessSigner(msgspec.Struct, frozen=True):
    """By which key and certificate (DER; base64 in the leaf) a keyless key signed: the decision could not name them."""

    certificate: bytes
    key: str
    keyid: str


class _Decided(msgspec.Struct, frozen=True, omit_defaults=True):
    audit_id: str
    decision: msgspec.Raw
    kind: str
    payload_type: str
    request: RequestFacts
    statement_sha256: str
    time: int
    v: int


class _Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    audit_id: str
    kind: str
    outcome: str
    tenant: str
    time: int
    v: int
    bundle_sha256: Sequence[str] = ()
    code: str = ""
    keyless: Sequence[KeylessSigner] = ()


class _Refused(msgspec.Struct, frozen=True, omit_defaults=True):
    audit_id: str
    code: str
    kind: str
    outcome: str
    reason: str
    request: RequestFacts
    time: int
    v: int
    count: int = 1


class _Published(msgspec.Struct, frozen=True):
    bundle_sha256: str
    entry_sha256: str
    keyid: str
    kind: str
    log_id: str
    log_index: int
    publisher: str
    record: str
    tenant: str
    time: int
    v: int


class _Ring(msgspec.Struct, frozen=True, omit_defaults=True):
    change: str
    entry: RingEntry
    kind: str
    time: int
    v: int
    by: str = ""
    reason: str = ""


class _Approval(msgspec.Struct, frozen=True, omit_defaults=True):
    by: str
    ceremony: str
    change: str
    kind: str
    operation: str
    payload_sha256: str
    time: int
    uid: int
    v: int
    expires_at: int = 0
    key: str = ""
    needed: int = 0
    payload: msgspec.Raw | None = None


class _Request(msgspec.Struct, frozen=True):
    ceremony: str
    operation: str
    payload_sha256: str
    by: str
    uid: int
    time: int
    expires_at: int


_request: Final = msgspec.json.Decoder(_Request).decode


class AdminFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an admin did: ``act`` is the method, ``grant`` the exception that it made; ``key`` is the reference for
    which a backend is about to be asked to make a key."""

    act: str
    by: str
    reason: str
    grant: Grant | None = None
    ceremony: str = ""
    key: str = ""


_admin_facts: Final = msgspec.json.Decoder(AdminFacts).decode


class _Admin(AdminFacts, frozen=True, omit_defaults=True, kw_only=True):
    kind: str
    time: int
    v: int


class _Start(msgspec.Struct, frozen=True):
    kind: str
    plugins: Sequence[PluginFacts]
    time: int
    v: int
    version: str


def decision_digest(decision: DecisionFacts) -> str:
    """Return the hex SHA-256 of the decision's RFC 8785 bytes."""
    return sha256(_encode(decision)).hexdigest()


def decided_leaf(
    request: RequestFacts,
    decision: DecisionFacts,
    audit_id: str,
    statement_sha256: str,
    payload_type: str,
    time: int,
) -> tuple[Leaf, str]:
    """Return the ``decided`` leaf and the ``decision_digest``. ``statement_sha256`` is the sealer's own
    computation.
    """
    decided = _encode(decision)
    text = _encode(
        _Decided(
            audit_id,
            msgspec.Raw(decided),
            "decided",
            payload_type,
            request,
            statement_sha256,
            time,
            LEAF_VERSION,
        )
    )
    return Leaf(text, audit_id, "decided", decision.tenant, time), sha256(decided).hexdigest()


def outcome_leaf(
    audit_id: str,
    tenant: str,
    time: int,
    outcome: str,
    code: str = "",
    bundle_sha256: Sequence[str] = (),
    keyless: Sequence[KeylessSigner] = (),
) -> Leaf:
    """Return the leaf that closes a ``decided`` one: how it ended, the digests of the bundles that were made, and the
    certificates of keyless keys.
    """
    text = _encode(
        _Outcome(
            audit_id,
            "outcome",
            outcome,
            tenant,
            time,
            LEAF_VERSION,
            bundle_sha256=tuple(bundle_sha256),
            code=code,
            keyless=tuple(keyless),
        )
    )
    return Leaf(text, audit_id, "outcome", tenant, time, outcome, code)


def published_leaf(
    audit_id: str, tenant: str, publisher: str, keyid: str, bundle_sha256: str, entry: LogEntry, time: int
) -> Leaf:
    """Return the leaf of what was published after its answer: which bundle of which ``record``, where it stands in
    which log, and the SHA-256 of the log's own leaf bytes.

    The record itself has ended before, and begins and ends once: so this leaf is found by its kind and tenant.
    """
    text = _encode(
        _Published(
            bundle_sha256,
            sha256(entry.body).hexdigest(),
            keyid,
            "published",
            entry.log_id.hex(),
            entry.log_index,
            publisher,
            audit_id,
            tenant,
            time,
            LEAF_VERSION,
        )
    )
    return Leaf(text, "", "published", tenant, time)


def refused_leaf(refusal: RefusedRecord, time: int) -> Leaf:
    """Return the single leaf of a request that ended before ``decided``; ``count`` stands where it is an
    aggregate.
    """
    request = refusal.request
    text = _encode(
        _Refused(
            refusal.audit_id,
            refusal.code,
            "refused",
            refusal.outcome,
            refusal.reason,
            request,
            time,
            LEAF_VERSION,
            count=refusal.count,
        )
    )
    return Leaf(text, refusal.audit_id, "refused", request.tenant, time, refusal.outcome, refusal.code)


def ring_leaf(change: Change, entry: RingEntry, time: int, by: str = "", reason: str = "") -> Leaf:
    """Return the leaf of a change of the key ring: the version as it is after it; ``spki`` is base64."""
    text = _encode(_Ring(change, entry, "ring", time, LEAF_VERSION, by, reason))
    return Leaf(text, "", "ring", entry.tenant, time)


def approval_leaf(
    change: Literal["requested", "approved", "used", "expired", "withdrawn"],
    ceremony: Ceremony,
    by: str,
    uid: int,
    time: int,
    key: str = "",
) -> Leaf:
    """Return the leaf of a change of a ceremony, made before the change is.

    ``by`` names who did it (of ``approved``: whose signature it is, ``key`` its fingerprint), ``uid`` who brought it;
    -1 where nobody did. ``requested`` has the payload too, which is RFC 8785 already.

    A leaf that ends the ceremony has its id as ``audit_id``, and the log has each id once: so a ceremony ends once,
    whatever older copy of the ledger is put in the place of the present one. ``requested`` has :func:`request_id`.
    """
    first = change == "requested"
    text = _encode(
        _Approval(
            by,
            ceremony.ceremony,
            change,
            "approval",
            ceremony.operation,
            ceremony.payload_sha256,
            time,
            uid,
            LEAF_VERSION,
            expires_at=ceremony.expires_at if first else 0,
            key=key,
            needed=ceremony.needed if first else 0,
            payload=msgspec.Raw(ceremony.payload) if first else None,
        )
    )
    ids = {"requested": request_id(ceremony.ceremony), "approved": ""}
    return Leaf(text, ids.get(change, ceremony.ceremony), "approval", "", time)


def request_id(ceremony: str) -> str:
    """Return the ``audit_id`` of the leaf that began a ceremony; it is looked up by that."""
    return f"{ceremony}-requested"


def request_facts(text: bytes) -> tuple[str, str, str, str, int, int, int]:
    """Return what the leaf of a request says: ceremony, operation, digest of the payload, who asked, his uid, when,
    and when it ends; ``audit.unavailable``, reason ``corrupt``, for what is none."""
    try:
        told = _request(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _corrupt("an approval leaf", exc) from exc
    return (told.ceremony, told.operation, told.payload_sha256, told.by, told.uid, told.time, told.expires_at)


def ring_change(text: bytes) -> RingChange:
    """Return what a ring leaf says; ``audit.unavailable``, reason ``corrupt``, for what is none."""
    try:
        return _ring_change(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _corrupt("a ring leaf", exc) from exc


def admin_leaf(facts: AdminFacts, time: int) -> Leaf:
    """Return the leaf of an act of the admin plane that changes no key."""
    fields = {name: getattr(facts, name) for name in facts.__struct_fields__}
    text = _encode(_Admin(**fields, kind="admin", time=time, v=LEAF_VERSION))
    return Leaf(text, "", "admin", facts.grant.tenant if facts.grant else "", time)


def admin_facts(text: bytes) -> AdminFacts:
    """Return what an admin leaf says; ``audit.unavailable``, reason ``corrupt``, for what is none."""
    try:
        return _admin_facts(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _corrupt("an admin leaf", exc) from exc


def _corrupt(what: str, exc: Exception) -> Fault:
    return Fault("audit.unavailable", "corrupt", "the audit log cannot be used", operator=f"audit log: {what}: {exc}")


def start_leaf(version: str, plugins: Sequence[PluginFacts], time: int) -> Leaf:
    """Return the leaf of a start: signerd's version, and name, version and digests of all that was loaded."""
    text = _encode(_Start("start", tuple(plugins), time, LEAF_VERSION, version))
    return Leaf(text, "", "start", "", time)
