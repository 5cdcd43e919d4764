"""Verifies what workers answered: in the loop, or aside where it would hold the loop up."""

from collections.abc import Callable
from functools import partial

import msgspec

from signerd.contracts.services import Clock
from signerd.errors import SignerdError
from signerd.sealer.aside import Aside
from signerd.sealer.job import Job, Made
from signerd.sealer.signatures import Refuted, verified

__all__ = ["Judging"]


class Judging:
    """Judges one signature at a time. ``aside`` is a thread of its own: a large GOST payload takes it for seconds, and
    nobody's large document should wait for that."""

    def __init__(self, aside: Aside, clock: Clock) -> None:
        self._aside = aside
        self._clock = clock

    def judge(self, job: Job, place: int, result: msgspec.Raw, done: Callable[[Made | Refuted], None]) -> None:
        """Verify the answer of the job's key at ``place`` against the pinned key and the exact bytes (T17), and call
        ``done`` in the loop: at once, but for a key whose signatures are verified by Python itself."""
        public = job.keys[place].public
        if public is None or public.longest_message is None:
            done(_judged(job, place, result, self._clock.now_ms()))
            return
        job.aside += 1
        self._aside.run(
            partial(_judged, job, place, result, self._clock.now_ms()), partial(_back, job, done)
        )


def _judged(job: Job, place: int, result: msgspec.Raw, now_ms: int) -> Made | Refuted:
    try:
        return verified(job, place, result, now_ms)
    except Refuted as why:
        return why


def _back(job: Job, done: Callable[[Made | Refuted], None], judged: Made | Refuted | SignerdError) -> None:
    job.aside -= 1
    # Whatever kept it from being verified, it has not been.
    done(Refuted(f"a signature could not be verified: {judged}") if isinstance(judged, SignerdError) else judged)
