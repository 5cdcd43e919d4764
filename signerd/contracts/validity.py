"""Whether a key may sign now.

Front end and sealer decide by this one function: the front end early, the sealer for good.
"""

from typing import Final

from signerd.errors import Fault, Refusal, SignerdError
from signerd.wire.ring import Grant, RingEntry

__all__ = ["UNLOGGED", "check_validity", "in_force", "status_at"]

UNLOGGED: Final = "unlogged"
"""Status of a version that only the ring's file knows and no leaf backs: its public key may be a stranger's (T22), and
is not told to anybody."""
_SIGNING: Final = frozenset({"active", "retiring"})


def check_validity(entry: RingEntry, now_ms: int) -> None:
    """Refuse a key that is not valid at ``now_ms`` (Unix milliseconds); the first of these that applies.

    ``key.revoked`` at or after ``revoked_at``, ``key.suspended`` while suspended, ``key.expired`` at or after
    ``expires_at`` (reason ``expired``) and ``retire_at`` (``retired``), ``key.not_yet_valid`` before ``added_at`` or
    while pending. 0 is never. A status that this version does not know does not sign: ``key.suspended``, reason
    ``status_unknown``. Before all of these, a version that no leaf backs is a fault: ``key.backend_fault``, reason
    ``ring_unlogged``.
    """
    if entry.status == UNLOGGED:
        raise Fault("key.backend_fault", "ring_unlogged", "the key ring does not agree with the log")
    if entry.status == "revoked" or 0 < entry.revoked_at <= now_ms:
        raise Refusal("key.revoked", "revoked", "the key is revoked")
    if entry.status == "suspended":
        raise Refusal("key.suspended", "suspended", "the key is suspended")
    if entry.status == "retired" or 0 < entry.retire_at <= now_ms:
        raise Refusal("key.expired", "retired", "the key has been retired")
    if entry.status == "expired" or 0 < entry.expires_at <= now_ms:
        raise Refusal("key.expired", "expired", "the key has expired")
    if entry.status == "pending" or now_ms < entry.added_at:
        raise Refusal("key.not_yet_valid", "not_yet_valid", "the key is not valid yet")
    if entry.status not in _SIGNING:
        raise Refusal("key.suspended", "status_unknown", "the key has a status that does not sign")


def in_force(grant: Grant, now_ms: int, monotonic: float, boot: str) -> bool:
    """Whether an admin's exception holds at ``now_ms`` (Unix milliseconds) and ``monotonic`` (seconds of ``boot``).

    It ends by whichever clock comes first, so that a wall clock set back prolongs nothing; with a monotonic end, it
    ends with the boot too.
    """
    if now_ms >= grant.expires_at:
        return False
    return not grant.until_ms or (grant.boot == boot and monotonic * 1000 < grant.until_ms)


def status_at(entry: RingEntry, now_ms: int) -> str:
    """Return the status that decides at ``now_ms``: the entry's, or what time has made of it."""
    try:
        check_validity(entry, now_ms)
    except SignerdError as error:
        return _BY_REASON.get(error.reason, entry.status)
    return entry.status


_BY_REASON: Final = {
    "revoked": "revoked",
    "suspended": "suspended",
    "retired": "retired",
    "expired": "expired",
    "not_yet_valid": "pending",
}
