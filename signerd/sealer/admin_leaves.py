"""The leaves of the audit log that changes of the key ring, approvals and acts of the admin plane leave.

Their form is that of :mod:`signerd.sealer.leaves`.
"""

from typing import Final, Literal

import msgspec

from signerd.contracts.services import Leaf
from signerd.errors import Fault
from signerd.sealer.leaves import LEAF_VERSION, encode
from signerd.wire.ceremonies import Ceremony
from signerd.wire.ring import Grant, RingChange, RingEntry

__all__ = [
    "AdminFacts",
    "Change",
    "admin_facts",
    "admin_leaf",
    "approval_leaf",
    "request_facts",
    "request_id",
    "ring_change",
    "ring_leaf",
]

Change = Literal[
    "generate", "import", "rotate", "suspend", "resume", "revoke", "retire", "attest", "restore"
]
"""What a ring leaf may say; :class:`~signerd.wire.ring.RingChange` explains those that nobody orders."""

_ring_change: Final = msgspec.json.Decoder(RingChange).decode


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


def ring_leaf(change: Change, entry: RingEntry, time: int, by: str = "", reason: str = "") -> Leaf:
    """Return the leaf of a change of the key ring: the version as it is after it; ``spki`` is base64."""
    text = encode(_Ring(change, entry, "ring", time, LEAF_VERSION, by, reason))
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
    text = encode(
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
    text = encode(_Admin(**fields, kind="admin", time=time, v=LEAF_VERSION))
    return Leaf(text, "", "admin", facts.grant.tenant if facts.grant else "", time)


def admin_facts(text: bytes) -> AdminFacts:
    """Return what an admin leaf says; ``audit.unavailable``, reason ``corrupt``, for what is none."""
    try:
        return _admin_facts(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _corrupt("an admin leaf", exc) from exc


def _corrupt(what: str, exc: Exception) -> Fault:
    return Fault("audit.unavailable", "corrupt", "the audit log cannot be used", operator=f"audit log: {what}: {exc}")
