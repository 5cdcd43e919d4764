"""The transparency outbox: what is to be published after its answer, durable before that leaves.

A row stays until its log has it, through restarts and kills; publishers hold no state. An entry is stored before the
audit log says ``published``, and the row ends after that: a kill in between says it twice, never not at all. What a
log has not taken for a week is given up, and the audit log says so. Ended rows stay for a while, so that a caller can
fetch what came of them.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from signerd.attestation.log_entry import LogEntry, log_entry_json, parse_log_entry
from signerd.contracts.services import AuditStore, Clock
from signerd.errors import Fault, SignerdError
from signerd.host.config_limits import OUTBOX_BYTES, OUTBOX_DAYS
from signerd.sealer.database import failure_reason, open_writable
from signerd.sealer.kept import KEPT_SCHEMA, Kept, KeptBundles
from signerd.sealer.later_leaves import published_leaf, unpublished_leaf
from signerd.wire.worker_calls import CallError

__all__ = ["FILE_NAME", "Outbox", "Row"]

_log = logging.getLogger(__name__)

FILE_NAME: Final = "outbox.sqlite"
"""The outbox's name in the state directory."""
MOST_FLYING: Final = 64
"""Calls to one log at a time: a Rekor v2 log answers each with its next checkpoint, so that they cost one wait."""
FIRST_S: Final = 1.0
LONGEST_S: Final = 300.0
"""Seconds between attempts: doubled from the first to the longest."""
MOST_ATTEMPTS: Final = 2024
"""A week of them: what a log has not taken for so long it never will. A publisher that is down attempts nothing."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS outbox (
  id INTEGER PRIMARY KEY,
  audit_id TEXT NOT NULL,
  tenant TEXT NOT NULL,
  publisher TEXT NOT NULL,
  keyid TEXT NOT NULL,
  bundle_sha256 TEXT NOT NULL,
  payload_digest BLOB NOT NULL,
  signature BLOB NOT NULL,
  verifier BLOB NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  due_at INTEGER NOT NULL DEFAULT 0,
  entry BLOB,
  published_at INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (publisher, due_at) WHERE published_at = 0;
"""
"""``published_at`` is when the row ended: with an ``entry``, or given up without one."""
DAY_MS: Final = 86_400_000
_COLUMNS: Final = "audit_id, tenant, publisher, keyid, bundle_sha256, payload_digest, signature, verifier"
_PUT: Final = f"INSERT INTO outbox ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)"  # noqa: S608  # constants
_DUE: Final = (
    f"SELECT {_COLUMNS}, id, attempts, entry FROM outbox WHERE published_at = 0 AND publisher = ? AND due_at <= ? "  # noqa: S608  # the same
    "ORDER BY due_at, id LIMIT ?"
)


class Row(msgspec.Struct, frozen=True):
    """One signature for one log. ``verifier`` is the key's SPKI, ``payload_digest`` that of its own hash over the
    PAE."""

    audit_id: str
    tenant: str
    publisher: str
    keyid: str
    bundle_sha256: str
    payload_digest: bytes
    signature: bytes
    verifier: bytes
    id: int = 0
    attempts: int = 0
    entry: bytes | None = None


Send = Callable[[Row, Callable[[LogEntry | CallError], None]], None]
"""Publishes one row and tells what came of it, once."""


