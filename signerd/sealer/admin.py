"""The admin plane's desk: decodes what the front end relays unread, asks for approvals, and has it done.

The front end may be broken (T27), so nothing that it says stands for an approval: that is a signature over this very
order, which the ledger checks here. What is refused is on record as what is done is.
"""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar, cast

import msgspec
from msgspec import UNSET, Raw

from signerd.contracts.services import AuditStore, Clock
from signerd.errors import Refusal, SignerdError
from signerd.host.memfd import sealed_memfd
from signerd.sealer.admin_leaves import AdminFacts, admin_leaf, ring_change
from signerd.sealer.admin_views import approval_of, approval_rows, change_of, version_row
from signerd.sealer.approvals import ApprovalLedger
from signerd.sealer.grants import Grants
from signerd.sealer.job import Violation
from signerd.sealer.leaves import refused_leaf
from signerd.sealer.life import Life
from signerd.sealer.publish import publication
from signerd.wire import admin
from signerd.wire.links import AdminAnswer, AdminCall, Answer, PeerFacts, Query, RefusedRecord, RequestFacts, outcome_of
from signerd.wire.methods import ADMIN_RELAYED, decode_params
from signerd.wire.orders import KeyOrder, Operation
from signerd.wire.params import Descriptor
from signerd.wire.ring import Grant, RingEntry
from signerd.wire.worker_calls import CallError

__all__ = ["AdminDesk", "Hands"]

PAGE: Final = 200
"""Versions or changes in an answer: well below a frame, also with long references."""
INLINE_MOST: Final = 1024 * 1024
"""Bytes of a published document within a frame, at most; three of them fit."""
_READS: Final = frozenset({"keys.versions", "keys.history", "keys.publish", "approval.list", "approval.describe"})
_ORDERS: Final = frozenset(f"keys.{name}" for name in ("generate", "rotate", "suspend", "resume", "revoke", "retire"))
_encode: Final = msgspec.msgpack.Encoder().encode
_canonical: Final = msgspec.json.Encoder(order="sorted").encode

T = TypeVar("T")
Reply = Callable[["msgspec.Struct | SignerdError"], None]


class Hands(Protocol):
    """What the desk has done by the sealer's process."""

    def answer(self, answer: AdminAnswer, fds: tuple[int, ...]) -> None:
        """Send an answer; takes ``fds`` over."""

    def aside(self, work: Callable[[], T], done: Callable[[T | SignerdError], None]) -> None:
        """Run ``work`` beside the loop, then ``done`` within it."""

    def read_log(self, query: Query) -> Answer:
        """Read the log; to be called aside."""

    def confirm_pins(self) -> tuple[str, ...]:
        """Let the backends whose PIN is latched present it again; returns their names."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call: who asked for what, and where its end goes."""

    method: str
    uid: int
    reply: Reply

    @property
    def by(self) -> str:
        return f"uid:{self.uid}"


