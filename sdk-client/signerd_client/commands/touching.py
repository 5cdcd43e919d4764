"""Commands whose key may need that somebody touches an authenticator: what the person is told."""

import argparse
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from signerd.errors import SignerdError
from signerd_client.output import note
from signerd_client.presence import Approval, approval_of
from signerd_client.requests import PayloadRequest, SignRequest
from signerd_client.results import Signed

__all__ = ["signed"]

R_contra = TypeVar("R_contra", SignRequest, PayloadRequest, contravariant=True)


class _Signs(Protocol[R_contra]):
    """``sign_dsse`` or ``sign_payload`` of the blocking client."""

    def __call__(
        self,
        request: R_contra,
        *,
        deadline_s: float | None,
        wait_for_presence: bool,
        on_presence: Callable[[Approval], None] | None,
    ) -> Signed:
        """Have it signed."""


def signed(arguments: argparse.Namespace, sign: _Signs[R_contra], request: R_contra) -> Signed:
    """Have ``request`` signed, and with ``--wait`` wait for the touch; without it the approval's id is shown before the
    refusal is raised."""
    try:
        return sign(
            request, deadline_s=arguments.deadline, wait_for_presence=arguments.wait, on_presence=_tell
        )
    except SignerdError as error:
        approval = approval_of(error)
        if approval is not None:
            note(f"approval {approval.approval_id}: {_asked(approval)}, then repeat with --approval")
        raise


def _tell(approval: Approval) -> None:
    note(f"{_asked(approval)} (approval {approval.approval_id})")


def _asked(approval: Approval) -> str:
    left = max(0, approval.expires_at - int(time.time() * 1000)) // 1000
    return f"touch the key {approval.key} within {left} seconds"
