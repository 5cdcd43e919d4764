"""Leaves about a record that has ended: what was published after its answer, what never will be, and what a log was
found to have of one that a kill cut short.

The record begins and ends once, so these have no ``audit_id`` column: they are found by kind and tenant, and name it as
``record``.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

import msgspec

from signerd.attestation.log_entry import LogEntry
from signerd.contracts.services import Leaf
from signerd.sealer.leaves import LEAF_VERSION, encode

__all__ = ["FoundEntry", "LookedUp", "looked_up_leaf", "published_leaf", "unpublished_leaf"]


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


class _Unpublished(msgspec.Struct, frozen=True):
    attempts: int
    bundle_sha256: str
    keyid: str
    kind: str
    publisher: str
    record: str
    tenant: str
    time: int
    v: int


class FoundEntry(msgspec.Struct, frozen=True):
    """An entry about the record's bytes: where it stands, the SHA-256 of the log's own leaf bytes, and whose key."""

    entry_sha256: str
    keyid: str
    log_id: str
    log_index: int


class LookedUp(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a look into a log. ``absent`` is about the entries from ``first`` to before ``size`` alone;
    ``reason`` says why nobody could look."""

    state: Literal["found", "absent", "not_looked"]
    entries: Sequence[FoundEntry] = ()
    first: int = -1
    size: int = -1
    reason: str = ""


class _LookedUp(LookedUp, frozen=True, omit_defaults=True, kw_only=True):
    kind: str
    publisher: str
    record: str
    tenant: str
    time: int
    v: int


def published_leaf(
    audit_id: str, tenant: str, publisher: str, keyid: str, bundle_sha256: str, entry: LogEntry, time: int
) -> Leaf:
    """Return the leaf of what was published after its answer: which bundle of which ``record``, where it stands in
    which log, and the SHA-256 of the log's own leaf bytes."""
    text = encode(
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


def unpublished_leaf(
    audit_id: str, tenant: str, publisher: str, keyid: str, bundle_sha256: str, attempts: int, time: int
) -> Leaf:
    """Return the leaf of what was to be published after its answer and never will be: not taken in so many attempts."""
    text = encode(
        _Unpublished(attempts, bundle_sha256, keyid, "unpublished", publisher, audit_id, tenant, time, LEAF_VERSION)
    )
    return Leaf(text, "", "unpublished", tenant, time)


def looked_up_leaf(audit_id: str, tenant: str, publisher: str, result: LookedUp, time: int) -> Leaf:
    """Return the leaf of what a log was found to have of a record that ended ``unknown``."""
    fields = {name: getattr(result, name) for name in result.__struct_fields__}
    text = encode(
        _LookedUp(
            **fields, kind="looked_up", publisher=publisher, record=audit_id, tenant=tenant, time=time, v=LEAF_VERSION
        )
    )
    return Leaf(text, "", "looked_up", tenant, time)
