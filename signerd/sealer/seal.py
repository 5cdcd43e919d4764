"""What the sealer does: decide on the record, have it signed meanwhile, verify, release.

The newcomer's path through this file is the class :class:`Sealing`, top to bottom: ``admit`` checks an item against
the ring, ``ask`` sends it to its workers, ``commit`` makes the group's leaves durable, ``judge`` verifies what came
back, ``release`` answers what is both durable and verified. Nothing is released that is not (promises 2 and 4).
"""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, cast

import msgspec

from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.contracts.services import AuditStore, Clock, Leaf
from signerd.contracts.validity import check_validity
from signerd.errors import SignerdError
from signerd.sealer import large
from signerd.sealer.aside import Aside
from signerd.sealer.backends import Backend, Call, CallResult
from signerd.sealer.job import Job, Pinned, Violation
from signerd.sealer.leaves import decided_leaf, outcome_leaf, refused_leaf
from signerd.sealer.signatures import assemble
from signerd.sealer.tree import leaf_hash
from signerd.wire.links import Close, PeerFacts, Refusal, RequestFacts, Sealed, SealItem, SealOutcome
from signerd.wire.worker_calls import CallError, Descriptor, SignParams, SignResultParams

__all__ = ["Sealing"]

_log = logging.getLogger(__name__)
_sign_result: Final = msgspec.msgpack.Decoder(SignResultParams)

DELIVERED: Final = frozenset({"signed", "signed_undelivered"})
CUT_SHORT: Final = frozenset({"cancelled", "fault", "refused", "unknown"})
LARGEST_SIGNATURE: Final = 8 * 1024
"""Bytes; above any algorithm's. What is longer is not looked at."""


