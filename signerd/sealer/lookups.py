"""What a log has of records that a kill cut short (T4): looked for after the start, and told by the audit log.

A record that ends ``unknown`` while its answer waited for a log may have an entry there that nobody has heard of. What
to look for stands in the record's ``decided`` leaf. It is written down here before the record is closed, so that a
second kill does not lose it, and stays until a leaf says what was found.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from signerd.attestation.log_entry import parse_log_entry
from signerd.contracts.services import AuditStore, Clock, Leaf
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.config_model import Config
from signerd.sealer.database import failure_reason, open_writable
from signerd.sealer.later_leaves import FoundEntry, LookedUp, looked_up_leaf
from signerd.sealer.outbox import FILE_NAME
from signerd.sealer.proofs import proof_of
from signerd.verification.logged import signed_by_body
from signerd.wire.worker_calls import MOST_FOUND, CallError, FindResult

__all__ = ["Find", "Lookup", "Lookups", "begun", "judged", "lookups_of"]

_log = logging.getLogger(__name__)

FIRST_S: Final = 5.0
LONGEST_S: Final = 600.0
MOST_ATTEMPTS: Final = 1024
"""A week of them; then the record says that nobody could look."""
SETTLE_S: Final = 60.0
"""Seconds after the start before ``absent`` is said: a post that was under way when its sender died may still be taken,
and is to be seen with the log's next checkpoint."""
MOST_FLYING: Final = 4
"""Looks into one log at a time: each reads many tiles."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS lookups (
  id INTEGER PRIMARY KEY,
  audit_id TEXT NOT NULL,
  tenant TEXT NOT NULL,
  publisher TEXT NOT NULL,
  digest BLOB NOT NULL,
  keyids TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  due_at INTEGER NOT NULL DEFAULT 0,
  at INTEGER NOT NULL,
  UNIQUE (audit_id, publisher, digest)
) STRICT;
"""
_PUT: Final = (
    "INSERT OR IGNORE INTO lookups (audit_id, tenant, publisher, digest, keyids, at) VALUES (?, ?, ?, ?, ?, ?)"
)
_ALL: Final = "SELECT id, audit_id, tenant, publisher, digest, keyids, attempts, due_at, at FROM lookups ORDER BY id"
_PUT_OFF: Final = "UPDATE lookups SET attempts = ?, due_at = ? WHERE id = ?"
_END: Final = "DELETE FROM lookups WHERE id = ?"


class Lookup(msgspec.Struct, frozen=True):
    """One digest to look for in one log. ``keyids`` are those that could have signed; none: any (a keyless key)."""

    audit_id: str
    tenant: str
    publisher: str
    digest: bytes
    keyids: tuple[str, ...]
    id: int = 0
    attempts: int = 0
    due_at: int = 0
    at: int = 0


class _Key(msgspec.Struct):
    keyid: str = ""


class _Decision(msgspec.Struct):
    """Of a signature, or of a MAC, which no log has: one key, and no mode."""

    tenant: str
    keys: tuple[_Key, ...] = ()
    transparency: str = ""


class _Decided(msgspec.Struct):
    audit_id: str
    decision: _Decision
    log_digests: tuple[str, ...] = ()


_decided: Final = msgspec.json.Decoder(_Decided).decode
Find = Callable[[Lookup, Callable[[FindResult | CallError], None]], None]
"""Asks a log for the entries over one digest, and tells what came of it, once."""


def lookups_of(leaf: Leaf, logs: Sequence[str]) -> list[Lookup]:
    """Return what is to be looked for where this ``decided`` leaf's record is closed without anybody knowing how it
    ended; nothing where its answer waited for no log: what is published later, the outbox has."""
    try:
        told = _decided(leaf.text)
        digests = [bytes.fromhex(digest) for digest in told.log_digests]
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as exc:
        public = "the audit log cannot be used"
        raise Fault("audit.unavailable", "corrupt", public, operator=f"audit log: a decision: {exc}") from exc
    decision = told.decision
    if decision.transparency != "required":
        return []
    keyids = tuple(key.keyid for key in decision.keys) if all(key.keyid for key in decision.keys) else ()
    # Where no log is configured any more that is told too: an empty name is nobody's.
    return [Lookup(told.audit_id, decision.tenant, log, digest, keyids) for log in logs or ("",) for digest in digests]


def begun(
    config: Config, left: Sequence[Leaf], state: Path, store: AuditStore, clock: Clock
) -> "Lookups | None":
    """Write down what is to be looked for because of the ``decided`` leaves that a crash ``left`` open, and return it
    with what was written down before; None where there is nothing and no log. Fault as :meth:`Lookups.put_many`."""
    logs = [publisher.name for publisher in config.publishers if publisher.kind == "log" and publisher.needed]
    wanted = [lookup for leaf in left for lookup in lookups_of(leaf, logs)]
    path = state / FILE_NAME
    if not (logs or wanted or path.exists()):
        return None
    lookups = Lookups(path, logs, store, clock)
    if wanted:
        lookups.put_many(wanted)
    return lookups


