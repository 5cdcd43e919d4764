"""The front end's end of the link to the verifying worker: one bundle at a time, callers in turn.

A bundle that a worker had in hand when it died is ``internal``, ``verifying_worker``, and not retryable.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from signerd.contracts.services import Clock
from signerd.daemon.errands import Errand, Errands
from signerd.daemon.poller import Poller
from signerd.errors import Fault, SignerdError, error_from
from signerd.host.link import Frame, LinkClosed
from signerd.host.spawn import Spawned
from signerd.wire.verified import BundleVerified
from signerd.wire.worker_calls import BundleJudged, JudgeBundle

__all__ = ["QUEUE", "Job", "Owner", "Verifier", "job_of"]

_judged: Final = msgspec.msgpack.Decoder(BundleJudged)

Owner = tuple[str, str]
"""Tenant and principal: each has its turn, however much another one asks."""
Job = Errand[BundleJudged]
"""One bundle to be judged."""

QUEUE: Final = 4096
"""Bundles of one owner that may wait: the largest batch that a configuration may allow."""


def job_of(
    owner: Owner, call: JudgeBundle, fd: int | None, done: Callable[[BundleVerified | SignerdError], None]
) -> Job:
    """Return the job of judging one bundle; ``fd`` is the asker's, ``done`` is called once unless it is forgotten."""
    return Errand(owner, call, fd, partial(_told, done))


class Verifier(Errands[BundleJudged]):
    """The worker and what waits for it."""

    def __init__(self, start: Callable[[], Spawned], poller: Poller, clock: Clock) -> None:
        super().__init__("verifying worker", _lost, _read, start, poller, clock)

    def ask(self, job: Job) -> None:
        """Queue a job; Fault ``daemon.overloaded`` where its owner has too many in the queue."""
        if self.waiting(job.owner) >= QUEUE:
            raise Fault("daemon.overloaded", "verifying_queue", "too many bundles at once")
        self.add(job)


def _lost() -> Fault:
    return Fault("internal", "verifying_worker", "the bundle cannot be verified")


def _read(frame: Frame) -> BundleJudged:
    answer = _judged.decode(frame)
    if (answer.result is None) == (answer.error is None):
        raise LinkClosed("an answer that is none")
    return answer


def _told(
    done: Callable[[BundleVerified | SignerdError], None], answer: BundleJudged | SignerdError, fds: tuple[int, ...]
) -> None:
    for fd in fds:
        os.close(fd)  # none is ever sent
    if isinstance(answer, SignerdError):
        done(answer)
    elif answer.result is not None:
        done(answer.result)
    else:
        error = answer.error
        assert error is not None
        details = dict(answer.details) or None
        done(error_from(error.code, error.reason, error.message, operator=error.operator or None, details=details))
