"""The ledger of ceremonies: which operation of the admin plane was asked for, who approved it, that it was used once.

Nothing here is believed because it is written down: whether a ceremony has its approvals is found anew, whenever it
matters, from the signatures themselves, the approvers that are configured now, and who asked, by the log. Every change
is an audit leaf before it is a row, and the leaf that ends a ceremony carries its id, which the log takes once: neither
a kill between the two nor an old copy of this file lets an approval be used twice. A kill there costs the approvals.
"""

import hmac
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, NoReturn

import msgspec

from signerd.attestation.canonical import canonical_json, canonicalise
from signerd.contracts.services import AuditStore
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.config_approvals import Approvals, Approver
from signerd.sealer.admin_leaves import approval_leaf, request_facts, request_id
from signerd.sealer.database import failure_reason, open_writable
from signerd.verification.ssh_keys import SshPublicKey
from signerd.verification.sshsig import SshSignature
from signerd.wire.ceremonies import LARGEST_PAYLOAD, NAMESPACE, Ceremony, CeremonyState

__all__ = ["KEPT_MS", "MOST_LISTED", "MOST_OPEN", "ApprovalLedger"]

MOST_OPEN: Final = 64
"""Ceremonies that wait at the same time; any admin may withdraw one to make room."""
MOST_LISTED: Final = 128
"""Ceremonies in one list: with the largest payloads half of an answer's frame. Those that wait come first."""
KEPT_MS: Final = 30 * 86_400_000
"""How long a ceremony that has ended can still be looked at here; the audit log keeps it for good."""
_NOBODY: Final = -1
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS ceremonies (
  ceremony TEXT PRIMARY KEY,
  operation TEXT NOT NULL,
  payload BLOB NOT NULL,
  requester TEXT NOT NULL,
  requester_uid INTEGER NOT NULL,
  requested_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  ended TEXT NOT NULL DEFAULT '',
  ended_at INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS ceremony_approvals (
  ceremony TEXT NOT NULL REFERENCES ceremonies,
  key TEXT NOT NULL,
  signature TEXT NOT NULL,
  submitter_uid INTEGER NOT NULL,
  time INTEGER NOT NULL,
  PRIMARY KEY (ceremony, key)
) STRICT;
CREATE TABLE IF NOT EXISTS ceremony_daemon (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  daemon TEXT NOT NULL
) STRICT;
"""
_COLUMNS: Final = "ceremony, operation, payload, requester, requester_uid, requested_at, expires_at, ended"


class _Row(msgspec.Struct, frozen=True):
    ceremony: str
    operation: str
    payload: bytes
    requester: str
    requester_uid: int
    requested_at: int
    expires_at: int
    ended: Literal["", "used", "expired", "withdrawn"]

    @property
    def payload_sha256(self) -> str:
        """Computed at each use: with a digest in the file, signatures over one payload could pass for another."""
        return sha256(self.payload).hexdigest()


class _Enrolled(msgspec.Struct, frozen=True):
    approver: Approver
    key: SshPublicKey


class ApprovalLedger:
    """The ceremonies in the file at ``path``, which may be the ring's.

    Any call may raise ``audit.unavailable`` from the log, before anything has changed, and ``internal`` with reason
    ``approvals_`` and a word for the error. All times are Unix milliseconds of the wall clock. Not for several threads.
    """

    def __init__(self, path: Path, approvals: Approvals, audit: AuditStore) -> None:
        """Open or make the tables at ``path``. ``approvals`` has passed the checks of the configuration."""
        self._approvals = approvals
        self._audit = audit
        self._enrolled = {
            key.fingerprint: _Enrolled(approver, key)
            for approver, key in ((each, SshPublicKey.from_line(each.key)) for each in approvals.approvers)
        }
        with _failures():
            self._database = open_writable(path, _SCHEMA)
        try:
            with _failures():
                self._database.execute("INSERT OR IGNORE INTO ceremony_daemon VALUES (1, ?)", (os.urandom(16).hex(),))
                (self._daemon,) = self._database.execute("SELECT daemon FROM ceremony_daemon").fetchone()
        except BaseException:
            self.close()
            raise

    @property
    def daemon(self) -> str:
        """The id of this state directory: 128 random bits in hex, made when its ledger was."""
        return str(self._daemon)

    def needed(self, operation: str) -> int:
        """Return how many approvals the operation needs; 0: it takes one admin and no ceremony."""
        return {str(name): count for name, count in self._approvals.operations.items()}.get(operation, 0)

    def request(self, operation: str, payload: bytes, requester_uid: int, now: int) -> Ceremony:
        """Begin a ceremony; the same request again, while that one is neither ended nor expired, returns that one.

        ``payload`` is the RFC 8785 text of what is to be done. Refuses ``request.unsupported``
        (``approval_not_needed``), ``request.malformed`` (``payload_not_canonical``), ``request.too_large``
        (``payload``), and ``request.conflict`` (``ceremonies_open``) beyond :data:`MOST_OPEN`.
        """
        if not self.needed(operation):
            raise Refusal("request.unsupported", "approval_not_needed", "this operation needs no approvals")
        _check_payload(payload)
        self.expire(now)
        waiting = self._rows("ended = ''")
        for row in waiting:
            if (row.operation, row.payload, row.requester_uid) == (operation, payload, requester_uid):
                return self._ceremony(row)
        if len(waiting) >= MOST_OPEN:
            raise Refusal("request.conflict", "ceremonies_open", "too many ceremonies are open")
        row = _Row(
            os.urandom(16).hex(),
            operation,
            payload,
            self._name(requester_uid),
            requester_uid,
            now,
            now + self._approvals.life_s * 1000,
            "",
        )
        made = self._ceremony(row)
        self._audit.append_many([approval_leaf("requested", made, made.requester, requester_uid, now)])
        values = msgspec.structs.astuple(row)
        with _failures():
            self._database.execute(
                f"INSERT INTO ceremonies ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # a constant
                values,
            )
        return made

    def ceremony(self, ceremony: str, now: int) -> Ceremony:
        """Return one ceremony as it stands; ``approval.required`` (``unknown_ceremony``) where there is none."""
        self.expire(now)
        return self._ceremony(self._row(ceremony))

    def ceremonies(self, now: int) -> tuple[Ceremony, ...]:
        """Return :data:`MOST_LISTED`: all that wait, oldest first, then those that ended of late, newest first."""
        self.expire(now)
        ended = self._rows("ended <> ''")[::-1]
        return tuple(map(self._ceremony, [*self._rows("ended = ''"), *ended][:MOST_LISTED]))

    def submit(self, ceremony: str, signature: str, submitter_uid: int, now: int) -> Ceremony:
        """Count an approval: an armoured SSHSIG over the ceremony's message; anybody may bring it.

        The same key again changes nothing. Refuses ``approval.required`` with ``unknown_ceremony``, ``used``,
        ``expired``, ``withdrawn``, ``own_approval`` for a key of who asked, or ``request_unlogged`` where the log says
        otherwise of who asked for what; ``verification.failed`` for a signature that is none, is not over this
        message, or is by a key that is not enrolled (``key_not_enrolled``).
        """
        row = self._living(ceremony, now)
        parsed = SshSignature.parse(signature)
        enrolled = self._enrolled.get(parsed.key.fingerprint)
        if enrolled is None:
            raise Refusal("verification.failed", "key_not_enrolled", "the signature is by no approver's key")
        parsed.verify(self._message(row), NAMESPACE)
        if _is_requester(enrolled.approver, row):
            raise _required("own_approval", "who asks for an operation cannot approve it")
        if not self._logged(row):
            raise _required("request_unlogged", "the log does not know of this request")
        key = enrolled.key.fingerprint
        name = enrolled.approver.name
        before = self._ceremony(row)
        if name not in before.approved_by:
            self._audit.append_many([approval_leaf("approved", before, name, submitter_uid, now, key)])
            with _failures():
                self._database.execute(
                    "INSERT OR REPLACE INTO ceremony_approvals VALUES (?, ?, ?, ?, ?)",
                    (ceremony, key, signature, submitter_uid, now),
                )
        return self._ceremony(row)

    def withdraw(self, ceremony: str, uid: int, now: int) -> Ceremony:
        """End a ceremony without use; any admin may. Refuses an ended or unknown one as :meth:`submit` does."""
        row = self._living(ceremony, now)
        self._end(row, "withdrawn", self._name(uid), uid, now)
        return self._ceremony(self._row(ceremony))

    def consume(self, ceremony: str, operation: str, payload: bytes, uid: int, now: int) -> Ceremony:
        """Use the approvals: returns once for each ceremony, when that is durable, and then the operation may run.

        Refuses ``approval.required``: ``unknown_ceremony``, ``used``, ``expired``, ``withdrawn``, ``other_operation``,
        ``other_payload``, ``not_enough`` (``details``: ``needed``, ``approved``). Fails without effect, or with the
        ceremony used up: an operation whose outcome nobody knows must not run on the same approvals again.
        """
        row = self._living(ceremony, now)
        if row.operation != operation:
            raise _required("other_operation", "the ceremony is for another operation")
        if not hmac.compare_digest(row.payload, payload):
            raise _required("other_payload", "the ceremony is for the same operation with other content")
        as_it_is = self._ceremony(row)
        if as_it_is.state != "approved":
            raise Refusal(
                "approval.required",
                "not_enough",
                "the ceremony has not enough approvals",
                details={"needed": as_it_is.needed, "approved": len(as_it_is.approved_by)},
            )
        self._end(row, "used", self._name(uid), uid, now)
        return msgspec.structs.replace(as_it_is, state="used")

    def expire(self, now: int) -> None:
        """End what is past its time, and forget what ended long ago."""
        for row in self._rows("ended = '' AND expires_at <= ?", now):
            try:
                self._end(row, "expired", "", _NOBODY, now)
            except Refusal:
                # The log says it ended before: now the row does too.
                continue
        old = [row.ceremony for row in self._rows("ended <> '' AND ended_at <= ?", now - KEPT_MS)]
        if old:
            self._forget(old)

    def _forget(self, ceremonies: Sequence[str]) -> None:
        values = [(each,) for each in ceremonies]
        with _failures():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany("DELETE FROM ceremony_approvals WHERE ceremony = ?", values)
                self._database.executemany("DELETE FROM ceremonies WHERE ceremony = ?", values)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _end(self, row: _Row, end: Literal["used", "expired", "withdrawn"], by: str, uid: int, now: int) -> None:
        try:
            self._audit.append_many([approval_leaf(end, self._ceremony(row), by, uid, now)])
        except Fault as fault:
            if fault.reason != "duplicate":
                raise
            # The log has its end already, this file is behind: a kill came between, or it is an old copy. Which end it
            # was the log says; all that matters here is that there is no second one.
            self._set_ended(row, "used", now)
            raise _required("used", "the ceremony has ended") from fault
        self._set_ended(row, end, now)

    def _set_ended(self, row: _Row, end: str, now: int) -> None:
        with _failures():
            self._database.execute(
                "UPDATE ceremonies SET ended = ?, ended_at = ? WHERE ceremony = ?", (end, now, row.ceremony)
            )

    def _living(self, ceremony: str, now: int) -> _Row:
        self.expire(now)
        row = self._row(ceremony)
        if row.ended:
            raise _required(row.ended, "the ceremony has ended")
        return row

    def _row(self, ceremony: str) -> _Row:
        found = self._rows("ceremony = ?", ceremony) if _ID.fullmatch(ceremony) else ()
        if not found:
            raise _required("unknown_ceremony", "there is no such ceremony")
        return found[0]

    def _rows(self, condition: str, *values: object) -> list[_Row]:
        query = f"SELECT {_COLUMNS} FROM ceremonies WHERE {condition} ORDER BY requested_at, ceremony"  # noqa: S608  # constants
        with _failures():
            rows = self._database.execute(query, values).fetchall()
        return [_Row(*row) for row in rows]

    def _signatures(self, ceremony: str) -> list[tuple[str, str]]:
        query = "SELECT key, signature FROM ceremony_approvals WHERE ceremony = ? ORDER BY time, rowid"
        with _failures():
            return self._database.execute(query, (ceremony,)).fetchall()

    def _name(self, uid: int) -> str:
        own = next((each.name for each in self._approvals.approvers if each.uid == uid), "")
        return own or f"uid:{uid}"

    def _logged(self, row: _Row) -> bool:
        """Whether the log says the same of who asked for what, and when: this file can be written past it (T22)."""
        text = self._audit.leaf_of(request_id(row.ceremony))
        said = (row.ceremony, row.operation, row.payload_sha256, row.requester, row.requester_uid, row.requested_at)
        return text is not None and request_facts(text) == (*said, row.expires_at)

    def _message(self, row: _Row) -> bytes:
        return canonical_json(
            {
                "ceremony": row.ceremony,
                "operation": row.operation,
                "payload_sha256": row.payload_sha256,
                "requester": row.requester,
                "requester_uid": row.requester_uid,
                "expires_at": row.expires_at,
                "daemon": self.daemon,
            }
        )

    def _approved_by(self, row: _Row) -> tuple[str, ...]:
        """Return the approvers whose stored signatures count now: enrolled still, verified again, not who asked."""
        signatures = self._signatures(row.ceremony)
        if not signatures or not self._logged(row):
            return ()
        message = self._message(row)
        counted = {}
        for key, signature in signatures:
            enrolled = self._enrolled.get(key)
            if enrolled is None or _is_requester(enrolled.approver, row):
                continue
            try:
                parsed = SshSignature.parse(signature)
                parsed.verify(message, NAMESPACE)
            except SignerdError:
                continue
            if parsed.key == enrolled.key:
                counted[key] = enrolled.approver.name
        return tuple(counted.values())

    def _ceremony(self, row: _Row) -> Ceremony:
        needed = self.needed(row.operation)
        approved_by = self._approved_by(row)
        state: CeremonyState = "approved" if 0 < needed <= len(approved_by) else "open"
        return Ceremony(
            ceremony=row.ceremony,
            operation=row.operation,
            payload=row.payload,
            payload_sha256=row.payload_sha256,
            requester=row.requester,
            requester_uid=row.requester_uid,
            requested_at=row.requested_at,
            expires_at=row.expires_at,
            state=row.ended or state,
            needed=needed,
            approved_by=approved_by,
            message=self._message(row),
        )


def _is_requester(approver: Approver, row: _Row) -> bool:
    """By the uid of now and by the name of then: a change of the configuration makes nobody his own approver."""
    return approver.uid == row.requester_uid or approver.name == row.requester


def _check_payload(payload: bytes) -> None:
    if len(payload) > LARGEST_PAYLOAD:
        raise Refusal("request.too_large", "payload", "the payload of the operation is too large")
    try:
        canonical = canonicalise(payload).text == payload
    except Refusal:
        canonical = False
    if not canonical:
        raise Refusal("request.malformed", "payload_not_canonical", "the payload is no RFC 8785 JSON object")


def _required(reason: str, public: str) -> Refusal:
    return Refusal("approval.required", reason, public)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        _failed(exc)


def _failed(exc: Exception) -> NoReturn:
    raise Fault(
        "internal",
        f"approvals_{failure_reason(exc)}",
        "the ledger of approvals cannot be used",
        operator=f"ledger of approvals: {exc}",
    ) from exc
