"""The key ring: the public half of every key that may sign, its validity and its status, one version per key.

The ring is the sealer's; it never forgets a key. Every change is an audit leaf too, so that an old copy of this file
cannot bring a revoked key back unnoticed.
"""

import sqlite3
from pathlib import Path
from typing import Final, NoReturn

from signerd.errors import Fault, Refusal
from signerd.sealer.database import failure_reason, open_writable
from signerd.wire.links import RingEntry

__all__ = ["FILE_NAME", "RingStore", "key_state"]

FILE_NAME: Final = "ring.sqlite"
"""The ring's name in the state directory."""

_COLUMNS: Final = "key, tenant, version, keyid, algorithm, spki, source, status, added_at, expires_at, revoked_at"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS ring (
  key TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  version INTEGER NOT NULL,
  keyid TEXT NOT NULL UNIQUE,
  algorithm TEXT NOT NULL,
  spki BLOB NOT NULL,
  source TEXT NOT NULL,
  status TEXT NOT NULL,
  added_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL
) STRICT;
"""
_USABLE: Final = frozenset({"active", "retiring"})


def _failed(exc: Exception) -> NoReturn:
    raise Fault(
        "internal", f"ring_{failure_reason(exc)}", "the key ring cannot be used", operator=f"key ring: {exc}"
    ) from exc


class RingStore:
    """The ring's file. Every failure is ``internal`` with reason ``ring_`` and the word for what SQLite said."""

    def __init__(self, path: Path) -> None:
        """Open or make the ring at ``path``."""
        try:
            self._database = open_writable(path, _SCHEMA)
        except (sqlite3.Error, OSError) as exc:
            _failed(exc)

    def load(self) -> list[RingEntry]:
        """Return all entries, sorted by key reference."""
        try:
            rows = self._database.execute(f"SELECT {_COLUMNS} FROM ring ORDER BY key").fetchall()  # noqa: S608  # a constant
        except sqlite3.Error as exc:
            _failed(exc)
        return [RingEntry(*row) for row in rows]

    def entry(self, key: str) -> RingEntry | None:
        """Return the entry of one key reference, or None."""
        try:
            row = self._database.execute(f"SELECT {_COLUMNS} FROM ring WHERE key = ?", (key,)).fetchone()  # noqa: S608  # a constant
        except sqlite3.Error as exc:
            _failed(exc)
        return None if row is None else RingEntry(*row)

    def add(self, entry: RingEntry) -> None:
        """Make a new key durable. A reference or keyid that is there already is ``ring_duplicate``: never replaced."""
        values = tuple(getattr(entry, name) for name in _COLUMNS.split(", "))
        try:
            self._database.execute(f"INSERT INTO ring ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)", values)  # noqa: S608  # a constant
        except sqlite3.Error as exc:
            _failed(exc)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def key_state(entry: RingEntry, now_ms: int) -> None:
    """Refuse unless the key may sign at ``now_ms``: revoked, suspended, expired or retired, not yet valid, in that order.

    Before ``added_at`` a key is not yet valid; at or after ``expires_at`` expired; at or after ``revoked_at`` revoked.
    0 is never. A status that this version does not know does not sign (``key.suspended``, ``status_unknown``).
    """
    if entry.status == "revoked" or 0 < entry.revoked_at <= now_ms:
        raise Refusal("key.revoked", "revoked", "the key is revoked")
    if entry.status == "suspended":
        raise Refusal("key.suspended", "suspended", "the key is suspended")
    if entry.status in {"expired", "retired"} or 0 < entry.expires_at <= now_ms:
        raise Refusal("key.expired", "retired" if entry.status == "retired" else "expired", "the key is past its time")
    if entry.status == "pending" or now_ms < entry.added_at:
        raise Refusal("key.not_yet_valid", "not_yet_valid", "the key is not valid yet")
    if entry.status not in _USABLE:
        raise Refusal("key.suspended", "status_unknown", "the key has a status that does not sign")