class Sealing:
    """The sealer's work, without its loop. Feed it what came, call :meth:`turn`, send what it leaves.

    ``outcomes`` and ``recorded`` are for the front end; whoever sends them empties them. Between two turns nothing is
    half done: a leaf is durable or it is still in the group.
    """

    def __init__(
        self, store: AuditStore, ring: Mapping[str, Pinned], backends: Mapping[str, Backend], clock: Clock, aside: Aside
    ) -> None:
        self._store = store
        self._ring = ring
        self._backends = backends
        self._clock = clock
        self._aside = aside
        self._jobs: dict[str, Job] = {}
        self._undelivered: dict[str, Job] = {}
        self._waiting: list[Job] = []
        self._closing: list[Leaf] = []
        self._refusals: list[Refusal] = []
        self._calls: dict[str, list[Call]] = {}
        self._early: dict[str, SealOutcome] = {}
        self._silent: set[str] = set()
        self.outcomes: list[tuple[SealOutcome, tuple[int, ...]]] = []
        self.recorded: list[tuple[tuple[str, ...], CallError | None]] = []

    # What came from the front end.

    def admit(self, item: SealItem, payload_fd: int | None) -> None:
        """Check one item against the ring, and put it into the group. Takes ``payload_fd`` over.

        Raises Violation for what no honest front end sends: an id used twice, a key that is not the tenant's.
        """
        audit_id = item.audit_id
        if audit_id in self._jobs or audit_id in self._undelivered:
            raise Violation("audit_id_twice", audit_id)
        if item.payload_type != PAYLOAD_TYPE:
            raise Violation("payload_type", audit_id)
        decision = item.decision
        if not decision.keys or item.request.tenant != decision.tenant:
            raise Violation("decision_shape", audit_id)
        keys = []
        for use in decision.keys:
            pinned = self._ring.get(use.key)
            if pinned is None or pinned.entry.tenant != decision.tenant:
                raise Violation("foreign_key", audit_id)
            if use.keyid != pinned.entry.keyid or use.version != pinned.entry.version:
                raise Violation("foreign_key_version", audit_id)
            keys.append(pinned)
        job = Job(item, tuple(keys), self._clock.monotonic() + item.deadline_ms / 1000, payload_fd)
        error = self._refusal(job)
        if error is not None:
            self._refuse(job, error)
            return
        self._jobs[audit_id] = job
        if payload_fd is None:
            job.hash_inline(cast("bytes", item.payload))
            self.ask(job)
        else:
            self._aside.run(partial(large.hash_payload, job), partial(self._hashed, job))

    def ask(self, job: Job) -> None:
        """Put the job into the group and have each of its keys sign: the digest where the key takes it, or the PAE."""
        job.signatures = [None] * len(job.keys)
        job.missing = len(job.keys)
        self._waiting.append(job)
        for place, pinned in enumerate(job.keys):
            done = partial(self.judge, job, place)
            if pinned.prehash:
                call = Call("sign", SignParams(pinned.entry.key, job.pae_sha256), done)
            elif job.message_fd is None:
                call = Call("sign", SignParams(pinned.entry.key, bytes(job.message)), done)
            else:
                memfd = Descriptor(0, len(job.message))
                call = Call("sign", SignParams(pinned.entry.key, memfd), done, (os.dup(job.message_fd),))
            self._calls.setdefault(pinned.backend, []).append(call)

    def _hashed(self, job: Job, error: SignerdError | None) -> None:
        """Take a large payload that was hashed aside."""
        if error is not None:
            self._jobs.pop(job.item.audit_id, None)
            self._refuse(job, CallError(error.code, error.reason, error.public))
        elif job.ended:
            self._jobs.pop(job.item.audit_id, None)
            self._refusals.append(Refusal(job.item.audit_id, job.item.request, job.ended, "request.cancelled", "given_up"))
            self._silent.add(job.item.audit_id)
            job.close_descriptors()
        else:
            self.ask(job)

    def close(self, close: Close) -> None:
        """Take how a record ended, as the front end saw it. Raises Violation for a record that was never sealed."""
        delivered = self._undelivered.pop(close.audit_id, None)
        if delivered is not None:
            # The signature has left the sealer: whatever the front end says, it may be out there.
            outcome = close.outcome if close.outcome in DELIVERED else "signed_undelivered"
            self._end(delivered, outcome, close.code)
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

    def refuse(self, refusal: Refusal) -> None:
        """Take what ended before it came here: one leaf."""
        if refusal.audit_id in self._jobs or refusal.audit_id in self._undelivered:
            raise Violation("audit_id_twice", refusal.audit_id)
        self._refusals.append(refusal)

    # One turn.

    def turn(self) -> None:
        """Send the workers what waits, commit the group while they sign, release what is ready."""
        calls, self._calls = self._calls, {}
        for name, group in calls.items():
            self._backends[name].call_many(group)
            self._backends[name].flush()
        if self._waiting or self._closing or self._refusals:
            self.commit()

    def commit(self) -> None:
        """Make the group durable: outcomes of before, refusals, and the ``decided`` leaves of all that waits.

        Where the log cannot be written, nothing of the group is released; outcomes are kept for the next group, as
        they belong to what was released before.
        """
        now = self._clock.now_ms()
        waiting, self._waiting = self._waiting, []
        refusals, self._refusals = self._refusals, []
        leaves = list(self._closing)
        leaves.extend([refused_leaf(refusal, now) for refusal in refusals])
        decided_from = len(leaves)
        for job in waiting:
            item = job.item
            leaf, job.decision_digest = decided_leaf(
                item.request, item.decision, item.audit_id, job.statement_sha256, item.payload_type, now
            )
            leaves.append(leaf)
        try:
            first = self._store.append_many(leaves)
        except SignerdError as error:
            if error.reason == "duplicate":
                raise Violation("audit_id_twice") from None
            self._not_recorded(waiting, refusals, error)
            return
        self._closing.clear()
        self._recorded(refusals, None)
        for place, job in enumerate(waiting, decided_from):
            job.index = first + place
            job.leaf_hash = leaf_hash(leaves[place].text).hex()
            self._settle(job)

    def judge(self, job: Job, place: int, result: CallResult) -> None:
        """Take one worker's outcome and verify it against the pinned key and the exact bytes (T17)."""
        if job.answered:
            return
        if isinstance(result, CallError):
            job.error = job.error or result
        else:
            job.error = job.error or self._verified(job, place, result)
        job.missing -= 1
        self._settle(job)

    def _verified(self, job: Job, place: int, result: msgspec.Raw) -> CallError | None:
        pinned = job.keys[place]
        backend = self._backends[pinned.backend]
        fault = CallError("key.backend_fault", "signature_refused", "the key's backend failed")
        try:
            answer = _sign_result.decode(result)
        except (msgspec.DecodeError, UnicodeDecodeError):
            backend.condemn("a signature out of shape")
            return fault
        if answer.keyid != pinned.entry.keyid or len(answer.signature) > LARGEST_SIGNATURE:
            backend.condemn(f"signed {pinned.entry.key} with another key")
            return fault
        try:
            if pinned.prehash:
                pinned.public.verify_prehashed(answer.signature, job.pae_sha256)
            else:
                pinned.public.verify(answer.signature, bytes(job.message))
        except SignerdError as error:
            backend.condemn(f"a signature by {pinned.entry.key} does not verify ({error.reason})")
            return fault
        job.signatures[place] = answer.signature
        return None

    def _settle(self, job: Job) -> None:
        """Answer the job if it is durable and complete, or failed."""
        if not job.durable or job.answered:
            return
        if job.error is None and job.missing == 0:
            # Validity is read again after the worker's call: a key revoked meanwhile releases nothing.
            job.error = self._refusal(job)
        if job.error is not None:
            self._fail(job)
        elif job.missing == 0:
            self.release(job)

    def release(self, job: Job) -> None:
        """Assemble envelope and bundles, and answer. From there on the signature may be out."""
        if job.payload_fd is None:
            self._release(job, assemble(job, cast("bytes", job.item.payload)))
        else:
            self._aside.run(partial(large.assemble, job), partial(self._assembled, job))

    def _assembled(self, job: Job, result: large.LargeSealed | SignerdError) -> None:
        """Take what was assembled aside, unless the front end has given the job up meanwhile."""
        if job.answered:
            large.discard(result)
        elif isinstance(result, SignerdError):
            job.error = CallError(result.code, result.reason, result.public)
            self._fail(job)
        else:
            self._release(job, result.sealed, result.fds)

    def _release(self, job: Job, result: Sealed, fds: tuple[int, ...] = ()) -> None:
        job.answered = True
        job.bundle_digests = tuple([s.bundle_sha256 for s in result.signatures])
        self._undelivered[job.item.audit_id] = self._jobs.pop(job.item.audit_id)
        self._answer(SealOutcome(job.item.audit_id, ok=result), fds)

    def _answer(self, outcome: SealOutcome, fds: tuple[int, ...] = ()) -> None:
        self.outcomes.append((outcome, fds))

    # How things end badly.

    def _refusal(self, job: Job) -> CallError | None:
        """Return why the job may not be signed now: its principal, its keys, its time."""
        now = self._clock.now_ms()
        expires = job.item.principal_expires_at
        if expires and now >= expires:
            return CallError("auth.token_expired", "expired", "the session's credential has expired; bind again")
        for pinned in job.keys:
            try:
                check_validity(pinned.entry, now)
            except SignerdError as error:
                return CallError(error.code, error.reason, error.public)
        if self._clock.monotonic() >= job.deadline:
            return CallError("request.deadline", "deadline", "the request's time is over")
        return None

    def _refuse(self, job: Job, error: CallError) -> None:
        """Refuse before ``decided``: one leaf, and the answer once it is durable."""
        item = job.item
        job.close_descriptors()
        outcome = "fault" if error.code in ("request.deadline", "key.backend_unavailable") else "refused"
        self._refusals.append(Refusal(item.audit_id, item.request, outcome, error.code, error.reason))
        self._early[item.audit_id] = SealOutcome(item.audit_id, error=error)

    def _fail(self, job: Job) -> None:
        """Close a decided record that is not released: its outcome is in the next group, the answer goes now."""
        assert job.error is not None
        job.answered = True
        self._jobs.pop(job.item.audit_id, None)
        outcome = job.ended or ("refused" if job.error.code in _REFUSED_LATE else "fault")
        self._end(job, outcome, job.error.code)
        if not job.ended:
            self._answer(SealOutcome(job.item.audit_id, error=job.error))

    def _end(self, job: Job, outcome: str, code: str) -> None:
        digests = job.bundle_digests if outcome in DELIVERED else ()
        self._closing.append(
            outcome_leaf(job.item.audit_id, job.item.decision.tenant, self._clock.now_ms(), outcome, code, digests)
        )
        job.close_descriptors()

    def _recorded(self, refusals: Sequence[Refusal], error: CallError | None) -> None:
        ids = []
        for refusal in refusals:
            if refusal.audit_id in self._silent:
                self._silent.discard(refusal.audit_id)
                continue
            early = self._early.pop(refusal.audit_id, None)
            if early is None:
                ids.append(refusal.audit_id)
            elif error is None:
                self._answer(early)
            else:
                self._answer(SealOutcome(refusal.audit_id, error=error, recorded=False))
        if ids:
            self.recorded.append((tuple(ids), error))

    def _not_recorded(self, waiting: Sequence[Job], refusals: Sequence[Refusal], error: SignerdError) -> None:
        """Answer everybody whose record could not be written; what the workers sign meanwhile is thrown away."""
        _log.error("audit log: %s", error)
        told = CallError(error.code, error.reason, error.public)
        self._recorded(refusals, told)
        for job in waiting:
            job.answered = True
            self._jobs.pop(job.item.audit_id, None)
            job.close_descriptors()
            if not job.ended:
                self._answer(SealOutcome(job.item.audit_id, error=told, recorded=False))

    def record_violation(self, violation: Violation) -> None:
        """Record what broke the link: a leaf of its own, as the id that it came under may be somebody else's."""
        facts = RequestFacts(f"link:{violation.audit_id[:64]}", PeerFacts(0, 0))
        self._refusals.append(Refusal("", facts, "fault", "internal", violation.reason))

    def give_up(self) -> None:
        """Close what is open with ``unknown``: the front end has gone."""
        for job in [*self._jobs.values(), *self._undelivered.values()]:
            if job.durable:
                self._end(job, "unknown", "")
        self._jobs.clear()
        self._undelivered.clear()
        self._waiting.clear()
        if self._closing or self._refusals:
            try:
                self.commit()
            except Violation as violation:
                _log.error("audit log: %s while closing", violation.reason)


_REFUSED_LATE: Final = frozenset(
    {"auth.token_expired", "key.revoked", "key.suspended", "key.expired", "key.not_yet_valid"}
)
