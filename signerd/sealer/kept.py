"""Bundles that the outbox keeps until their entries have come, so that a caller can fetch them whole.

They are copies for convenience: the caller has had each in its answer. So they never refuse a signature: beyond
``most_bytes`` the oldest whose entries have come are dropped, and where that is not enough the new one is not kept.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

__all__ = ["KEPT_SCHEMA", "LARGEST_KEPT", "Kept", "KeptBundles"]

LARGEST_KEPT: Final = 1024 * 1024
"""Bytes of a bundle that is kept at all: it is written by the loop that signs."""
KEPT_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS kept (
  id INTEGER PRIMARY KEY,
  audit_id TEXT NOT NULL,
  tenant TEXT NOT NULL,
  keyid TEXT NOT NULL,
  bundle_sha256 TEXT NOT NULL,
  envelope_sha256 TEXT NOT NULL,
  bundle BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS kept_record ON kept (audit_id);
CREATE INDEX IF NOT EXISTS kept_bytes ON kept (id, length(bundle)) WHERE bundle IS NOT NULL;
CREATE INDEX IF NOT EXISTS outbox_record ON outbox (audit_id);
CREATE INDEX IF NOT EXISTS outbox_ended ON outbox (published_at) WHERE published_at > 0;
"""
_PUT: Final = (
    "INSERT INTO kept (audit_id, tenant, keyid, bundle_sha256, envelope_sha256, bundle) VALUES (?, ?, ?, ?, ?, ?)"
)
_OLDEST: Final = (
    "SELECT id, length(bundle) FROM kept WHERE bundle IS NOT NULL AND NOT EXISTS "
    "(SELECT 1 FROM outbox WHERE outbox.audit_id = kept.audit_id AND published_at = 0) ORDER BY id LIMIT 64"
)
_DROP: Final = "UPDATE kept SET bundle = NULL WHERE id = ?"
_AGED: Final = (
    "SELECT id, audit_id FROM outbox WHERE published_at > 0 AND published_at < ? ORDER BY published_at LIMIT ?"
)
_FORGET: Final = "DELETE FROM outbox WHERE id = ?"
_BYTES: Final = "SELECT coalesce(sum(length(bundle)), 0) FROM kept WHERE audit_id = ?"
_FORGET_KEPT: Final = "DELETE FROM kept WHERE audit_id = ? AND NOT EXISTS (SELECT 1 FROM outbox WHERE audit_id = ?)"


class Kept(msgspec.Struct, frozen=True):
    """One bundle as it was answered, by digests; ``bundle`` is None where it was too large to be kept."""

    audit_id: str
    tenant: str
    keyid: str
    bundle_sha256: str
    envelope_sha256: str
    bundle: bytes | None


class KeptBundles:
    """The table beside the outbox's own, on the same connection. Its statements run within the outbox's transactions,
    and :meth:`settle` follows each: until then the count of bytes is that of before."""

    def __init__(self, database: sqlite3.Connection, most_bytes: int, keep_ms: int) -> None:
        self._database = database
        self._most_bytes = most_bytes
        self._keep_ms = keep_ms
        (self._bytes,) = database.execute("SELECT coalesce(sum(length(bundle)), 0) FROM kept").fetchone()
        self._counted: int = self._bytes

    def put(self, bundles: Iterable[Kept]) -> None:
        """Keep them, as far as there is room."""
        for one in bundles:
            size = len(one.bundle or b"")
            fits = size <= LARGEST_KEPT and self._make_room(size)
            self._counted += size if fits else 0
            bundle = one.bundle if fits else None
            self._database.execute(
                _PUT, (one.audit_id, one.tenant, one.keyid, one.bundle_sha256, one.envelope_sha256, bundle)
            )

    def forget(self, now_ms: int, most: int) -> None:
        """Forget at most ``most`` rows that ended long ago, and the bundles of records that have no other."""
        rows = self._database.execute(_AGED, (now_ms - self._keep_ms, most)).fetchall()
        for number, _ in rows:
            self._database.execute(_FORGET, (number,))
        for audit_id in {audit_id for _, audit_id in rows}:
            (size,) = self._database.execute(_BYTES, (audit_id,)).fetchone()
            if self._database.execute(_FORGET_KEPT, (audit_id, audit_id)).rowcount:
                self._counted -= size

    def settle(self, committed: bool) -> None:
        """Take the end of a transaction."""
        if committed:
            self._bytes = self._counted
        else:
            self._counted = self._bytes

    def _make_room(self, size: int) -> bool:
        while self._counted + size > self._most_bytes:
            dropped: Sequence[tuple[int, int]] = self._database.execute(_OLDEST).fetchall()
            if not dropped:
                return False
            for number, length in dropped:
                self._database.execute(_DROP, (number,))
                self._counted -= length
                if self._counted + size <= self._most_bytes:
                    break
        return True
