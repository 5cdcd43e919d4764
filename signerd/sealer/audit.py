"""The durable, append-only log: one file, one multi-row insert and one sync per group of leaves.

A group is there whole or not at all. After a failed commit nothing of the group counts; should the machine
stop right then, the group may still be found on disk at the next start: a record without a signature, never
the reverse.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from signerd.contracts.services import Leaf
from signerd.errors import Fault, Refusal
from signerd.sealer.database import BUSY_S, failure_reason, open_read_only, open_writable
from signerd.sealer.tree import leaf_hash

__all__ = ["FILE_NAME", "FILTERS", "MOST_ROWS", "AuditReader", "Page", "SqliteAuditStore"]

FILE_NAME: Final = "audit.sqlite"
"""The log's name in the state directory."""
MOST_ROWS: Final = 200
"""A read returns at most so many leaves."""
MOST_BYTES: Final = 2 * 1024 * 1024
"""And at most so many bytes of them, but for a first one: an answer is one frame."""
MOST_SCANNED: Final = 20_000
"""A read looks at no more than so many, so that a filter that matches little does not occupy the reader for
long.
"""
FILTERS: Final = ("audit_id", "code", "kind", "outcome")
"""The columns that a query may filter by."""
DAY_MS: Final = 86_400_000
_NO_END: Final = 2**63 - 1

# An id begins one record, decided or refused, and that has one outcome. No audit_id (start and ring leaves) is NULL,
# which a unique index never counts as equal.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS leaves (
  leaf_index INTEGER PRIMARY KEY,
  audit_id TEXT,
  kind TEXT NOT NULL,
  tenant TEXT NOT NULL,
  time INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  code TEXT NOT NULL,
  leaf_hash BLOB NOT NULL,
  leaf BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS leaves_record ON leaves (audit_id, kind = 'outcome');
CREATE INDEX IF NOT EXISTS leaves_of_tenant ON leaves (tenant, leaf_index);
CREATE INDEX IF NOT EXISTS leaves_signed ON leaves (time, tenant)
  WHERE kind = 'outcome' AND outcome IN ('signed', 'signed_undelivered');
CREATE INDEX IF NOT EXISTS leaves_start ON leaves (leaf_index) WHERE kind = 'start';
CREATE INDEX IF NOT EXISTS leaves_ring ON leaves (leaf_index) WHERE kind = 'ring';
CREATE INDEX IF NOT EXISTS leaves_admin ON leaves (leaf_index) WHERE kind = 'admin';
CREATE INDEX IF NOT EXISTS leaves_presence ON leaves (leaf_index) WHERE kind = 'presence';
"""
_ROW: Final = "(?,?,?,?,?,?,?,?,?)"
_LAST_RESORT_PAGES: Final = 16_384
"""64 MB: only where the copying beside the loop does not get on is it done within a commit."""
_ROWS_A_STATEMENT: Final = 512
"""9 columns each: well below the 32,766 variables that a statement of SQLite 3.32 or later may have."""

_OPEN: Final = """
SELECT leaf, audit_id, kind, tenant, time, outcome, code FROM leaves AS decided
WHERE leaf_index > (SELECT coalesce(max(leaf_index), -1) FROM leaves WHERE kind = 'start')
  AND kind = 'decided'
  AND NOT EXISTS (
    SELECT 1 FROM leaves AS closed WHERE closed.audit_id = decided.audit_id AND closed.kind = 'outcome'
  )
