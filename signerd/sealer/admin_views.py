"""How the admin plane shows what the sealer holds: versions of keys, their changes, ceremonies."""

from collections.abc import Sequence

from msgspec import UNSET

from signerd.contracts.validity import status_at
from signerd.wire import admin
from signerd.wire.ceremonies import NAMESPACE, Ceremony
from signerd.wire.ring import RingChange, RingEntry

__all__ = ["approval_of", "approval_rows", "change_of", "version_row"]


def version_row(entry: RingEntry, now: int) -> admin.KeyVersion:
    """Return a version as ``keys.*`` answer with it at ``now`` (Unix milliseconds); what is 0 or empty is absent."""
    return admin.KeyVersion(
        entry.key,
        entry.tenant,
        entry.version,
        entry.keyid,
        entry.algorithm,
        status_at(entry, now),
        entry.added_at,
        entry.expires_at or UNSET,
        entry.retire_at or UNSET,
        entry.revoked_at or UNSET,
        entry.cause or UNSET,
        entry.invalid_since or UNSET,
        entry.handle or UNSET,
        entry.hardware or UNSET,
    )


def change_of(change: RingChange) -> admin.KeyChange:
    """Return a change as ``keys.history`` answers with it."""
    entry = change.entry
    return admin.KeyChange(
        change.change,
        change.time,
        entry.key,
        entry.version,
        entry.keyid,
        entry.status,
        change.by or UNSET,
        change.reason or UNSET,
        entry.cause or UNSET,
        entry.invalid_since or UNSET,
    )


def approval_of(ceremony: Ceremony) -> admin.Approval:
    """Return a ceremony as an approver looks at it."""
    return admin.Approval(
        ceremony.ceremony,
        ceremony.operation,
        ceremony.payload,
        ceremony.message,
        NAMESPACE,
        ceremony.state,
        ceremony.needed,
        ceremony.approved_by,
        ceremony.expires_at,
        ceremony.requester,
        ceremony.requester_uid,
    )


def approval_rows(ceremonies: Sequence[Ceremony]) -> admin.Approvals:
    """Return ceremonies as they are listed, newest first; ``ceremonies`` are oldest first."""
    rows = [
        admin.ApprovalRow(
            each.ceremony,
            each.operation,
            each.state,
            each.requester,
            each.needed,
            each.approved_by,
            each.requested_at,
            each.expires_at,
        )
        for each in reversed(ceremonies)
    ]
    return admin.Approvals(tuple(rows))
