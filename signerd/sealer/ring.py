"""The key ring's file: the public half of every version of every key, its validity and its status.

The ring is the sealer's; it never forgets a version. Every change is an audit leaf before it is a row here, and at
start :mod:`signerd.sealer.versions` compares the two, so that an old copy of this file brings no revoked key back.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from signerd.errors import Fault
from signerd.sealer.database import failure_reason, open_writable
from signerd.wire.ring import RingEntry

__all__ = ["FILE_NAME", "RingStore", "entry_of_row"]

FILE_NAME: Final = "ring.sqlite"
"""The ring's name in the state directory."""
SCHEMA_VERSION: Final = 2
"""``user_version`` of the file. Version 1 (signerd 0.1) had one version per key, and said 0 here."""

_NAMES: Final = RingEntry.__struct_fields__
_COLUMNS: Final = ", ".join(_NAMES)
_TABLE: Final = """
CREATE TABLE ring (
  key TEXT NOT NULL,
  tenant TEXT NOT NULL,
  version INTEGER NOT NULL,
  keyid TEXT NOT NULL UNIQUE,
  algorithm TEXT NOT NULL,
  spki BLOB NOT NULL,
  source TEXT NOT NULL,
  status TEXT NOT NULL,
  added_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL,
  handle TEXT NOT NULL DEFAULT '',
  retire_at INTEGER NOT NULL DEFAULT 0,
  cause TEXT NOT NULL DEFAULT '',
  invalid_since INTEGER NOT NULL DEFAULT 0,
  hardware INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (key, version)
) STRICT
"""
_FIRST: Final = "key, tenant, version, keyid, algorithm, spki, source, status, added_at, expires_at, revoked_at"
_PUT: Final = (
    f"INSERT INTO ring ({_COLUMNS}) VALUES ({', '.join('?' for _ in _NAMES)}) "  # noqa: S608  # constants
    f"ON CONFLICT (key, version) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _NAMES)}"
)


def _failed(exc: Exception) -> NoReturn:
    raise Fault(
        "internal", f"ring_{failure_reason(exc)}", "the key ring cannot be used", operator=f"key ring: {exc}"
    ) from exc


class RingStore:
    """The ring's file. Every failure is ``internal`` with reason ``ring_`` and a word for the error."""

    def __init__(self, path: Path) -> None:
        """Open or make the ring at ``path``; one of an earlier release is brought to this schema, in one commit.

        ``ring_newer`` for a file of a later release, which would say things that this one does not understand.
        """
        try:
            self._database = open_writable(path, "")
            try:
                self._migrate()
            except BaseException:
                self._database.close()
                raise
        except (sqlite3.Error, OSError) as exc:
            _failed(exc)

    def _migrate(self) -> None:
        database = self._database
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA_VERSION:
            return
        if version > SCHEMA_VERSION:
            raise Fault("internal", "ring_newer", "the key ring cannot be used", operator=f"schema {version}")
        database.execute("BEGIN IMMEDIATE")
        earlier = database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'ring'").fetchone()
        if earlier:
            database.execute("ALTER TABLE ring RENAME TO ring_1")
        database.execute(_TABLE)
        if earlier:
            database.execute(f"INSERT INTO ring ({_FIRST}) SELECT {_FIRST} FROM ring_1")  # noqa: S608  # constants
            database.execute("DROP TABLE ring_1")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.execute("COMMIT")

    def load(self) -> list[RingEntry]:
        """Return all versions, by reference and version."""
        return [entry_of_row(row) for row in self.rows()]

    def rows(self) -> Sequence[tuple[Any, ...]]:
        """Return the same as rows, field by field: most are only compared, and a large ring has many."""
        try:
            return self._database.execute(f"SELECT {_COLUMNS} FROM ring ORDER BY key, version").fetchall()  # noqa: S608  # a constant
        except sqlite3.Error as exc:
            _failed(exc)

    def put(self, entries: Sequence[RingEntry]) -> None:
        """Make versions durable, new or changed, all or none; ``ring_duplicate`` for a keyid that another has."""
        rows = [[getattr(entry, name) for name in _NAMES] for entry in entries]
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany(_PUT, rows)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as exc:
            _failed(exc)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def entry_of_row(row: tuple[Any, ...]) -> RingEntry:
    """Return the entry that a row holds."""
    return RingEntry(*(*row[:-1], bool(row[-1])))
