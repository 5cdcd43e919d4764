"""MACs: decide on the record, have the key's worker make or compare them meanwhile, release.

What :mod:`signerd.sealer.seal` does for signatures, but for one thing: the sealer has no secret, so it cannot verify
what a worker made before it is released. It compares keyid and length, and that is all.

The data may be a file of the caller's, on a disk that hangs. Only the worker looks at it, in a thread of that call, and
a tenant has no more than :data:`MOST_FILES` of them at once, those included that nobody waits for any more (T19).
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from signerd.attestation.macs import MACS
from signerd.contracts.services import AuditStore, Clock, Leaf
from signerd.errors import SignerdError
from signerd.host.closing import close_foreign, held
from signerd.sealer.admission import check_id, mac_key_of, refusal_of
from signerd.sealer.answers import Answers
from signerd.sealer.backends import Backend
from signerd.sealer.group import Group, Groups
from signerd.sealer.job import Pinned, Violation
from signerd.sealer.leaves import outcome_leaf
from signerd.sealer.mac_leaves import decided_mac_leaf
from signerd.sealer.turns import Turns
from signerd.sealer.worker_call import Call, CallResult
from signerd.sealer.worker_errors import KEY
from signerd.wire.decoding import BROKEN
from signerd.wire.links import Close, RefusedRecord, outcome_of
from signerd.wire.mac_calls import CheckHmacParams, CheckHmacResult, HmacParams, HmacResult
from signerd.wire.mac_links import Maced, MacItem, MacOutcome
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import CallError, DescribeParams

__all__ = ["AT_ONCE_BYTES", "MOST_FILES", "MOST_LONG", "MacJob", "MacSealing"]

_log = logging.getLogger(__name__)

MOST_FILES: Final = 8
"""Files of one tenant that its workers have in hand at once: each takes a thread there."""
MOST_LONG: Final = 4
"""Calls of one tenant over longer data inline that the workers have at once; the rest waits here, for each takes a
thread there too, and the slow algorithms all of the interpreter."""
AT_ONCE_BYTES: Final = 4 * 1024
"""What comes inline and is not longer is made at once: a worker that does not answer in its usual time hangs."""
GRACE_S: Final = 0.5
"""Seconds that a worker has beyond the request's time: the front end says first that this is over, and withdraws."""
CUT_SHORT: Final = frozenset({"cancelled", "fault", "refused", "unknown"})
_ANSWER: Final = CallError("key.backend_fault", "answer", "the key's backend failed")
_GIVEN_UP: Final = "the request was given up"
_made: Final = msgspec.msgpack.Decoder(HmacResult)
_checked: Final = msgspec.msgpack.Decoder(CheckHmacResult)


@dataclass(slots=True, eq=False)
class MacJob:
    """A ``MacItem`` with what became of it. It is answered when it is on the record and the worker has answered."""

    item: MacItem
    pinned: Pinned
    deadline: float
    call: Call | None = None
    durable: bool = False
    result: Maced | None = None
    error: CallError | None = None
    ended: str = ""
    answered: bool = False

    @property
    def involved(self) -> tuple[Pinned, ...]:
        """The one key."""
        return (self.pinned,)

    @property
    def expires_at(self) -> int:
        """When the principal's credential ends, Unix milliseconds; 0 is never."""
        return self.item.principal_expires_at

    def unfit(self, pinned: Pinned) -> None:
        """Return nothing: any secret makes a MAC of anything."""

    def decided(self, now: int) -> Leaf:
        """Return the ``decided`` leaf."""
        return decided_mac_leaf(self.item, now)