class AdminDesk:
    """``uids`` are who is let in, as the configuration says; ``tenants`` are the configured ones."""

    def __init__(
        self,
        hands: Hands,
        life: Life,
        approvals: ApprovalLedger,
        grants: Grants,
        audit: AuditStore,
        clock: Clock,
        uids: Collection[int],
        tenants: Collection[str],
    ) -> None:
        self._hands = hands
        self._life = life
        self._approvals = approvals
        self._grants = grants
        self._audit = audit
        self._clock = clock
        self._uids = uids
        self._tenants = tenants

    def call(self, call: AdminCall) -> None:
        """Take one call and answer it once, now or later.

        Raises Violation for what no honest front end relays: a method that is not the admin plane's, a uid that is
        not let in (none is where the admin plane is off).
        """
        if call.uid not in self._uids or call.method not in ADMIN_RELAYED:
            raise Violation("admin_call")
        asked = _Asked(call.method, call.uid, lambda result: self._ended(call, result))
        try:
            self._do(asked, decode_params(call.method, Raw(call.params)))
        except SignerdError as error:
            asked.reply(error)

    def _do(self, asked: _Asked, params: msgspec.Struct) -> None:
        """Have it done, or raise why not; ``asked.reply`` gets the result."""
        if asked.method in _ORDERS:
            self._order(asked, params)
        elif isinstance(params, admin.KeysVersions):
            asked.reply(self._versions(params))
        elif isinstance(params, admin.KeyHistory):
            self._history(asked, params)
        elif asked.method == "keys.publish":
            entries, now = self._life.backed(), self._clock.now_ms()
            self._hands.aside(lambda: _published(entries, now), asked.reply)
        elif isinstance(params, admin.AdminBypass):
            asked.reply(self._bypass(asked, params))
        elif isinstance(params, admin.ApproveRelease):
            asked.reply(self._approve_release(asked, params))
        elif isinstance(params, admin.AdminConfirm):
            asked.reply(self._confirm(asked, params))
        elif isinstance(params, admin.AdminReload):
            self._record(AdminFacts(asked.method, asked.by, params.reason or ""))
            asked.reply(admin.Done())
        else:
            asked.reply(self._ceremony(asked, params))

    # Keys.

    def _order(self, asked: _Asked, params: msgspec.Struct) -> None:
        given = _given(params)
        operation = cast("Operation", asked.method.partition(".")[2])
        key = str(given["key"])
        if operation != "generate" and not self._life.versions(key):
            raise Refusal("key.not_found", "no_such_key", "no such key")
        self._cleared(asked, params)
        order = msgspec.convert({**given, "operation": operation, "by": asked.by}, KeyOrder)

        def done(result: tuple[RingEntry, ...] | SignerdError) -> None:
            if isinstance(result, SignerdError):
                asked.reply(result)
            else:
                asked.reply(admin.KeyVersions(self._rows(result)))

        self._life.order(order, done)

    def _rows(self, entries: Sequence[RingEntry]) -> tuple[admin.KeyVersion, ...]:
        now = self._clock.now_ms()
        return tuple([version_row(entry, now) for entry in entries])

    def _versions(self, params: admin.KeysVersions) -> admin.KeyVersions:
        start = int(params.cursor or 0)
        entries = self._life.versions(params.key or "")
        page = self._rows(entries[start : start + PAGE])
        return admin.KeyVersions(page, str(start + PAGE) if len(entries) > start + PAGE else UNSET)

    def _history(self, asked: _Asked, params: admin.KeyHistory) -> None:
        start = int(params.cursor or 0)
        if params.key:
            changes = self._life.history(params.key)
            page = tuple(map(change_of, changes[start : start + PAGE]))
            more = len(changes) > start + PAGE
            asked.reply(admin.KeyChanges(page, str(start + PAGE) if more else UNSET))
            return
        query = Query(0, None, {"kind": "ring"}, start, PAGE)

        def read() -> admin.KeyChanges:
            answer = self._hands.read_log(query)
            changes = tuple([change_of(ring_change(text)) for text in answer.records])
            return admin.KeyChanges(changes, str(answer.next) if answer.next else UNSET)

        self._hands.aside(read, asked.reply)

    # Exceptions, and what waits for a person.

    def _bypass(self, asked: _Asked, params: admin.AdminBypass) -> admin.Granted:
        self._check_tenant(params.tenant)
        self._grants.check("bypass", params.expires_at)
        act = self._act(asked, params, params.reason)
        return _granted(self._grants.bypass(params.tenant, params.plan, params.expires_at, act))

    def _approve_release(self, asked: _Asked, params: admin.ApproveRelease) -> admin.Granted:
        if params.tenant is not UNSET:
            self._check_tenant(params.tenant)
        self._grants.check("release", params.expires_at)
        act = self._act(asked, params, params.reason)
        tenant, version = params.tenant or "", params.version or ""
        return _granted(self._grants.release(params.digest, tenant, version, params.expires_at, act))

    def _confirm(self, asked: _Asked, params: admin.AdminConfirm) -> admin.Done:
        if params.what != "pin":
            raise Refusal(
                "request.unsupported",
                "nothing_waits",
                "nothing waits for that in this version",
                details={"name": params.what},
            )
        self._record(self._act(asked, params, params.reason))
        return admin.Done(backends=self._hands.confirm_pins())

    def _check_tenant(self, tenant: str) -> None:
        if tenant not in self._tenants:
            raise Refusal("request.malformed", "no_such_tenant", "no such tenant is configured")

    # Approvals.

    def _ceremony(self, asked: _Asked, params: msgspec.Struct) -> msgspec.Struct:
        now = self._clock.now_ms()
        if isinstance(params, admin.ApprovalSubmit):
            return approval_of(self._approvals.submit(params.ceremony, params.signature, asked.uid, now))
        if isinstance(params, admin.ApprovalOf):
            if asked.method == "approval.withdraw":
                return approval_of(self._approvals.withdraw(params.ceremony, asked.uid, now))
            return approval_of(self._approvals.ceremony(params.ceremony, now))
        return approval_rows(self._approvals.ceremonies(now)[-PAGE:])

    def _act(self, asked: _Asked, params: msgspec.Struct, reason: str) -> AdminFacts:
        return AdminFacts(asked.method, asked.by, reason, ceremony=self._cleared(asked, params))

    def _cleared(self, asked: _Asked, params: msgspec.Struct) -> str:
        """Return the ceremony whose approvals this order uses up, empty where it needs none.

        Without them ``approval.required``: ``details`` name the ceremony that waits for them, ``needed`` and
        ``expires_at``. What the approvers signed is the order itself, byte for byte.
        """
        given = getattr(params, "approval_id", UNSET)
        payload = _canonical(_given(params))
        now = self._clock.now_ms()
        if given is not UNSET:
            return self._approvals.consume(given, asked.method, payload, asked.uid, now).ceremony
        if not self._approvals.needed(asked.method):
            return ""
        made = self._approvals.request(asked.method, payload, asked.uid, now)
        raise Refusal(
            "approval.required",
            "not_enough",
            "this operation waits for approvals",
            details={"ceremony": made.ceremony, "needed": made.needed, "expires_at": made.expires_at},
        )

    # Answers and records.

    def _ended(self, call: AdminCall, result: msgspec.Struct | SignerdError) -> None:
        if isinstance(result, SignerdError):
            self._record_refused(call, result)
            error = CallError(result.code, result.reason, result.public, str(result.args[0]))
            details = {name: value for name, value in result.details.items() if name != "reason"}
            self._hands.answer(AdminAnswer(call.id, error=error, details=details), ())
            return
        fds: tuple[int, ...] = ()
        if isinstance(result, admin.Published):
            result, fds = _by_memfd(result, max(0, min(call.inline_max, INLINE_MOST)))
        self._hands.answer(AdminAnswer(call.id, _encode(result)), fds)

    def _record(self, facts: AdminFacts) -> None:
        self._audit.append_many([admin_leaf(facts, self._clock.now_ms())])

    def _record_refused(self, call: AdminCall, error: SignerdError) -> None:
        """Put what was tried and refused on record; where that cannot be, nothing was done either."""
        if call.method in _READS or error.code == "audit.unavailable":
            return
        facts = RequestFacts(call.method, PeerFacts(call.uid, 0), principal=f"uid:{call.uid}")
        audit_id = f"admin-{os.urandom(12).hex()}"
        refused = RefusedRecord(audit_id, facts, outcome_of(error.code), error.code, error.reason)
        try:
            self._audit.append_many([refused_leaf(refused, self._clock.now_ms())])
        except SignerdError:
            return


def _given(params: msgspec.Struct) -> dict[str, object]:
    """Return what an order says, less the approval that it brings: this is what approvers sign."""
    fields = {name: getattr(params, name) for name in params.__struct_fields__ if name != "approval_id"}
    return {name: value for name, value in fields.items() if value is not UNSET}


def _published(entries: Sequence[RingEntry], now: int) -> admin.Published:
    files = publication(entries, now)
    return admin.Published(*[files[f"{name}.json"] for name in admin.Published.__struct_fields__])


def _granted(grant: Grant) -> admin.Granted:
    return admin.Granted(grant.id, grant.expires_at)


def _by_memfd(documents: admin.Published, limit: int) -> tuple[admin.Published, tuple[int, ...]]:
    """Return the documents with those above ``limit`` bytes in memfds, and those."""
    fds: list[int] = []
    moved: list[bytes | Descriptor] = []
    for name in documents.__struct_fields__:
        value = getattr(documents, name)
        if len(value) > limit:
            fds.append(sealed_memfd(name, value))
            value = Descriptor(len(fds) - 1, len(value))
        moved.append(value)
    return admin.Published(*moved), tuple(fds)
