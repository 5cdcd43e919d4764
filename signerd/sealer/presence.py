"""Approval by user presence: a key that needs it signs what somebody has touched an authenticator for (ADR 0020).

The first request of its kind is refused, and names an approval; the worker of the FIDO2 credential is then asked for an
assertion over the PAE's SHA-256, beside everything else. The same request, repeated under the approval's id, signs once
that assertion is there. What is pending is kept in memory alone: whoever asks after a restart begins anew. What was
accepted is a leaf, so that the authenticator's counter outlives this process.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from signerd.contracts.services import AuditStore, Clock
from signerd.contracts.validity import check_validity
from signerd.errors import Refusal, SignerdError
from signerd.sealer.backends import Backend
from signerd.sealer.job import Job, Pinned, Presented
from signerd.sealer.presence_leaf import counters_of, presence_leaf
from signerd.sealer.worker_call import Call, CallResult
from signerd.verification.fido2 import verify_assertion
from signerd.wire.decoding import BROKEN
from signerd.wire.worker_calls import CallError, SignParams, SignResultParams

__all__ = ["MOST_OVER", "MOST_PENDING", "MOST_PENDING_OF_TENANT", "RETRY_MS", "Presence", "Told"]

_log = logging.getLogger(__name__)

MOST_PENDING: Final = 256
"""Approvals that wait at a time: an authenticator gives a few a minute, and each costs some hundred bytes."""
MOST_PENDING_OF_TENANT: Final = 32
"""So a tenant that asks and never touches leaves room for seven others (T15)."""
MOST_OVER: Final = 1024
"""Approvals that are over and not asked for yet: beyond these the oldest are forgotten, as if they had never been."""
RETRY_MS: Final = 1000
"""When to ask again. A touch takes seconds; each question is a request, and counts for the plan's rate."""
_GRACE_S: Final = 5.0
"""Seconds that a worker has beyond the approval's time: it should say itself that nobody touched the key."""

_UNKNOWN: Final = CallError("request.conflict", "unknown_approval", "there is no such approval; ask for a new one")
_OTHER: Final = CallError("request.conflict", "other_request", "the approval was asked for another request")
_EXPIRED: Final = CallError("key.presence_required", "approval_expired", "the approval's time is over; ask again")
_SEVERAL: Final = CallError("key.forbidden", "several_approvers", "these keys are approved by different people")
_NO_CREDENTIAL: Final = CallError("key.backend_unavailable", "no_credential", "who approves is not known yet")
_REFUTED: Final = CallError("key.backend_fault", "assertion_refused", "the authenticator's worker failed")
_FULL: Final = CallError("daemon.overloaded", "approvals_pending", "too many approvals are waited for")

_sign_result: Final = msgspec.msgpack.Decoder(SignResultParams)


class Told(NamedTuple):
    """Why a request is not signed now; ``details`` name its approval where one is waited for."""

    error: CallError
    details: Mapping[str, str | int] = MappingProxyType({})
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class _Subject:
    """What an approval is for. The PAE's digest stands for payload and payload type, ``keys`` for their versions."""

    tenant: str
    principal: str
    pae_sha256: bytes
    keys: tuple[tuple[str, str, int], ...]


@dataclass(slots=True, eq=False)
class _Approval:
    """``deadline`` is monotonic seconds, ``expires_at`` the same in Unix milliseconds. ``error`` says how it ended."""

    id: str
    subject: _Subject
    statement_sha256: str
    approver: Pinned
    deadline: float
    expires_at: int
    given: Presented | None = None
    error: CallError | None = None


