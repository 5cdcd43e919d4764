"""What waits for the log: outcomes, refusals and decisions, made durable together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from signerd.contracts.services import AuditStore, Clock, Leaf
from signerd.errors import SignerdError
from signerd.sealer.aside import Aside
from signerd.sealer.job import Job
from signerd.sealer.leaves import decided_leaf, outcome_leaf, refused_leaf
from signerd.wire.links import Refusal

__all__ = ["Group", "Groups"]

RETRY_S: Final = 1.0
"""Seconds after which outcomes are tried again where the log could not be written and nothing else happens."""


@dataclass(slots=True)
class Group:
    """What one commit makes durable, in this order."""

    closing: list[Leaf] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    waiting: list[Job] = field(default_factory=list)
    decided: list[Leaf] = field(default_factory=list)

    def leaves(self, now: int) -> list[Leaf]:
        """Return all leaves, the decisions' digests filled in. ``now`` is Unix milliseconds."""
        for job in self.waiting:
            item = job.item
            leaf, job.decision_digest = decided_leaf(
                item.request, item.decision, item.audit_id, job.statement_sha256, item.payload_type, now
            )
            self.decided.append(leaf)
        return [*self.closing, *[refused_leaf(refusal, now) for refusal in self.refusals], *self.decided]


class Groups:
    """One commit at a time; what comes meanwhile is the next group."""

    def __init__(self, store: AuditStore, clock: Clock, commits: Aside | None) -> None:
        self._store = store
        self._clock = clock
        self._commits = commits
        self._next = Group()
        self._committing = False
        self._retry_at = float("-inf")

    def decide(self, job: Job) -> None:
        """Have the job's ``decided`` leaf in the next group."""
        self._next.waiting.append(job)

    def refuse(self, refusal: Refusal) -> None:
        """Have one leaf for what ended before it was decided."""
        self._next.refusals.append(refusal)

    def close(self, job: Job, outcome: str, code: str, digests: tuple[str, ...]) -> None:
        """Have the leaf that closes the job's record."""
        item = job.item
        self._next.closing.append(
            outcome_leaf(item.audit_id, item.decision.tenant, self._clock.now_ms(), outcome, code, digests)
        )

    def next_look(self) -> float | None:
        """Return when :meth:`commit` has something to do although nothing comes, in monotonic seconds."""
        waits = self._next.closing or self._next.refusals or self._next.waiting
        return self._retry_at if waits and not self._committing else None

    def commit(self, done: Callable[[Group, int | SignerdError], None], *, beside: bool) -> None:
        """Make the next group durable; ``done`` gets the index of its first leaf, or why nothing of it is durable.

        ``beside`` the loop, which verifies signatures meanwhile, where there is a thread for it. Where the log cannot
        be written, outcomes go into the next group, as they belong to what was released before.
        """
        group = self._next
        if self._committing or not (group.waiting or group.refusals or group.closing):
            return
        if not (group.waiting or group.refusals) and self._clock.monotonic() < self._retry_at:
            return
        self._next = Group()
        append = partial(self._store.append_many, group.leaves(self._clock.now_ms()))
        self._committing = True
        if beside and self._commits is not None:
            self._commits.run(append, partial(self._ended, group, done))
            return
        result: int | SignerdError
        try:
            result = append()
        except SignerdError as error:
            result = error
        self._ended(group, done, result)

    def settle(self) -> None:
        """Wait for the commit in hand and take its end."""
        if self._commits is not None:
            self._commits.settle()

    def append_rest(self) -> SignerdError | None:
        """Append the outcomes and refusals that are left, and return why one of them is not in the log.

        Where an id stands in the log already, one by one.
        """
        group, self._next = self._next, Group()
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

    def _ended(
        self, group: Group, done: Callable[[Group, int | SignerdError], None], result: int | SignerdError
    ) -> None:
        self._committing = False
        if isinstance(result, SignerdError):
            self._next.closing[:0] = group.closing
            self._retry_at = self._clock.monotonic() + RETRY_S
        done(group, result)