ORDER BY leaf_index
"""
_SIGNED: Final = """
SELECT tenant, count(*) FROM leaves
WHERE kind = 'outcome' AND outcome IN ('signed', 'signed_undelivered') AND time >= ? AND time < ?
GROUP BY tenant
"""


def _unavailable(exc: Exception) -> NoReturn:
    reason = failure_reason(exc)
    raise Fault(
        "audit.unavailable", reason, "the audit log cannot be used", operator=f"audit log: {exc}"
    ) from exc


def _corrupt(what: str) -> Fault:
    return Fault("audit.unavailable", "corrupt", "the audit log cannot be used", operator=f"audit log: {what}")


def _insert(rows: int) -> str:
    # Only the number of placeholders varies; sqlite3 caches each text's prepared statement.
    return "INSERT INTO leaves VALUES " + ",".join([_ROW] * rows)  # noqa: S608  # placeholders alone


def _values(first: int, leaves: Sequence[Leaf]) -> Iterator[tuple[object, ...]]:
    for index, leaf in enumerate(leaves, first):
        yield (
            index, leaf.audit_id or None, leaf.kind, leaf.tenant, leaf.time, leaf.outcome, leaf.code,
            leaf_hash(leaf.text), leaf.text,
        )  # fmt: skip


def _fitting(rows: Sequence[tuple[int, bytes]]) -> int:
    """Return how many of the first rows are a page of :data:`MOST_BYTES`; at least one, where there is one."""
    sizes = accumulate(len(leaf) for _, leaf in rows)
    return max(1, sum(1 for size in sizes if size <= MOST_BYTES))


class SqliteAuditStore:
    """AuditStore over one SQLite file; the only writer, under the lock of the state directory.

    Every failure is ``audit.unavailable`` with one of the reasons ``read_only``, ``disk_full``, ``locked``,
    ``io_error``, ``corrupt``, ``cannot_open``, ``duplicate``, ``no_memory``, ``failed``. After a failure the
    file is opened anew by the next call, so that the log goes on by itself once the disk has room again.
    """

    def __init__(self, path: Path, wait_s: float = BUSY_S) -> None:
        """Open or make the log at ``path``; ``audit.unavailable`` where that fails. ``wait_s`` is how long a lock
        is waited for.
        """
        self._path = path
        self._wait_s = wait_s
        self._database: sqlite3.Connection | None = None
        self._next = 0
        self._reach()

    @property
    def size(self) -> int:
        """How many leaves are durable; the next one gets this index."""
        return self._next

    def _reach(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                database = open_writable(self._path, _SCHEMA, self._wait_s)
                try:
                    database.execute(f"PRAGMA wal_autocheckpoint = {_LAST_RESORT_PAGES}")
                    (last,) = database.execute("SELECT coalesce(max(leaf_index), -1) FROM leaves").fetchone()
                except BaseException:
                    database.close()
                    raise
            except (sqlite3.Error, OSError) as exc:
                _unavailable(exc)
            self._database, self._next = database, last + 1
        return self._database

    def append_many(self, leaves: Sequence[Leaf]) -> int:
        """Make all durable in one commit and return the index of the first; the rest follow it without a gap.

        Waits for a lock as long as it was told to. Else raises ``audit.unavailable`` and keeps nothing of the group.
        """
        database = self._reach()
        first = self._next
        if not leaves:
            return first
        try:
            if len(leaves) <= _ROWS_A_STATEMENT:
                database.execute(_insert(len(leaves)), tuple(chain.from_iterable(_values(first, leaves))))
            else:
                self._append_large(database, first, leaves)
        except sqlite3.Error as exc:
            self.close()
            _unavailable(exc)
        self._next = first + len(leaves)
        return first

    def _append_large(self, database: sqlite3.Connection, first: int, leaves: Sequence[Leaf]) -> None:
        """Append more rows than a statement may hold, in one transaction; closing the connection rolls it
        back.
        """
        database.execute("BEGIN IMMEDIATE")
        for start in range(0, len(leaves), _ROWS_A_STATEMENT):
            part = leaves[start : start + _ROWS_A_STATEMENT]
            database.execute(_insert(len(part)), tuple(chain.from_iterable(_values(first + start, part))))
        database.execute("COMMIT")

    def copy_rest(self) -> None:
        """Copy what is left of the write-ahead log into the database; see :mod:`signerd.sealer.checkpoint`."""
        with contextlib.suppress(sqlite3.Error):  # tried again later; a commit tells of a bad disk
            self._reach().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def open_records(self) -> Sequence[Leaf]:
        """Return the ``decided`` leaves without an ``outcome``, oldest first, since the last ``start`` leaf.

        Each start closes what it finds with, or before, its own ``start`` leaf, so nothing older can be open.
        """
        try:
            rows = self._reach().execute(_OPEN).fetchall()
        except sqlite3.Error as exc:
            _unavailable(exc)
        return [Leaf(*row) for row in rows]

    def ring_leaves(self) -> Sequence[tuple[int, bytes]]:
        """Return index and text of every ``ring`` leaf, oldest first."""
        try:
            return self._reach().execute(
                "SELECT leaf_index, leaf FROM leaves WHERE kind = 'ring' ORDER BY leaf_index"
            ).fetchall()
        except sqlite3.Error as exc:
            _unavailable(exc)

    def admin_leaves(self) -> Sequence[bytes]:
        """Return the text of every ``admin`` leaf, oldest first."""
        try:
            rows = self._reach().execute("SELECT leaf FROM leaves WHERE kind = 'admin' ORDER BY leaf_index").fetchall()
        except sqlite3.Error as exc:
            _unavailable(exc)
        return [row[0] for row in rows]

    def presence_leaves(self) -> Sequence[bytes]:
        """Return the text of every ``presence`` leaf, oldest first."""
        one = "SELECT leaf FROM leaves WHERE kind = 'presence' ORDER BY leaf_index"
        try:
            rows = self._reach().execute(one).fetchall()
        except sqlite3.Error as exc:
            _unavailable(exc)
        return [row[0] for row in rows]

    def leaves_at(self, indices: Sequence[int]) -> Sequence[bytes]:
        """Return the texts of these leaves, in the log's order."""
        one = "SELECT leaf FROM leaves WHERE leaf_index = ?"
        try:
            found = [self._reach().execute(one, (index,)).fetchone() for index in sorted(indices)]
        except sqlite3.Error as exc:
            _unavailable(exc)
        return [row[0] for row in found if row is not None]

    def leaf_of(self, audit_id: str) -> bytes | None:
        """Return the text of the leaf that began the record ``audit_id``; None where there is none."""
        one = "SELECT leaf FROM leaves WHERE audit_id = ? AND (kind = 'outcome') = 0"
        try:
            found = self._reach().execute(one, (audit_id,)).fetchone()
        except sqlite3.Error as exc:
            _unavailable(exc)
        return None if found is None else found[0]

    def daily_counts(self, day: int) -> dict[str, int]:
        """Return how many records were signed per tenant on UTC day ``day`` since the epoch, delivered or
        not.
        """
        try:
            return dict(self._reach().execute(_SIGNED, (day * DAY_MS, (day + 1) * DAY_MS)).fetchall())
        except sqlite3.Error as exc:
            _unavailable(exc)

    def close(self) -> None:
        """Close the file, rolling back what is not committed; the next call opens it again."""
        if self._database is not None:
            self._database.close()
            self._database = None