class Presence:
    """Pending approvals and counters. ``ring`` has the pinned versions by keyid, ``find`` returns the version of a
    credential that approves now, by reference.

    Raises ``audit.unavailable`` where the counters cannot be read.
    """

    def __init__(
        self,
        audit: AuditStore,
        ring: Mapping[str, Pinned],
        find: Callable[[str], Pinned | None],
        backends: Mapping[str, Backend],
        clock: Clock,
    ) -> None:
        self._audit = audit
        self._ring = ring
        self._find = find
        self._backends = backends
        self._clock = clock
        self._counters = counters_of(audit.presence_leaves())
        self._pending: dict[str, _Approval] = {}
        self._by_subject: dict[_Subject, _Approval] = {}
        self._over: dict[str, _Approval] = {}
        self._unrecorded: dict[str, _Approval] = {}
        self._queues: dict[str, deque[_Approval]] = {}
        self._asked: dict[str, _Approval] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def judge(self, job: Job) -> Told | None:
        """Return None where the job may be signed, the approval that it needs in ``job.presence`` and used up; else
        what its caller is told. The job's digests must be known.

        ``key.presence_required``: with ``approval_id`` and ``expires_at`` in the details while one is waited for, else
        with reason ``approval_expired`` or what the worker says. ``request.conflict``: ``unknown_approval`` (also for
        another caller's), ``other_request``. ``key.forbidden``, ``several_approvers``; ``daemon.overloaded``,
        ``approvals_pending``; and what is wrong with the credential or its backend.
        """
        needed = {pinned.presence for pinned in job.keys if pinned.presence}
        if job.item.approval_id:
            return self._repeated(job)
        if not needed:
            return None
        if len(needed) > 1:
            return Told(_SEVERAL)
        return self._first(job, needed.pop())

    def recorded(self, audit_id: str, durable: bool) -> None:  # a fact, not an option
        """Take note that the refusal which named an approval is on the record, or never will be; nobody is asked to
        touch anything before."""
        approval = self._unrecorded.pop(audit_id, None)
        if approval is None:
            return
        if durable:
            self._queues.setdefault(approval.approver.backend, deque()).append(approval)
        else:
            self._drop(approval)

    def turn(self) -> None:
        """End what has had its time, and ask for the next touch wherever none is waited for."""
        now = self._clock.monotonic()
        for approval in [each for each in self._pending.values() if now >= each.deadline]:
            self._end(approval, _EXPIRED)
        for backend, queue in self._queues.items():
            while queue and backend not in self._asked:
                approval = queue.popleft()
                if approval.id in self._pending:
                    self._ask(backend, approval)

    def next_look(self) -> float | None:
        """Return when :meth:`turn` has something to do although nothing comes, in monotonic seconds."""
        if any([queue and backend not in self._asked for backend, queue in self._queues.items()]):
            return float("-inf")
        return min([approval.deadline for approval in self._pending.values()], default=None)

    def _first(self, job: Job, reference: str) -> Told:
        approver = self._find(reference)
        error = _NO_CREDENTIAL if approver is None or approver.credential is None else self._unfit(approver)
        if error is not None:
            return Told(error)
        assert approver is not None
        subject = _subject(job)
        approval = self._by_subject.get(subject)
        if approval is not None and self._clock.monotonic() < approval.deadline:
            return _waiting(approval)
        if approval is not None:
            self._drop(approval)
        of_tenant = sum([each.subject.tenant == subject.tenant for each in self._pending.values()])
        if len(self._pending) >= MOST_PENDING or of_tenant >= MOST_PENDING_OF_TENANT:
            return Told(_FULL, retry_after_ms=RETRY_MS)
        seconds = min([pinned.presence_s for pinned in job.keys if pinned.presence])
        approval = _Approval(
            os.urandom(16).hex(),
            subject,
            job.statement_sha256,
            approver,
            self._clock.monotonic() + seconds,
            self._clock.now_ms() + int(seconds * 1000),
        )
        self._pending[approval.id] = self._by_subject[subject] = approval
        self._unrecorded[job.item.audit_id] = approval
        return _waiting(approval)

    def _repeated(self, job: Job) -> Told | None:
        approval_id, subject = job.item.approval_id, _subject(job)
        approval = self._pending.get(approval_id) or self._over.get(approval_id)
        if approval is None or (approval.subject.tenant, approval.subject.principal) != (
            subject.tenant,
            subject.principal,
        ):
            return Told(_UNKNOWN)
        if approval.subject != subject:
            return Told(_OTHER)
        if approval.error is None and self._clock.monotonic() >= approval.deadline:
            self._end(approval, _EXPIRED)
        if approval.error is not None:
            self._drop(approval)
            return Told(approval.error)
        if approval.given is None:
            return _waiting(approval)
        self._drop(approval)
        error = self._unfit(approval.approver)
        if error is not None:
            return Told(error)
        job.presence = approval.given
        return None

    def _unfit(self, approver: Pinned) -> CallError | None:
        """Return why a credential does not approve now."""
        try:
            current = self._ring[approver.entry.keyid]
        except KeyError:
            return _NO_CREDENTIAL
        try:
            check_validity(current.entry, self._clock.now_ms())
        except SignerdError as error:
            return CallError(error.code, error.reason, error.public)
        return current.unfit

    def _ask(self, backend: str, approval: _Approval) -> None:
        self._asked[backend] = approval
        params = SignParams(approval.approver.entry.name, approval.subject.pae_sha256)
        seconds = approval.deadline - self._clock.monotonic() + _GRACE_S
        call = Call("sign", params, partial(self._answered, backend, approval), deadline_s=seconds)
        self._backends[backend].call_many([call])

    def _answered(self, backend: str, approval: _Approval, result: CallResult) -> None:
        self._asked.pop(backend, None)
        if approval.id not in self._pending:
            return  # its time is over: what comes late approves nothing
        if self._clock.monotonic() >= approval.deadline:
            self._end(approval, _EXPIRED)
        elif isinstance(result, CallError):
            self._end(approval, result)
        else:
            try:
                self._accept(approval, result)
            except SignerdError as error:
                _log.error("approval %s: %s", approval.id, error)
                self._end(approval, CallError(error.code, error.reason, error.public))

    def _accept(self, approval: _Approval, result: msgspec.Raw) -> None:
        """Verify the assertion, and keep its counter before anything is signed by it."""
        approver, subject = approval.approver, approval.subject
        entry = approver.entry
        assert approver.credential is not None
        try:
            answer = _sign_result.decode(result)
            if answer.keyid != entry.keyid:
                raise Refusal("verification.failed", "credential", "the assertion names another credential")
            counter = verify_assertion(
                answer.signature, subject.pae_sha256, approver.credential, self._counters.get(entry.keyid, 0)
            ).counter
        except (SignerdError, ValueError, *BROKEN) as error:
            # A counter that goes back may be the authenticator's copy; whoever answers is not asked again at once.
            self._backends[approver.backend].condemn(f"an assertion by {entry.key} does not verify: {error}")
            self._end(approval, _REFUTED)
            return
        leaf = presence_leaf(
            approval.id,
            (entry.key, entry.keyid),
            (subject.tenant, subject.principal),
            (approval.statement_sha256, subject.pae_sha256.hex()),
            counter,
            answer.signature,
            self._clock.now_ms(),
        )
        self._audit.append_many([leaf])
        self._counters[entry.keyid] = counter
        approval.given = Presented(approval.id, approver, answer.signature, counter)

    def _end(self, approval: _Approval, error: CallError) -> None:
        """Let an approval be over; whoever asks for it next is told why, once."""
        self._drop(approval)
        approval.error, approval.given = error, None
        self._over[approval.id] = approval
        if len(self._over) > MOST_OVER:
            del self._over[next(iter(self._over))]

    def _drop(self, approval: _Approval) -> None:
        self._pending.pop(approval.id, None)
        self._over.pop(approval.id, None)
        if self._by_subject.get(approval.subject) is approval:
            del self._by_subject[approval.subject]


def _subject(job: Job) -> _Subject:
    decision = job.item.decision
    keys = tuple([(pinned.entry.key, pinned.entry.keyid, pinned.entry.version) for pinned in job.keys])
    return _Subject(decision.tenant, decision.principal, job.pae_sha256, keys)


def _waiting(approval: _Approval) -> Told:
    key = approval.approver.entry.key
    error = CallError("key.presence_required", "touch", f"touch the authenticator {key}, and repeat the request")
    details: dict[str, str | int] = {"approval_id": approval.id, "expires_at": approval.expires_at, "key": key}
    return Told(error, details, RETRY_MS)
