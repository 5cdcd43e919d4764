"""``[limits]``, and its defaults as named constants with their reasons."""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from signerd.host.config_types import FRAME_BYTES, Bytes, Count, Seconds

__all__ = ["AUDIT_REFUSED_BYTES", "Limits"]

REQUEST_DEADLINE_S: Final = 30.0
"""A caller that names no deadline: enough for a hardware key behind a queue, short of a caller's own
time-out.
"""
LONGEST_DEADLINE_S: Final = 120.0
"""What a caller may ask for at most: longer ones would only hold slots for callers that have gone."""
HELLO_TIMEOUT_S: Final = 5.0
"""The first message needs no thought: who is silent for longer holds a connection for nothing."""
BIND_TIMEOUT_S: Final = 30.0
"""Fetching a token first may take a while; past this an unbound connection is closed."""
CONNECTIONS_PER_UID: Final = 256
"""A quarter of all: no single user can keep the others out."""
CONNECTIONS: Final = 1024
"""Bounds memory and descriptors, with room below the usual soft limit once it is raised."""
IN_FLIGHT: Final = 64
"""Per connection: the depth at which groups are full; a plan may lower it."""
UNBOUND_BYTES_PER_UID: Final = 4 * 1024 * 1024
"""What callers without a principal may make the daemon hold: four frames of an unbound connection."""
INLINE_BYTES: Final = 1024 * 1024
"""Larger values come by descriptor, so that no frame holds up a connection for long."""
PAYLOAD_BYTES: Final = 128 * 1024 * 1024
"""Twice the largest SBOMs seen in practice, and the most: memory for one document is a multiple of this."""
BATCH_ITEMS: Final = 256
"""One frame's worth of statements of 2 KB with room to spare; more brings no more speed."""
SUBJECTS: Final = 1024
"""A release with more artefacts is better described by several statements."""
DIGESTS: Final = 32
"""Per subject: more than there are algorithms in use."""
AUDIT_WRITE_S: Final = 2.0
"""A disk that takes longer is broken for the callers' purposes; the hang becomes a refusal."""
AUDIT_REFUSED_BYTES: Final = 256 * 1024
"""Per uid and minute: some 300 refusals, each recorded by itself, tell what happened; the rest is counted."""
WORKER_CALL_SOFTWARE_S: Final = 1.0
"""A software signature takes far less than a millisecond; a full group of RSA-4096 still fits."""
WORKER_CALL_HSM_S: Final = 10.0
"""Hardware queues, and some of it takes hundreds of milliseconds a signature."""
WORKER_CALL_NETWORK_S: Final = 25.0
"""Below the request's default deadline, so that the caller hears why."""
WORKER_BACKOFF_FIRST_S: Final = 0.1
"""Most crashes are single: the worker is back before callers notice."""
WORKER_BACKOFF_LONGEST_S: Final = 30.0
"""What keeps crashing is tried twice a minute, which costs nothing and ends by itself."""

OUTBOX_BYTES: Final = 512 * 1024 * 1024
"""Of bundles that wait for their entries, or whose entries have come and may be fetched: a hundred thousand usual ones.
Beyond it the oldest are dropped; their entries stay."""
OUTBOX_DAYS: Final = 30.0
"""How long an entry that came later can be fetched. The audit log names it for ever."""


class Limits(msgspec.Struct, frozen=True):
    """``[limits]``: each with a default of that name in this module, where its reason stands."""

    request_deadline_s: Seconds = REQUEST_DEADLINE_S
    longest_deadline_s: Seconds = LONGEST_DEADLINE_S
    hello_timeout_s: Seconds = HELLO_TIMEOUT_S
    bind_timeout_s: Seconds = BIND_TIMEOUT_S
    connections_per_uid: Count = CONNECTIONS_PER_UID
    connections: Count = CONNECTIONS
    in_flight: Count = IN_FLIGHT
    unbound_bytes_per_uid: Bytes = UNBOUND_BYTES_PER_UID
    inline_bytes: Annotated[int, Meta(ge=1024, le=FRAME_BYTES - 64 * 1024)] = INLINE_BYTES
    payload_bytes: Annotated[int, Meta(ge=1, le=PAYLOAD_BYTES)] = PAYLOAD_BYTES
    batch_items: Annotated[int, Meta(ge=1, le=4096)] = BATCH_ITEMS
    subjects: Count = SUBJECTS
    digests: Count = DIGESTS
    audit_write_s: Seconds = AUDIT_WRITE_S
    audit_refused_bytes: Bytes = AUDIT_REFUSED_BYTES
    worker_call_software_s: Seconds = WORKER_CALL_SOFTWARE_S
    worker_call_hsm_s: Seconds = WORKER_CALL_HSM_S
    worker_call_network_s: Seconds = WORKER_CALL_NETWORK_S
    worker_backoff_first_s: Seconds = WORKER_BACKOFF_FIRST_S
    worker_backoff_longest_s: Seconds = WORKER_BACKOFF_LONGEST_S
    outbox_bytes: Bytes = OUTBOX_BYTES
    outbox_days: Annotated[float, Meta(gt=0, le=3650)] = OUTBOX_DAYS

    def seconds_for(self, deadline_ms: int | UnsetType) -> float:
        """Return how many seconds a request may take that asked for ``deadline_ms``, or named none."""
        if deadline_ms is UNSET:
            return self.request_deadline_s
        return min(deadline_ms / 1000, self.longest_deadline_s)
