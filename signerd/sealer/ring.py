"""The key ring: the public half of every key that may sign, its validity and its status, one version per key.

The ring is the sealer's; it never forgets a key. Every change is an audit leaf too, so that an old copy of
this file cannot bring a revoked key back unnoticed.
"""

import sqlite3
from pathlib import Path
from typing import Final, NoReturn

from signerd.errors import Fault
from signerd.sealer.database import failure_reason, open_writable
from signerd.wire.links import RingEntry

__all__ = ["FILE_NAME", "RingStore"]

FILE_NAME: Final = "ring.sqlite"
"""The ring's name in the state directory."""

_COLUMNS: Final = (
    "key, tenant, version, keyid, algorithm, spki, source, status, added_at, expires_at, revoked_at"
)
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


def _failed(exc: Exception) -> NoReturn:
    raise Fault(
        "internal", f"ring_{failure_reason(exc)}", "the key ring cannot be used", operator=f"key ring: {exc}"
    ) from exc


class RingStore:
    """The ring's file. Every failure is ``internal`` with reason ``ring_`` and a word for the error."""

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
        """Make a new key durable; ``ring_duplicate`` for a reference or keyid that is there already."""
        values = tuple(getattr(entry, name) for name in _COLUMNS.split(", "))
        try:
            self._database.execute(f"INSERT INTO ring ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)", values)  # noqa: S608  # a constant
        except sqlite3.Error as exc:
            _failed(exc)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