class Lookups:
    """The table, in the outbox's file; nothing else writes it. ``logs`` are those that answers wait for."""

    def __init__(self, path: Path, logs: Sequence[str], store: AuditStore, clock: Clock) -> None:
        """Open or make it; Fault as :meth:`put_many`."""
        self.logs = tuple(logs)
        self._store = store
        self._clock = clock
        self._waiting: list[Lookup] = []
        self._flying: dict[int, Lookup] = {}
        self._told: list[tuple[Lookup, LookedUp | CallError]] = []
        self._retry_at = 0.0
        try:
            self._database = open_writable(path, _SCHEMA)
            self._read()
        except (sqlite3.Error, OSError) as exc:
            _unusable(exc)

    def put_many(self, wanted: Sequence[Lookup]) -> None:
        """Make durable what is to be looked for; what is there already stays once. Fault ``transparency.unavailable``
        where that cannot be."""
        now = self._clock.now_ms()
        values = [
            (each.audit_id, each.tenant, each.publisher, each.digest, msgspec.json.encode(each.keyids).decode(), now)
            for each in wanted
        ]
        self._write([(_PUT, value) for value in values])
        try:
            self._read()
        except sqlite3.Error as exc:
            _unusable(exc)

    def turn(self, logs: Mapping[str, Find | None]) -> None:
        """Record what was found, and ask those of ``logs`` that are up; None stands for one that cannot look."""
        now = self._clock.monotonic()
        if now < self._retry_at or not (self._waiting or self._told):
            return
        try:
            self._record()
        except SignerdError as error:
            _log.error("lookups: %s", error)
            self._retry_at = now + FIRST_S
            return
        for one in self._due(logs):
            known = one.publisher in self.logs
            find = logs[one.publisher] if known else None
            self._flying[one.id] = one
            if find is None:
                reason = "log_cannot_look" if known else "log_not_configured"
                self._told.append((one, LookedUp("not_looked", reason=reason)))
            else:
                find(one, lambda result, one=one: self._answered(one, result))  # type: ignore[misc]  # bound at once

    def next_look(self) -> float | None:
        """Return when :meth:`turn` has something to do although nothing comes, in monotonic seconds."""
        if self._told:
            return max(self._clock.monotonic(), self._retry_at)
        idle = [one.due_at for one in self._waiting if one.id not in self._flying]
        if not idle or len(self._flying) >= MOST_FLYING:
            return None
        ahead = max(0, min(idle) - self._clock.now_ms()) / 1000
        # A log that is down wakes the loop when it comes up; nobody need look before.
        return max(self._clock.monotonic() + max(ahead, 1.0), self._retry_at)

    def _due(self, logs: Mapping[str, Find | None]) -> list[Lookup]:
        now, room = self._clock.now_ms(), MOST_FLYING - len(self._flying)
        idle = [one for one in self._waiting if one.id not in self._flying and one.due_at <= now]
        return [one for one in idle if one.publisher in logs or one.publisher not in self.logs][:room]

    def _answered(self, one: Lookup, result: FindResult | CallError) -> None:
        self._told.append((one, result if isinstance(result, CallError) else judged(one, result)))

    def _record(self) -> None:
        """Say in the audit log what was found, then forget it; put off where the log did not answer."""
        now = self._clock.now_ms()
        ended: list[tuple[Lookup, LookedUp]] = []
        statements: list[tuple[str, tuple[object, ...]]] = []
        for one, result in self._told:
            settled_at = one.at + int(SETTLE_S * 1000)
            if isinstance(result, LookedUp) and result.state == "absent" and now < settled_at:
                statements.append((_PUT_OFF, (one.attempts, settled_at, one.id)))
            elif isinstance(result, LookedUp):
                ended.append((one, result))
            elif one.attempts + 1 >= MOST_ATTEMPTS:
                ended.append((one, LookedUp("not_looked", reason=result.reason)))
            else:
                _log.warning("lookups: %s: %s %s", one.publisher, result.code, result.reason)
                pause = min(LONGEST_S, FIRST_S * 2 ** min(one.attempts, 30))
                statements.append((_PUT_OFF, (one.attempts + 1, now + int(pause * 1000), one.id)))
        if ended:
            self._store.append_many(
                [looked_up_leaf(one.audit_id, one.tenant, one.publisher, found, now) for one, found in ended]
            )
            statements += [(_END, (one.id,)) for one, _ in ended]
        if statements:
            self._write(statements)
            for one, _ in self._told:
                self._flying.pop(one.id, None)
            self._told = []
            self._read()

    def _read(self) -> None:
        rows = self._database.execute(_ALL).fetchall()
        self._waiting = [
            Lookup(audit_id, tenant, publisher, digest, tuple(msgspec.json.decode(keyids)), number, *rest)
            for number, audit_id, tenant, publisher, digest, keyids, *rest in rows
        ]

    def _write(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    self._database.execute(statement, values)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as exc:
            _unusable(exc)


def judged(one: Lookup, result: FindResult) -> LookedUp | CallError:
    """Return what the log has of the record. A publisher that brings what is no proof of it is not believed (T24)."""
    entries = []
    try:
        for proof in result.proofs:
            entry = parse_log_entry(proof)
            signed = signed_by_body(entry.body)
            proof_of("log", signed, proof)
            if signed.digest != one.digest:
                raise Refusal("verification.failed", "proof_foreign", "an entry over other bytes")
            if not one.keyids or signed.key.keyid in one.keyids:
                found = FoundEntry(
                    sha256(entry.body).hexdigest(), signed.key.keyid, entry.log_id.hex(), entry.log_index
                )
                entries.append(found)
    except SignerdError as error:
        _log.error("lookups: %s: a proof that proves nothing (%s)", one.publisher, error.reason)
        return CallError("transparency.unavailable", "proof_refused", "the publisher failed")
    if not entries and len(result.proofs) >= MOST_FOUND:
        # Others have signed the same bytes so often that ours may be behind them.
        return LookedUp("not_looked", reason="too_many")
    return LookedUp("found" if entries else "absent", tuple(entries), result.first, result.size)


def _unusable(exc: Exception) -> NoReturn:
    raise Fault(
        "transparency.unavailable",
        f"outbox_{failure_reason(exc)}",
        "what is to be looked for cannot be kept",
        operator=f"lookups: {exc}",
    ) from exc
