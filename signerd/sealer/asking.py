"""What is asked of the key workers for one job."""

import os
from collections.abc import Callable, Iterator
from functools import partial

from signerd.sealer.job import Job
from signerd.sealer.worker_call import Call, CallResult
from signerd.wire.links import SealItem
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import SignContext, SignParams

__all__ = ["calls_of"]


def calls_of(job: Job, judge: Callable[[Job, int, CallResult], None]) -> Iterator[tuple[str, Call]]:
    """Yield, for each of the job's keys, its backend and the call that has it sign: the digest where the key takes it,
    or all that was framed for it. ``judge`` takes the outcome, with the key's place."""
    for place, pinned in enumerate(job.keys):
        framed = job.to_sign(place)
        fds: tuple[int, ...] = ()
        message: bytes | Descriptor = framed.sha256
        if not pinned.prehash and framed.fd is None:
            message = bytes(framed.message)
        elif not pinned.prehash:
            assert framed.fd is not None
            message, fds = Descriptor(0, len(framed.message)), (os.dup(framed.fd),)
        params = SignParams(pinned.entry.name, message, _context(job.item) if pinned.certificates else None)
        yield pinned.backend, Call("sign", params, partial(judge, job, place), fds)


def _context(item: SealItem) -> SignContext:
    return SignContext(item.decision.tenant, item.audit_id, item.identity.token if item.identity else "")