class Outbox:
    """The outbox's file; the only writer, under the lock of the state directory."""

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        store: AuditStore,
        clock: Clock,
        kept_bytes: int = OUTBOX_BYTES,
        kept_days: float = OUTBOX_DAYS,
    ) -> None:
        """Open or make it. ``names`` are the logs that there are; Fault as :meth:`put_many`."""
        self._store = store
        self._clock = clock
        self._flying: dict[str, set[int]] = {name: set() for name in names}
        self._arrived: list[tuple[Row, LogEntry]] = []
        self._failed: list[Row] = []
        self._due: dict[str, int | None] = {}
        self._up: frozenset[str] = frozenset()
        self._retry_at = 0.0
        try:
            self._database = open_writable(path, _SCHEMA + KEPT_SCHEMA)
            self._kept = KeptBundles(self._database, kept_bytes, int(kept_days * DAY_MS))
            for name in names:
                self._look(name)
        except (sqlite3.Error, OSError) as exc:
            _unusable(exc)
        lost = {name for (name,) in self._database.execute(_WAITING)} - set(names)
        if lost:
            _log.warning("outbox: no publisher %s is configured, for which entries wait", ", ".join(sorted(lost)))

    def put_many(self, rows: Sequence[Row], kept: Sequence[Kept] = ()) -> None:
        """Make all durable in one commit: the rows, and the bundles that their entries are to be put into.

        Else ``transparency.unavailable``, with ``outbox_`` and a word for the error, and nothing of it is kept.
        """
        values = [tuple([getattr(row, name) for name in Row.__struct_fields__[:8]]) for row in rows]

        def beside() -> None:
            self._kept.put(kept)
            # As many go as come, and one: it never is a long transaction, and never grows for ever.
            self._kept.forget(self._clock.now_ms(), 2 * len(rows))

        self._write([(_PUT, value) for value in values], beside)
        for row in rows:
            self._due[row.publisher] = 0

    def turn(self, logs: Mapping[str, Send]) -> None:
        """Record what was published, and send what is due to those of ``logs`` that can take it."""
        self._up = frozenset(logs)
        if self._clock.monotonic() < self._retry_at:
            return
        try:
            self._record()
            now = self._clock.now_ms()
            for name, send in logs.items():
                due = self._due.get(name)
                if due is not None and due <= now and len(self._flying[name]) < MOST_FLYING:
                    self._send(name, send, now)
        except (SignerdError, sqlite3.Error) as exc:
            _log.error("outbox: %s", exc)
            self._retry_at = self._clock.monotonic() + FIRST_S

    def next_look(self) -> float | None:
        """Return when :meth:`turn` has something to do although nothing comes, in monotonic seconds."""
        if self._arrived or self._failed:
            return max(self._clock.monotonic(), self._retry_at)
        # What is down has to come up first, which wakes the loop.
        waiting = [
            due for name in self._up if (due := self._due[name]) is not None and len(self._flying[name]) < MOST_FLYING
        ]
        if not waiting:
            return None
        ahead = max(0, min(waiting) - self._clock.now_ms()) / 1000
        return max(self._clock.monotonic() + ahead, self._retry_at)

    def _send(self, name: str, send: Send, now: int) -> None:
        flying = self._flying[name]
        rows = [Row(*values) for values in self._database.execute(_DUE, (name, now, 2 * MOST_FLYING))]
        for row in [row for row in rows if row.id not in flying][: MOST_FLYING - len(flying)]:
            flying.add(row.id)
            if row.entry is None:
                send(row, lambda result, row=row: self._told(row, result))  # type: ignore[misc]  # bound at once
            else:  # it was published, and a kill came before the audit log said so
                self._arrived.append((row, parse_log_entry(row.entry)))
        self._look(name)

    def _told(self, row: Row, result: LogEntry | CallError) -> None:
        if isinstance(result, CallError):
            _log.warning("outbox: %s: %s %s %s", row.publisher, result.code, result.reason, result.operator)
            self._failed.append(row)
        else:
            self._arrived.append((row, result))

    def _record(self) -> None:
        """Put off what failed; store the entries, say so in the audit log, and end their rows."""
        now = self._clock.now_ms()
        failed, arrived = self._failed, self._arrived
        if failed:
            over = [row for row in failed if row.attempts + 1 >= MOST_ATTEMPTS]
            if over:
                self._store.append_many([unpublished_leaf(*_named(row), row.attempts + 1, now) for row in over])
                self._write([(_ENDED, (now, row.id)) for row in over])
            self._write([(_PUT_OFF, (row.attempts + 1, now + _pause_ms(row.attempts), row.id)) for row in failed])
            self._failed = []
            self._landed(failed)
        if arrived:
            self._write([(_STORED, (log_entry_json(entry), row.id)) for row, entry in arrived])
            self._store.append_many([published_leaf(*_named(row), entry, now) for row, entry in arrived])
            self._write([(_ENDED, (now, row.id)) for row, _ in arrived])
            self._arrived = []
            self._landed([row for row, _ in arrived])

    def _landed(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._flying[row.publisher].discard(row.id)
        for name in {row.publisher for row in rows}:
            self._look(name)

    def _look(self, name: str) -> None:
        """Find when the next row of a log that is not under way is due."""
        flying = self._flying[name]
        rows = self._database.execute(_NEXT, (name, len(flying) + 1)).fetchall()
        self._due[name] = min((due for number, due in rows if number not in flying), default=None)

    def _write(
        self, statements: Sequence[tuple[str, tuple[object, ...]]], beside: Callable[[], None] = lambda: None
    ) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    self._database.execute(statement, values)
                beside()
                self._database.execute("COMMIT")
                self._kept.settle(committed=True)
            except BaseException:
                self._kept.settle(committed=False)
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as exc:
            _unusable(exc)


_PUT_OFF: Final = "UPDATE outbox SET attempts = ?, due_at = ? WHERE id = ?"
_STORED: Final = "UPDATE outbox SET entry = ? WHERE id = ?"
_ENDED: Final = "UPDATE outbox SET published_at = ? WHERE id = ?"
_WAITING: Final = "SELECT DISTINCT publisher FROM outbox WHERE published_at = 0"
_NEXT: Final = "SELECT id, due_at FROM outbox WHERE published_at = 0 AND publisher = ? ORDER BY due_at, id LIMIT ?"


def _named(row: Row) -> tuple[str, str, str, str, str]:
    return row.audit_id, row.tenant, row.publisher, row.keyid, row.bundle_sha256


def _pause_ms(attempts: int) -> int:
    return int(1000 * min(LONGEST_S, FIRST_S * 2 ** min(attempts, 30)))


def _unusable(exc: Exception) -> NoReturn:
    raise Fault(
        "transparency.unavailable",
        f"outbox_{failure_reason(exc)}",
        "what is to be published cannot be kept",
        operator=f"outbox: {exc}",
    ) from exc
