"""``[approvals]``: which operations of the admin plane take more than one person, and who they are."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from signerd.host.config_types import Name, Uid

__all__ = ["Approvals", "Approver", "GatedOperation"]

APPROVAL_LIFE_S: Final = 86_400
"""A day: approvers sit in other time zones; who has not been found by then is asked anew."""

GatedOperation = Literal[
    "admin.approve_release",
    "admin.bypass",
    "admin.confirm",
    "keys.generate",
    "keys.resume",
    "keys.retire",
    "keys.revoke",
    "keys.rotate",
]
"""What can be made to need approvals. `keys.suspend` is not among them: it must work at once."""


class Approver(msgspec.Struct, frozen=True):
    """``[[approvals.approvers]]``: somebody whose signature counts as one approval."""

    name: Name
    """As records and `signerd approve` show it."""
    key: Annotated[str, Meta(min_length=1, max_length=4096)]
    """The public key, the one line of an OpenSSH `.pub` file without options: Ed25519, ECDSA P-256, RSA of 2048 to 8192
    bits, or the security-key forms of the first two. Nobody else may have the same."""
    uid: Uid | None = None
    """The uid by which the approver reaches `admin.sock`. What this uid asks for, this key cannot approve. Nobody
    else may have the same: one person with two keys is one approver."""


class Approvals(msgspec.Struct, frozen=True):
    """``[approvals]``: which operations of the admin plane take more than one person."""

    operations: dict[GatedOperation, Annotated[int, Meta(ge=1, le=64)]] = {}
    """How many approvers each operation needs, beside who asks for it: `{ "keys.revoke" = 2 }`. An operation that does
    not stand here takes one admin. `keys.suspend` never waits, so it cannot."""
    life_s: Annotated[int, Meta(ge=60, le=7 * 86_400)] = APPROVAL_LIFE_S
    """How long approvals may be gathered and then used, from the request on."""
    approvers: tuple[Approver, ...] = ()
    """Who may approve."""