class Page(msgspec.Struct, frozen=True):
    """Leaves as written, oldest first, and their indices; ``next`` is the next cursor, 0 for none."""

    records: tuple[bytes, ...]
    indices: tuple[int, ...]
    next: int


class AuditReader:
    """Reads the log through a read-only connection, beside the living sealer or a dead one's files."""

    def __init__(self, path: Path) -> None:
        """Open the log at ``path``; ``audit.unavailable`` where that fails, a missing file included."""
        try:
            self._database = open_read_only(path)
            views = self._database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'leaves' AND type <> 'table'")
            view = views.fetchone()
        except sqlite3.Error as exc:
            _unavailable(exc)
        if view:  # somebody's own query, which need not end
            self._database.close()
            raise _corrupt("leaves is no table")

    def read(
        self,
        tenant: str | None,
        filters: Mapping[str, str] | None = None,
        cursor: int = 0,
        limit: int = MOST_ROWS,
    ) -> Page:
        """Return leaves of ``tenant`` (None: of all, the operator's view) from index ``cursor`` on.

        ``filters`` are equalities over :data:`FILTERS`; another name is ``request.unsupported``. ``limit``
        above 200 is lowered; below 1, or a cursor out of range, is ``request.malformed``. A page may hold
        fewer than ``limit`` although more follow: ``next`` alone says whether any do.
        """
        filters = filters or {}
        self._check(filters, cursor, limit)
        limit = min(limit, MOST_ROWS)
        one = "audit_id" in filters
        # For one record's few rows, a unary plus keeps SQLite from walking the tenant's index instead.
        base = f"{'+' if one else ''}leaf_index >= ?"
        values: list[object] = [cursor]
        if tenant is not None:
            base += f" AND {'+' if one else ''}tenant = ?"
            values.append(tenant)
        wanted = "".join(f" AND {name} = ?" for name in filters)
        # Only texts of this module and names out of FILTERS are put in.
        bound = f"SELECT leaf_index FROM leaves WHERE {base} ORDER BY 1 LIMIT 1 OFFSET {MOST_SCANNED}"  # noqa: S608
        rows = (
            f"SELECT leaf_index, leaf FROM leaves WHERE {base} AND leaf_index < ?{wanted} ORDER BY 1 LIMIT ?"  # noqa: S608
        )
        try:
            found = self._database.execute(bound, values).fetchone() if filters and not one else None
            end = found[0] if found else _NO_END
            taken = self._database.execute(rows, (*values, end, *filters.values(), limit + 1)).fetchall()
        except sqlite3.Error as exc:
            _unavailable(exc)
        if not all(isinstance(index, int) and isinstance(leaf, bytes) for index, leaf in taken):
            raise _corrupt("a leaf is no text")
        page = taken[: min(limit, _fitting(taken))]
        after = 0 if end == _NO_END else end
        if len(taken) > len(page):
            after = page[-1][0] + 1
        return Page(tuple(row[1] for row in page), tuple(row[0] for row in page), after)

    @staticmethod
    def _check(filters: Mapping[str, str], cursor: int, limit: int) -> None:
        if limit < 1 or not 0 <= cursor < _NO_END:
            raise Refusal("request.malformed", "page_out_of_range", "limit or cursor is out of range")
        unknown = next((name for name in filters if name not in FILTERS), None)
        if unknown is not None:
            raise Refusal(
                "request.unsupported", "filter_unknown", "no such filter", details={"name": unknown[:64]}
            )

    def close(self) -> None:
        """Close the connection."""
        self._database.close()
