"""Verifies what workers answered: in the loop, or aside where it would hold the loop up."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from signerd.contracts.services import Clock
from signerd.errors import SignerdError
from signerd.sealer.aside import Aside
from signerd.sealer.job import Job, Made
from signerd.sealer.signatures import Refuted, verified

__all__ = ["Judging"]


TOLD_EACH_S: Final = 1.0
"""How often the front end is told of what is still verified: well below the time after which it takes a sealer that
does not answer for hung."""
_AHEAD: Final = 2
"""Signatures that the thread has at a time: the next one is there while the loop takes the last."""
_Work = Callable[[], Made | Refuted | None]
_Done = Callable[[Made | Refuted | None], None]


class Judging:
    """Judges one signature at a time. ``aside`` is a thread of its own: a large GOST payload takes it for seconds, and
    nobody's large document should wait for that. Tenants take turns there, whoever of them asks for more (T15)."""

    def __init__(self, aside: Aside, clock: Clock) -> None:
        self._aside = aside
        self._clock = clock
        self._waiting: dict[str, int] = {}
        self._queues: dict[str, deque[tuple[Job, _Work, _Done]]] = {}
        self._running = 0
        self._tell_at = 0.0

    def judge(self, job: Job, place: int, result: msgspec.Raw, done: _Done) -> None:
        """Verify the answer of the job's key at ``place`` against the pinned key and the exact bytes (T17), and call
        ``done`` in the loop: at once, but for a key whose signatures are verified by Python itself. That of a job which
        was given up meanwhile is not verified at all (None)."""
        public = job.keys[place].public
        if public is None or public.longest_message is None:
            done(_judged(job, place, result, self._clock.now_ms()))
            return
        job.aside += 1
        if not self._waiting:
            self._tell_at = self._clock.monotonic() + TOLD_EACH_S
        audit_id = job.item.audit_id
        self._waiting[audit_id] = self._waiting.get(audit_id, 0) + 1
        work = partial(_judged_aside, job, place, result, self._clock.now_ms())
        self._queues.setdefault(job.item.decision.tenant, deque()).append((job, work, done))
        self._run()

    def next_look(self) -> float | None:
        """Return when :meth:`still` has something to say, in monotonic seconds."""
        return self._tell_at if self._waiting else None

    def still(self) -> tuple[str, ...]:
        """Return the audit ids of what is verified aside, once a second."""
        if not self._waiting or self._clock.monotonic() < self._tell_at:
            return ()
        self._tell_at = self._clock.monotonic() + TOLD_EACH_S
        return tuple(self._waiting)

    def _run(self) -> None:
        while self._queues and self._running < _AHEAD:
            tenant = next(iter(self._queues))
            queue = self._queues.pop(tenant)
            job, work, done = queue.popleft()
            if queue:
                self._queues[tenant] = queue  # behind all others
            self._running += 1
            self._aside.run(work, partial(self._back, job, done))

    def _back(self, job: Job, done: _Done, judged: Made | Refuted | SignerdError | None) -> None:
        self._running -= 1
        self._run()
        job.aside -= 1
        audit_id = job.item.audit_id
        self._waiting[audit_id] -= 1
        if not self._waiting[audit_id]:
            del self._waiting[audit_id]
        # Whatever kept it from being verified, it has not been.
        done(Refuted(f"a signature could not be verified: {judged}") if isinstance(judged, SignerdError) else judged)


def _judged_aside(job: Job, place: int, result: msgspec.Raw, now_ms: int) -> Made | Refuted | None:
    # Nobody waits for it any more: what comes next in the thread does.
    return None if job.answered or job.ended else _judged(job, place, result, now_ms)


def _judged(job: Job, place: int, result: msgspec.Raw, now_ms: int) -> Made | Refuted:
    try:
        return verified(job, place, result, now_ms)
    except Refuted as why:
        return why
