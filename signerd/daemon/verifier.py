"""The front end's end of the link to the verifying worker: one bundle at a time, callers in turn.

The worker is started at the first bundle and restarted after it died; the bundle that it had in hand is lost with it
(``internal``, ``verifying_worker``, not retryable: the same bundle would kill the next one).
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import msgspec

from signerd.contracts.services import Clock
from signerd.daemon.poller import READ, WRITE, Poller
from signerd.errors import Fault, SignerdError, error_from
from signerd.host.link import Frame, Link, LinkClosed
from signerd.host.spawn import Spawned
from signerd.wire.frames import encode_frame
from signerd.wire.verified import BundleVerified
from signerd.wire.worker_calls import BundleJudged, JudgeBundle

__all__ = ["QUEUE", "Job", "Owner", "Verifier"]

_log = logging.getLogger(__name__)
_judged: Final = msgspec.msgpack.Decoder(BundleJudged)

Owner = tuple[str, str]
"""Tenant and principal: each has its turn, however much another one asks."""

QUEUE: Final = 4096
"""Bundles of one owner that may wait: the largest batch that a configuration may allow."""
LONGEST_S: Final = 120.0
"""Seconds that one bundle may take: the longest deadline. A worker that needs longer hangs."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One bundle to be judged; its ``call`` has no id yet. ``fd`` is the asker's. ``done`` is called once, unless the
    job is forgotten before."""

    owner: Owner
    call: JudgeBundle
    fd: int | None
    done: Callable[[BundleVerified | SignerdError], None]


class Verifier:
    """The worker and what waits for it."""

    def __init__(self, start: Callable[[], Spawned], poller: Poller, clock: Clock) -> None:
        self._start = start
        self._poller = poller
        self._clock = clock
        self._spawned: Spawned | None = None
        self._link: Link | None = None
        # The first owner's turn is next; a dict keeps the order in which they came.
        self._waiting: dict[Owner, deque[Job]] = {}
        self._current: Job | None = None
        self._number = 0
        self._since = 0.0
        self._stale = False

    @property
    def pid(self) -> int | None:
        """The worker's process id while there is one."""
        return self._spawned.pid if self._spawned else None

    def ask(self, job: Job) -> None:
        """Queue a job; Fault ``daemon.overloaded`` where its owner has too many in the queue."""
        if len(self._waiting.get(job.owner, ())) >= QUEUE:
            raise Fault("daemon.overloaded", "verifying_queue", "too many bundles at once")
        self._waiting.setdefault(job.owner, deque()).append(job)
        self._next()

    def forget(self, owner: Owner, jobs: Collection[Job]) -> None:
        """Drop jobs of ``owner``: what is queued is not looked at; what is in hand is finished and thrown away."""
        dropped = {id(job) for job in jobs}
        queue = deque(job for job in self._waiting.get(owner, ()) if id(job) not in dropped)
        if queue:
            self._waiting[owner] = queue
        else:
            self._waiting.pop(owner, None)
        if id(self._current) in dropped:
            self._current = None

    def ready(self, events: int) -> None:
        """Take what the worker has said."""
        link = self._link
        if link is None:
            return
        try:
            if events & WRITE:
                self._flush()
            for frame, fds in link.read():
                self._answered(frame, fds)
        except LinkClosed as exc:
            self._lost(str(exc))
        self._next()

    def tick(self, now: float) -> None:
        """Kill a worker that hangs over a bundle."""
        if self._number % 2 and now - self._since > LONGEST_S:
            self._lost("hangs over a bundle")
            self._next()

    def renew(self) -> None:
        """Have the next bundle go to a new worker, with the settings of then; the one in hand is finished first."""
        if self._number % 2:
            self._stale = True
        else:
            self.close()

    def close(self) -> None:
        """End the worker for good."""
        self._stale = False
        if self._spawned is not None and self._link is not None:
            self._poller.remove(self._link.fileno())
            self._spawned.end(0.2)
            self._spawned = self._link = None

    def _next(self) -> None:
        """Hand the worker the next bundle if it has none in hand. ``_number`` is odd while it has one."""
        while self._waiting and not self._number % 2:
            fresh = self._link is None
            if fresh and not self._started():
                return
            job = self._take()
            try:
                fds = () if job.fd is None else (os.dup(job.fd),)
            except OSError as exc:
                job.done(Fault("internal", "descriptors", "the signer failed", operator=str(exc)))
                continue
            self._hand_over(job, fds, fresh=fresh)

    def _hand_over(self, job: Job, fds: tuple[int, ...], *, fresh: bool) -> None:
        assert self._link is not None
        self._number += 1
        self._current = job
        self._since = self._clock.monotonic()
        self._link.queue(encode_frame(msgspec.structs.replace(job.call, id=self._number)), fds)
        try:
            self._flush()
        except LinkClosed as exc:
            if not fresh:
                # The worker was dead before this bundle came: it is the next worker's.
                self._current = None
                self._waiting.setdefault(job.owner, deque()).appendleft(job)
            self._lost(str(exc))

    def _take(self) -> Job:
        """Take the next job of the owner whose turn it is; that owner's next turn is the last of all."""
        owner = next(iter(self._waiting))
        queue = self._waiting.pop(owner)
        job = queue.popleft()
        if queue:
            self._waiting[owner] = queue
        return job

    def _flush(self) -> None:
        assert self._link is not None
        done = self._link.flush()
        self._poller.change(self._link.fileno(), READ if done else READ | WRITE)

    def _started(self) -> bool:
        try:
            self._spawned = self._start()
        except OSError as exc:
            _log.error("verifying worker: cannot start: %s", exc)
            waiting, self._waiting = self._waiting, {}
            for job in (job for queue in waiting.values() for job in queue):
                job.done(Fault("internal", "verifying_worker", "the bundle cannot be verified"))
            return False
        self._link = Link(self._spawned.socket)
        self._poller.add(self._link.fileno(), self)
        return True

    def _answered(self, frame: Frame, fds: tuple[int, ...]) -> None:
        for fd in fds:
            os.close(fd)  # none is ever sent
        try:
            answer = _judged.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise LinkClosed(f"an answer out of shape: {exc}") from None
        if answer.id != self._number or not self._number % 2 or (answer.result is None) == (answer.error is None):
            raise LinkClosed("an answer that nobody waits for")
        self._number += 1
        if self._stale:
            self.close()
        job, self._current = self._current, None
        if job is None:
            return
        job.done(_refusal(answer) if answer.result is None else answer.result)

    def _lost(self, why: str) -> None:
        """Say goodbye to a worker that died or broke its link."""
        _log.error("verifying worker: %s", why)
        if self._link is not None:
            self._poller.remove(self._link.fileno())
            self._link.close()
        if self._spawned is not None:
            self._spawned.end(0)
        self._spawned = self._link = None
        job, self._current = self._current, None
        self._number += self._number % 2
        if job is not None:
            job.done(Fault("internal", "verifying_worker", "the bundle cannot be verified"))


def _refusal(answer: BundleJudged) -> SignerdError:
    error = answer.error
    assert error is not None
    return error_from(
        error.code, error.reason, error.message, operator=error.operator or None, details=dict(answer.details) or None
    )
