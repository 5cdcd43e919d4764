"""What an order makes of a key's versions: pure, so that every case can be tried.

::

    (generate) -> active --suspend--> suspended --resume--> active
                    |  \\--retire--> retired          (and from retiring and suspended)
                    \\--rotate--> retiring --time--> retired
    any of them but revoked --revoke--> revoked, for good

A revoked version can turn out to have been compromised, which changes its cause and what verifiers make of it; no other
cause follows a first one. A version never comes back from ``revoked`` or ``retired``. Under one reference at most one
is ``active``: the newest.
"""

from collections.abc import Sequence
from typing import Final, NoReturn

from msgspec.structs import replace

from signerd.contracts.validity import status_at
from signerd.errors import Refusal
from signerd.wire.orders import KeyOrder
from signerd.wire.ring import RingEntry

__all__ = ["changed", "check_new", "check_order", "new_version"]

LONGEST_REASON: Final = 1000
"""Characters of an operator's reason or name: what a leaf repeats for ever must be bounded."""
_FROM: Final = {
    "suspend": frozenset({"active", "retiring", "pending", "expired"}),
    "resume": frozenset({"suspended"}),
    "retire": frozenset({"active", "retiring", "suspended", "pending", "expired"}),
    "revoke": frozenset({"active", "retiring", "suspended", "pending", "expired", "retired"}),
}


def check_order(order: KeyOrder, now: int) -> None:
    """Refuse (``request.malformed``) an order whose fields do not go together; ``now`` is Unix milliseconds.

    Reasons: ``field`` for one that the operation does not have (``details.name``), ``reason_length``,
    ``invalid_since`` for a time in the future, ``overlap`` for a negative one.
    """
    operation = order.operation
    allowed = {
        "generate": {"algorithm"},
        "rotate": {"algorithm", "handle", "overlap_s"},
        "revoke": {"version", "cause"} | ({"invalid_since"} if order.cause == "compromised" else set()),
    }.get(operation, {"version"})
    for name in ("version", "algorithm", "handle", "overlap_s", "cause", "invalid_since"):
        if getattr(order, name) and name not in allowed:
            raise Refusal("request.malformed", "field", "this operation has no such field", details={"name": name})
    if len(order.reason) > LONGEST_REASON or len(order.by) > LONGEST_REASON:
        _malformed("reason_length", "the reason is too long")
    if not 0 <= order.invalid_since <= now:
        _malformed("invalid_since", "a key cannot be invalid since a time to come")
    if order.overlap_s < 0 or order.version < 0:
        _malformed("overlap", "expected no negative number")


def check_new(order: KeyOrder, versions: Sequence[RingEntry]) -> None:
    """Refuse what cannot have a new version: ``generate`` for a key that has one (``request.conflict``, ``exists``),
    ``rotate`` for a key that has none (``key.not_found``)."""
    if order.operation == "generate" and versions:
        raise Refusal("request.conflict", "exists", "the key is there already; rotate it")
    if order.operation == "rotate" and not versions:
        raise Refusal("key.not_found", "no_such_key", "no such key")


def new_version(order: KeyOrder, versions: Sequence[RingEntry], made: RingEntry, now: int) -> tuple[RingEntry, ...]:
    """Return what changes when ``made`` becomes the newest version; ``versions`` are the key's, oldest first.

    What signed before finishes what was decided with it for ``overlap_s``, and no longer than it would have without;
    a suspended version stays so, and resumed it has no more than that time. ``made`` comes first.
    """
    until = now + order.overlap_s * 1000
    changes = [replace(made, version=versions[-1].version + 1 if versions else 1, status="active", added_at=now)]
    for entry in versions:
        if status_at(entry, now) in ("active", "retiring", "suspended", "pending", "expired"):
            end = min(until, entry.retire_at) if entry.retire_at else until
            status = entry.status if entry.status == "suspended" else "retiring"
            if (status, end) != (entry.status, entry.retire_at):
                changes.append(replace(entry, status=status, retire_at=end))
    return tuple(changes)


def changed(order: KeyOrder, versions: Sequence[RingEntry], now: int) -> RingEntry:
    """Return the version that ``order`` (suspend, resume, revoke, retire) names, as it is after it.

    Refuses ``key.not_found``, for a revoked one ``key.revoked`` unless it is revoked as ``compromised`` and was not
    before (it stays revoked since when it was), for one in another status ``request.conflict``,
    reason ``wrong_status``.
    """
    wanted = [entry for entry in versions if order.version in (0, entry.version)]
    if not wanted:
        raise Refusal("key.not_found", "no_such_key", "no such key")
    entry = wanted[-1]
    status = status_at(entry, now)
    worse = order.operation == "revoke" and order.cause == "compromised" != entry.cause
    if status == "revoked" and not worse:
        raise Refusal("key.revoked", "revoked", "the key is revoked")
    if status != "revoked" and status not in _FROM[order.operation]:
        raise Refusal("request.conflict", "wrong_status", "the key is not in a status for that")
    if order.operation == "suspend":
        return replace(entry, status="suspended")
    if order.operation == "resume":
        return replace(entry, status="retiring" if entry.retire_at else "active")
    if order.operation == "retire":
        return replace(entry, status="retired", retire_at=now)
    cause = order.cause or "unspecified"
    # Compromised at an unknown time is compromised from the first.
    since = (order.invalid_since or entry.added_at) if cause == "compromised" else 0
    return replace(entry, status="revoked", revoked_at=entry.revoked_at or now, cause=cause, invalid_since=since)


def _malformed(reason: str, text: str) -> NoReturn:
    raise Refusal("request.malformed", reason, text)
