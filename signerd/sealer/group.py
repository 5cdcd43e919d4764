"""What waits for the log: outcomes, refusals and decisions, made durable together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from signerd.contracts.services import AuditStore, Clock, Leaf
from signerd.errors import SignerdError
from signerd.sealer.job import Job
from signerd.sealer.leaves import KeylessSigner, outcome_leaf, refused_leaf
from signerd.wire.links import RefusedRecord

__all__ = ["Decided", "Group", "Groups", "closing_leaf", "keyless_signers"]

OUTCOME_S: Final = 0.005
"""Seconds that an outcome waits for a decision to share its commit with. A commit of its own would hold the loop up for
as long as a decision's does; a crash before it leaves ``unknown``, never a signature off the record."""
RETRY_S: Final = 1.0
"""Seconds after which outcomes are tried again where the log could not be written and nothing else happens."""


class Decided(Protocol):
    """What waits for its ``decided`` leaf."""

    def decided(self, now: int) -> Leaf:
        """Return the leaf. ``now`` is Unix milliseconds."""
        ...


W = TypeVar("W", bound=Decided)


@dataclass(slots=True)
class Group(Generic[W]):
    """What one commit makes durable, in this order."""

    closing: list[Leaf] = field(default_factory=list)
    refusals: list[RefusedRecord] = field(default_factory=list)
    waiting: list[W] = field(default_factory=list)
    decided: list[Leaf] = field(default_factory=list)

    def leaves(self, now: int) -> list[Leaf]:
        """Return all leaves. ``now`` is Unix milliseconds."""
        self.decided = [job.decided(now) for job in self.waiting]
        return [*self.closing, *[refused_leaf(refusal, now) for refusal in self.refusals], *self.decided]


class Groups(Generic[W]):
    """One commit at a time, in the caller's loop; what comes meanwhile is the next group."""

    def __init__(self, store: AuditStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._next = Group[W]()
        self._outcomes_at = float("inf")

    def decide(self, job: W) -> None:
        """Have the job's ``decided`` leaf in the next group."""
        self._next.waiting.append(job)

    def refuse(self, refusal: RefusedRecord) -> None:
        """Have one leaf for what ended before it was decided."""
        self._next.refusals.append(refusal)

    def close(self, leaf: Leaf) -> None:
        """Have the leaf that closes a record."""
        if not self._next.closing:
            self._outcomes_at = self._clock.monotonic() + OUTCOME_S
        self._next.closing.append(leaf)

    def next_look(self) -> float | None:
        """Return when :meth:`commit` has something to do although nothing comes, in monotonic seconds."""
        if self._next.refusals or self._next.waiting:
            return float("-inf")
        return self._outcomes_at if self._next.closing else None

    def commit(self, done: Callable[[Group[W], int | SignerdError], None]) -> None:
        """Make the next group durable; ``done`` gets the index of its first leaf, or why nothing of it is durable.

        Where the log cannot be written, outcomes go into the next group, as they belong to what was released before.
        """
        group = self._next
        if not (group.waiting or group.refusals) and not (
            group.closing and self._clock.monotonic() >= self._outcomes_at
        ):
            return
        self._next = Group[W]()
        result: int | SignerdError
        try:
            result = self._store.append_many(group.leaves(self._clock.now_ms()))
        except SignerdError as error:
            result = error
            self._next.closing = group.closing
            self._outcomes_at = self._clock.monotonic() + RETRY_S
        done(group, result)

    def append_rest(self) -> SignerdError | None:
        """Append the outcomes and refusals that are left, and return why one of them is not in the log.

        Where an id stands in the log already, one by one.
        """
        group, self._next = self._next, Group[W]()
        group.waiting.clear()  # nothing is decided any more
        leaves = group.leaves(self._clock.now_ms())
        failure = self._append(leaves)
        if failure is None or failure.reason != "duplicate":
            return failure
        # One id too many must not cost the others their record.
        failures = [self._append([leaf]) for leaf in leaves]
        return next((error for error in failures if error is not None), None)

    def _append(self, leaves: list[Leaf]) -> SignerdError | None:
        try:
            self._store.append_many(leaves)
        except SignerdError as error:
            return error
        return None


def closing_leaf(job: Job, outcome: str, code: str, now: int, *, delivered: bool) -> Leaf:
    """Return the leaf that closes the job's record; what was signed stands there where it may be ``delivered``."""
    return outcome_leaf(
        job.item.audit_id,
        job.item.decision.tenant,
        now,
        outcome,
        code,
        job.bundle_digests if delivered else (),
        keyless_signers(job) if delivered else (),
        job.envelope_digest if delivered else "",
    )


def keyless_signers(job: Job) -> tuple[KeylessSigner, ...]:
    """Return by which certificates the job's keyless keys signed."""
    return tuple(
        [
            KeylessSigner(made.vouched.leaf.der, pinned.entry.key, made.public.keyid)
            for pinned, made in zip(job.keys, job.signatures, strict=True)
            if made is not None and made.vouched is not None
        ]
    )
