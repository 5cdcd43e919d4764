"""Waiting for the touch that approves a signature: what a refusal says of it, and when to ask again."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from signerd.errors import SignerdError
from signerd_client.requests import PayloadRequest, SignRequest

__all__ = ["Approval", "Touch", "approval_of"]

R = TypeVar("R", SignRequest, PayloadRequest)

_PAUSE_S: Final = 1.0
_MARGIN_MS: Final = 10_000
"""How long the daemon is asked beyond the approval's end: it is the one who says that the time is over."""


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval that waits for somebody: ``key`` is the reference of the authenticator, ``expires_at`` Unix
    milliseconds."""

    approval_id: str
    key: str
    expires_at: int


def approval_of(error: SignerdError) -> Approval | None:
    """Return the approval that a refusal says is waited for; None where none is, or no more."""
    if error.code != "key.presence_required":
        return None
    approval_id, key, expires_at = (error.details.get(name) for name in ("approval_id", "key", "expires_at"))
    if not isinstance(approval_id, str) or not isinstance(expires_at, int):
        return None
    return Approval(approval_id, key if isinstance(key, str) else "", expires_at)


class Touch:
    """One request until somebody has approved it. ``told`` is called once, with the approval that is waited for."""

    def __init__(self, told: Callable[[Approval], None] | None = None) -> None:
        self._told = told
        self._waits = False

    def again(self, request: R, error: SignerdError) -> tuple[float, R]:
        """Return in how many seconds to ask again, and what; raises ``error`` where asking again brings nothing."""
        approval = approval_of(error)
        if approval is None or time.time() * 1000 > approval.expires_at + _MARGIN_MS:
            raise error
        if not self._waits and self._told is not None:
            self._told(approval)
        self._waits = True
        pause = _PAUSE_S if error.retry_after_ms is None else error.retry_after_ms / 1000
        return pause, replace(request, approval_id=approval.approval_id)
