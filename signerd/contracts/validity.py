"""Whether a key may sign now. Front end and sealer decide by this one function: the front end early, the sealer for good."""

from signerd.errors import Refusal
from signerd.wire.links import RingEntry

__all__ = ["check_validity"]


def check_validity(entry: RingEntry, now_ms: int) -> None:
    """Refuse a key that is not valid at ``now_ms`` (Unix milliseconds).

    ``key.not_yet_valid`` before ``added_at``, ``key.revoked`` at or after ``revoked_at``, ``key.expired`` at or after
    ``expires_at``, ``key.suspended`` while suspended.
    """
    if entry.revoked_at and now_ms >= entry.revoked_at:
        raise Refusal("key.revoked", "revoked", "the key is revoked")
    if entry.status == "suspended":
        raise Refusal("key.suspended", "suspended", "the key is suspended")
    if now_ms < entry.added_at:
        raise Refusal("key.not_yet_valid", "not_yet_valid", "the key is not valid yet")
    if entry.expires_at and now_ms >= entry.expires_at:
        raise Refusal("key.expired", "expired", "the key has expired")