class MacSealing:
    """The work, without its loop: feed it what came, call :meth:`turn`, send the ``answers`` that it leaves."""

    def __init__(
        self, store: AuditStore, ring: Mapping[str, Pinned], backends: Mapping[str, Backend], clock: Clock
    ) -> None:
        self._ring = ring
        self._backends = backends
        self._clock = clock
        self._groups: Groups[MacJob] = Groups(store, clock)
        self._jobs: dict[str, MacJob] = {}
        self._undelivered: dict[str, MacJob] = {}
        self._files: Counter[str] = Counter()
        self._long = Turns(MOST_LONG)
        self.answers: Answers[MacOutcome] = Answers(_unrecorded)

    def admit(self, item: MacItem, fd: int | None) -> None:
        """Check one item against the ring, decide, and ask its worker. Takes ``fd`` over unless it raises.

        Raises Violation for what no honest front end sends.
        """
        audit_id = item.audit_id
        check_id(audit_id)
        if audit_id in self._jobs or audit_id in self._undelivered or self.answers.holds(audit_id):
            raise Violation("audit_id_twice", audit_id)
        pinned = mac_key_of(item, self._ring)
        data = item.data
        if (data.size if isinstance(data, Descriptor) else len(data)) != item.decision.size:
            raise Violation("mac_size", audit_id)
        job = MacJob(item, pinned, self._clock.monotonic() + item.deadline_ms / 1000)
        error = refusal_of(job, self._ring, self._clock) or self._overloaded(job, fd)
        if error is not None:
            close_foreign(_owner(job), () if fd is None else (fd,))
            self._refuse(job, error)
            return
        self._jobs[audit_id] = job
        self._groups.decide(job)
        self._ask(job, fd)

    def holds(self, audit_id: str) -> bool:
        """Whether a ``close`` of that id is about a MAC."""
        return audit_id in self._jobs or audit_id in self._undelivered or self.answers.expects_close(audit_id)

    def close(self, close: Close) -> None:
        """Take how a record that :meth:`holds` ended, as the front end saw it."""
        delivered = self._undelivered.pop(close.audit_id, None)
        if delivered is not None:
            self._end(delivered, _outcome(delivered, undelivered=close.outcome != "computed"), close.code)
            return
        job = self._jobs.get(close.audit_id)
        if job is None:
            self.answers.closed(close.audit_id)
            return
        if job.ended:
            raise Violation("close_twice", close.audit_id)
        if close.outcome not in CUT_SHORT:
            raise Violation("close_before_sealed", close.audit_id)
        job.ended = close.outcome
        job.error = job.error or CallError(close.code or "internal", "given_up", _GIVEN_UP)
        self._withdraw(job)
        if close.code == "request.deadline":
            self._probe(job)
        if job.durable:
            self._fail(job)

    def turn(self) -> None:
        """Commit what waits, while the workers work."""
        self._groups.commit(self._committed)

    def next_look(self) -> float | None:
        """Return when :meth:`turn` has something to do although nothing comes, in monotonic seconds."""
        return self._groups.next_look()

    def give_up(self) -> None:
        """Close what is open with ``unknown``: the front end has gone."""
        for job in [*self._jobs.values(), *self._undelivered.values()]:
            job.answered = True
            if job.durable:
                self._end(job, "unknown", "")
            else:
                item = job.item
                self._groups.refuse(
                    RefusedRecord(item.audit_id, item.request, "fault", "audit.unavailable", "link_closed")
                )
        self._jobs.clear()
        self._undelivered.clear()
        error = self._groups.append_rest()
        if error is not None:
            _log.error("audit log: %s while closing", error)

    def _overloaded(self, job: MacJob, fd: int | None) -> CallError | None:
        if fd is None or self._files[job.item.decision.tenant] + held(_owner(job)) < MOST_FILES:
            return None
        return CallError("daemon.overloaded", "mac_files", "too many files of this tenant are read at once")

    def _ask(self, job: MacJob, fd: int | None) -> None:
        item, tenant = job.item, job.item.decision.tenant
        if fd is not None:
            self._files[tenant] += 1
            self._call(job, (fd,), partial(self._read, tenant))
        elif item.decision.size <= AT_ONCE_BYTES:
            self._call(job)
        else:
            self._long.take(tenant, partial(self._call_long, job))
        self._backends[job.pinned.backend].flush()

    def _call_long(self, job: MacJob) -> bool:
        """Ask the worker, unless nobody waits for it any more."""
        if job.answered or job.ended:
            return False
        self._call(job, (), partial(self._long.over, job.item.decision.tenant))
        return True

    def _call(self, job: MacJob, fds: tuple[int, ...] = (), over: Callable[[], None] | None = None) -> None:
        """Ask the worker; ``over`` is told once it has nothing more to do with it, and None where that is at once."""
        item = job.item
        data = Descriptor(0, item.decision.size) if fds else item.data
        name, algorithm = job.pinned.entry.name, item.decision.algorithm
        left = max(0.0, job.deadline - self._clock.monotonic())
        job.call = Call(
            "hmac" if item.mac is None else "check_hmac",
            HmacParams(name, algorithm, data) if item.mac is None else CheckHmacParams(name, algorithm, data, item.mac),
            partial(self._worked, job),
            fds,
            alone=True,
            seconds=None if over is None else left + GRACE_S,
            closing=partial(close_foreign, _owner(job)),
            over=over,
        )
        self._backends[job.pinned.backend].call_many([job.call])

    def _read(self, tenant: str) -> None:
        self._files[tenant] -= 1
        if not self._files[tenant]:
            del self._files[tenant]

    def _withdraw(self, job: MacJob) -> None:
        if job.call is not None:
            self._backends[job.pinned.backend].withdraw(job.call.done)

    def _worked(self, job: MacJob, result: CallResult) -> None:
        """Take the worker's outcome."""
        if isinstance(result, CallError):
            if result is KEY.late:
                self._probe(job)
            job.error = job.error or result
        elif job.error is None:
            job.result = self._read_result(job, result)
            job.error = _ANSWER if job.result is None else None
        self._settle(job)

    def _probe(self, job: MacJob) -> None:
        """Ask a worker that is late something that it must answer at once: it may hang, or a caller's file may."""
        describe = Call("describe", DescribeParams(job.pinned.entry.name), _nothing)
        self._backends[job.pinned.backend].call_many([describe])

    def _read_result(self, job: MacJob, raw: msgspec.Raw) -> Maced | None:
        """Return what the worker says; one that names another key, or makes what is no MAC, is condemned (T17)."""
        try:
            if job.item.mac is None:
                made = _made.decode(raw)
                keyid, fits = made.keyid, len(made.mac) == MACS[job.item.decision.algorithm].mac_bytes
                maced = Maced(mac=made.mac)
            else:
                found = _checked.decode(raw)
                keyid, fits, maced = found.keyid, True, Maced(valid=found.valid)
        except BROKEN:
            keyid, fits, maced = "", False, Maced()
        if fits and keyid == job.pinned.entry.keyid:
            return maced
        self._backends[job.pinned.backend].condemn(f"an answer that is no MAC of {job.pinned.entry.key}")
        return None

    def _committed(self, group: Group[MacJob], result: int | SignerdError) -> None:
        error = None
        if isinstance(result, SignerdError):
            if result.reason == "duplicate":
                for refusal in group.refusals:
                    self._groups.refuse(refusal)
                raise Violation("audit_id_twice")
            _log.error("audit log: %s", result)
            error = CallError(result.code, result.reason, result.public)
        self.answers.note(group.refusals, error)
        for job in group.waiting:
            if error is None:
                job.durable = True
                self._settle(job)
            else:
                self._not_recorded(job, error)

    def _not_recorded(self, job: MacJob, error: CallError) -> None:
        job.answered = True
        self._withdraw(job)
        self._jobs.pop(job.item.audit_id, None)
        if not job.ended:
            self.answers.expect_close(job.item.audit_id)
        self.answers.deny(job.item.audit_id, error)

    def _settle(self, job: MacJob) -> None:
        """Answer the job if it is on the record and the worker has answered, or it has failed."""
        if not job.durable or job.answered:
            return
        if job.error is None and job.result is not None:
            # A key that was revoked meanwhile releases nothing.
            job.error = refusal_of(job, self._ring, self._clock)
        if job.error is not None:
            self._fail(job)
        elif job.result is not None:
            job.answered = True
            self._undelivered[job.item.audit_id] = self._jobs.pop(job.item.audit_id)
            self.answers.give(MacOutcome(job.item.audit_id, ok=job.result))

    def _refuse(self, job: MacJob, error: CallError) -> None:
        """Refuse before ``decided``: one leaf, and the answer once it is durable."""
        item = job.item
        outcome = outcome_of(error.code)
        self._groups.refuse(RefusedRecord(item.audit_id, item.request, outcome, error.code, error.reason))
        self.answers.hold(item.audit_id, MacOutcome(item.audit_id, error=error))
        self.answers.expect_close(item.audit_id)

    def _fail(self, job: MacJob) -> None:
        """Close a decided record of which nothing is released."""
        assert job.error is not None
        job.answered = True
        self._jobs.pop(job.item.audit_id, None)
        self._end(job, job.ended or outcome_of(job.error.code), job.error.code)
        if not job.ended:
            self.answers.expect_close(job.item.audit_id)
        self.answers.give(MacOutcome(job.item.audit_id, error=job.error))

    def _end(self, job: MacJob, outcome: str, code: str) -> None:
        item = job.item
        self._groups.close(
            outcome_leaf(item.audit_id, item.decision.tenant, self._clock.now_ms(), outcome, code)
        )


def _outcome(job: MacJob, *, undelivered: bool) -> str:
    """Return how a record ended whose answer has left: what was compared is told whoever heard of it."""
    if job.item.mac is not None:
        assert job.result is not None
        return "valid" if job.result.valid else "invalid"
    return "computed_undelivered" if undelivered else "computed"


def _owner(job: MacJob) -> tuple[str, str]:
    return job.item.decision.tenant, job.item.decision.principal


def _nothing(result: CallResult) -> None:
    """Take the answer to a probe: that there is one is all."""
    del result


def _unrecorded(audit_id: str, error: CallError) -> MacOutcome:
    return MacOutcome(audit_id, error=error, recorded=False)
