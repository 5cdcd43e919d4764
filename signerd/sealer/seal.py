"""What the sealer does: decide on the record, have it signed meanwhile, verify, release.

The newcomer's path through this file is the class :class:`Sealing`, top to bottom: ``admit`` checks an item against
the ring (by :mod:`signerd.sealer.admission`), ``ask`` sends it to its workers, ``commit`` makes the group's leaves
durable, ``judge`` verifies what came back, ``release`` answers what is both durable and verified. Nothing is released
that is not (promises 2 and 4).
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, cast

from signerd.contracts.services import AuditStore, Clock
from signerd.errors import SignerdError
from signerd.sealer import large
from signerd.sealer.admission import check_id, check_payload, keys_of, refusal_of
from signerd.sealer.answers import Answers
from signerd.sealer.aside import Aside
from signerd.sealer.asking import calls_of
from signerd.sealer.backends import Backend
from signerd.sealer.cose import assemble_cose
from signerd.sealer.group import Group, Groups, closing_leaf
from signerd.sealer.job import Job, Made, Pinned, Violation
from signerd.sealer.judging import Judging
from signerd.sealer.presence import Presence
from signerd.sealer.publishing import Publishing
from signerd.sealer.signatures import Refuted, assemble
from signerd.sealer.tree import leaf_hash
from signerd.sealer.worker_call import Call, CallResult
from signerd.wire.links import Close, PeerFacts, RefusedRecord, RequestFacts, Sealed, SealItem, SealOutcome, outcome_of
from signerd.wire.worker_calls import CallError

__all__ = ["Sealing"]

_log = logging.getLogger(__name__)
DELIVERED: Final = frozenset({"signed", "signed_undelivered"})
CUT_SHORT: Final = frozenset({"cancelled", "fault", "refused", "unknown"})
_NONE: Final[Mapping[str, str | int]] = {}
_REFUTED: Final = CallError("key.backend_fault", "signature_refused", "the key's backend failed")


class Sealing:
    """The sealer's work, without its loop. Feed it what came, call :meth:`turn`, send what it leaves.

    ``answers`` are for the front end. Between two turns nothing is half done: a leaf is durable or it is still in the
    group. ``ring`` has the pinned versions by keyid. What takes long runs in ``aside``, and what Python itself must
    verify in ``verifying``.
    """

    def __init__(
        self,
        store: AuditStore,
        ring: Mapping[str, Pinned],
        backends: Mapping[str, Backend],
        clock: Clock,
        aside: Aside,
        publishing: Publishing | None = None,
        verifying: Aside | None = None,
        presence: Presence | None = None,
    ) -> None:
        self._publishing = publishing or Publishing()
        self._ring = ring
        self._backends = backends
        self._clock = clock
        self._aside = aside
        self.judging = Judging(verifying or aside, clock)
        # Without credentials nothing is approved: a key that needs presence does not sign.
        self._presence = Presence(store, ring, lambda _: None, backends, clock) if presence is None else presence
        self._groups: Groups[Job] = Groups(store, clock)
        self._jobs: dict[str, Job] = {}
        self._undelivered: dict[str, Job] = {}
        self._calls: dict[str, list[Call]] = {}
        self.answers: Answers[SealOutcome] = Answers(_unrecorded)

    # What came from the front end.

    def admit(self, item: SealItem, payload_fd: int | None) -> None:
        """Check one item against the ring, and put it into the group. Takes ``payload_fd`` over unless it raises.

        Raises Violation for what no honest front end sends: an id used twice, a key that is not the tenant's.
        """
        audit_id = item.audit_id
        self._check_id(audit_id)
        if not self._publishing.serves(item.decision):
            raise Violation("foreign_publisher", audit_id)
        keys = keys_of(item, self._ring)
        if payload_fd is not None:
            check_payload(item, payload_fd)
        job = Job(item, keys, self._clock.monotonic() + item.deadline_ms / 1000, payload_fd)
        error = refusal_of(job, self._ring, self._clock)
        if error is not None:
            self._refuse(job, error)
            return
        self._jobs[audit_id] = job
        if payload_fd is None:
            job.hash_inline(cast("bytes", item.payload))
            self.ask(job)
        else:
            job.aside += 1
            self._aside.run(partial(large.hash_payload, job), partial(self._hashed, job))

    def ask(self, job: Job) -> None:
        """Put the job into the group and have its keys sign meanwhile; what will be published, and what a certificate
        is published for, not before it is on the record (T4). A key that needs presence signs by an approval alone."""
        told = self._presence.judge(job)
        if told is not None:
            del self._jobs[job.item.audit_id]
            self._refuse(job, *told)
            return
        job.signatures = [None] * len(job.keys)
        job.missing = len(job.keys)
        self._groups.decide(job)
        if not job.waits:
            self._call(job)

    def _call(self, job: Job) -> None:
        for backend, call in calls_of(job, self.judge):
            self._calls.setdefault(backend, []).append(call)

    def _hashed(self, job: Job, error: SignerdError | None) -> None:
        """Take a large payload that was hashed aside."""
        job.aside -= 1
        if job.answered:
            job.close_descriptors()  # the link has ended meanwhile
            return
        # Hashing took its time: the front end may have given up, and validity is read again before the worker's call.
        failed = None if error is None else CallError(error.code, error.reason, error.public)
        late = job.error or failed or refusal_of(job, self._ring, self._clock)
        if late is None:
            self.ask(job)
        else:
            del self._jobs[job.item.audit_id]
            self._refuse(job, late)

    def close(self, close: Close) -> None:
        """Take how a record ended, as the front end saw it. Raises Violation for a record that was never sealed."""
        delivered = self._undelivered.pop(close.audit_id, None)
        if delivered is not None:
            # The signature has left the sealer: whatever the front end says, it may be out there.
            outcome = close.outcome if close.outcome in DELIVERED else "signed_undelivered"
            self._end(delivered, outcome, close.code)
            return
        if self.answers.expects_close(close.audit_id):
            self.answers.closed(close.audit_id)
            return
        job = self._jobs.get(close.audit_id)
        if job is None or job.ended:
            raise Violation("close_without_seal", close.audit_id)
        if close.outcome not in CUT_SHORT:
            raise Violation("close_before_sealed", close.audit_id)
        job.ended = close.outcome
        job.error = job.error or CallError(close.code or "internal", "given_up", "the request was given up")
        if job.durable:
            self._fail(job)

    def refuse(self, refusal: RefusedRecord) -> None:
        """Take what ended before it came here: one leaf."""
        self._check_id(refusal.audit_id)
        self._groups.refuse(refusal)

    def _check_id(self, audit_id: str) -> None:
        """Refuse an id that is none, or is in use; one that was used before is found by the log itself."""
        check_id(audit_id)
        if audit_id in self._jobs or audit_id in self._undelivered or self.answers.holds(audit_id):
            raise Violation("audit_id_twice", audit_id)

    # One turn.

    def turn(self) -> None:
        """Send the workers what waits, and commit the group while they sign."""
        self._send()
        self.commit()
        self._publishing.turn()
        self._presence.turn()

    def _send(self) -> None:
        calls, self._calls = self._calls, {}
        for name, group in calls.items():
            self._backends[name].call_many(group)
            self._backends[name].flush()

    def commit(self) -> None:
        """Make the group durable: outcomes of before, refusals, and the ``decided`` leaves of all that waits.

        In the loop, while the workers sign: a thread for it would contend with the verification that the loop does
        next, and cost more than the disk's time (measured, docs/performance.md).
        """
        self._groups.commit(self._committed)

    def next_look(self) -> float | None:
        """Return when :meth:`turn` has something to do although nothing comes, in monotonic seconds."""
        parts = (self._groups, self._publishing, self._presence, self.judging)
        looks = [part.next_look() for part in parts]
        if self._calls:
            return float("-inf")
        return min([look for look in looks if look is not None], default=None)

    def _committed(self, group: Group[Job], result: int | SignerdError) -> None:
        """Take a commit's end: what it made durable is answered as soon as it is verified.

        Where the log could not be written, nothing of the group is released.
        """
        if isinstance(result, SignerdError):
            if result.reason == "duplicate":
                for refusal in group.refusals:
                    self._groups.refuse(refusal)
                raise Violation("audit_id_twice")
            self._not_recorded(group.waiting, group.refusals, result)
            return
        self._recorded(group.refusals, None)
        first = result + len(group.closing) + len(group.refusals)
        for place, job in enumerate(group.waiting):
            job.index = first + place
            job.leaf_hash = leaf_hash(group.decided[place].text).hex()
            if job.waits and job.error is None:
                job.error = refusal_of(job, self._ring, self._clock)
                if job.error is None:
                    self._call(job)
            self._settle(job)

    def judge(self, job: Job, place: int, result: CallResult) -> None:
        """Take one worker's outcome, to be verified against the pinned key and the exact bytes (T17)."""
        if job.answered:
            return
        if isinstance(result, CallError):
            self._judged(job, place, result)
        else:
            self.judging.judge(job, place, result, partial(self._judged, job, place))

    def _judged(self, job: Job, place: int, found: Made | Refuted | CallError | None) -> None:
        """Take a signature that verified, or what there is in its place."""
        if isinstance(found, Refuted):
            self._backends[job.keys[place].backend].condemn(str(found))
        if job.answered:
            job.close_descriptors()  # given up while it was verified aside
            return
        if isinstance(found, Made):
            job.signatures[place] = found
        elif found is not None:
            job.error = job.error or (found if isinstance(found, CallError) else _REFUTED)
        job.missing -= 1
        self._settle(job)

    def _settle(self, job: Job) -> None:
        """Answer the job if it is durable and complete, or failed."""
        if not job.durable or job.answered:
            return
        if job.error is None and job.missing == 0:
            # Validity is read again after the worker's call: a key revoked meanwhile releases nothing.
            job.error = refusal_of(job, self._ring, self._clock)
        if job.error is not None:
            self._fail(job)
        elif job.missing == 0 and job.publishes and job.proofs is None:
            self._publishing.publish(job, self._settle)
        elif job.missing == 0:
            self.release(job)

    def release(self, job: Job) -> None:
        """Assemble envelope and bundles, or messages, and answer. From there on the signature may be out."""
        if job.payload_fd is None:
            assembled = assemble_cose if job.output.form == "messages" else assemble
            self._release(job, assembled(job, cast("bytes", job.item.payload)))
        else:
            job.aside += 1
            self._aside.run(partial(large.assemble, job), partial(self._assembled, job))

    def _assembled(self, job: Job, result: large.LargeSealed | SignerdError) -> None:
        """Take what was assembled aside, unless the front end has given the job up meanwhile."""
        job.aside -= 1
        if job.answered:
            large.discard(result)
            job.close_descriptors()
        elif isinstance(result, SignerdError):
            job.error = CallError(result.code, result.reason, result.public)
            self._fail(job)
        else:
            self._release(job, result.sealed, result.fds)

    def _release(self, job: Job, result: Sealed, fds: tuple[int, ...] = ()) -> None:
        """Answer, once what is to be published later is durable too."""
        if not self._publishing.later(job, result, fds, partial(self._released, job, result, fds)):
            self._released(job, result, fds, None)

    def _released(self, job: Job, result: Sealed, fds: tuple[int, ...], error: CallError | None) -> None:
        if job.answered or error is not None:
            large.discard(large.LargeSealed(result, fds))
            job.error = job.error or error
            if not job.answered:
                self._fail(job)
            return
        job.answered = True
        job.bundle_digests = tuple([s.bundle_sha256 for s in result.signatures if s.bundle_sha256])
        job.envelope_digest = result.envelope_sha256
        self._undelivered[job.item.audit_id] = self._jobs.pop(job.item.audit_id)
        self.answers.give(SealOutcome(job.item.audit_id, ok=result), fds)

    # How things end badly.

    def _refuse(
        self, job: Job, error: CallError, details: Mapping[str, str | int] = _NONE, retry_after_ms: int = 0
    ) -> None:
        """Refuse before ``decided``: one leaf, and the answer once it is durable."""
        item = job.item
        job.close_descriptors()
        outcome = job.ended or outcome_of(error.code)
        self._groups.refuse(RefusedRecord(item.audit_id, item.request, outcome, error.code, error.reason))
        told = SealOutcome(item.audit_id, error=error, details=dict(details), retry_after_ms=retry_after_ms)
        self.answers.hold(item.audit_id, told)
        self._expect_close(job)

    def _fail(self, job: Job) -> None:
        """Close a decided record that is not released: its outcome is in the next group, the answer goes now."""
        assert job.error is not None
        job.answered = True
        self._jobs.pop(job.item.audit_id, None)
        self._end(job, job.ended or outcome_of(job.error.code), job.error.code)
        self._expect_close(job)
        # What was given up is answered too: the front end takes a sealer that falls silent for hung.
        self.answers.give(SealOutcome(job.item.audit_id, error=job.error))

    def _expect_close(self, job: Job) -> None:
        if not job.ended:
            self.answers.expect_close(job.item.audit_id)

    def _end(self, job: Job, outcome: str, code: str) -> None:
        self._groups.close(closing_leaf(job, outcome, code, self._clock.now_ms(), delivered=outcome in DELIVERED))
        job.close_descriptors()

    def _recorded(self, refusals: Sequence[RefusedRecord], error: CallError | None) -> None:
        for refusal in refusals:
            self._presence.recorded(refusal.audit_id, error is None)
        self.answers.note(refusals, error)

    def _not_recorded(self, waiting: Sequence[Job], refusals: Sequence[RefusedRecord], error: SignerdError) -> None:
        """Answer everybody whose record could not be written; what the workers sign meanwhile is thrown away."""
        _log.error("audit log: %s", error)
        told = CallError(error.code, error.reason, error.public)
        self._recorded(refusals, told)
        for job in waiting:
            job.answered = True
            self._jobs.pop(job.item.audit_id, None)
            job.close_descriptors()
            self._expect_close(job)
            self.answers.deny(job.item.audit_id, told)

    def record_violation(self, violation: Violation) -> None:
        """Record what broke the link: a leaf of its own, as the id that it came under may be somebody else's."""
        facts = RequestFacts(f"link:{violation.audit_id[:64]}", PeerFacts(0, 0))
        self._groups.refuse(RefusedRecord("", facts, "fault", "internal", violation.reason))

    def give_up(self) -> None:
        """Close what is open with ``unknown``: the front end has gone.

        What was not decided yet is recorded as what the front end tells its callers.
        """
        for job in [*self._jobs.values(), *self._undelivered.values()]:
            job.answered = True
            if job.durable:
                self._publishing.unknown(job)
                self._end(job, "unknown", "")
            else:
                lost = (job.item.audit_id, job.item.request, "fault", "audit.unavailable", "link_closed")
                self._groups.refuse(RefusedRecord(*lost))
                job.close_descriptors()
        self._jobs.clear()
        self._undelivered.clear()
        error = self._groups.append_rest()
        if error is not None:
            _log.error("audit log: %s while closing", error)


def _unrecorded(audit_id: str, error: CallError) -> SealOutcome:
    return SealOutcome(audit_id, error=error, recorded=False)
