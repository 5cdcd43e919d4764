"""What an operator orders of a key: one Struct for every operation, from the admin plane to the sealer's ring.

The names are those of ``docs/protocol.md``, Admin plane. Times are Unix milliseconds; an empty field says nothing.
"""

from typing import Literal

import msgspec

__all__ = ["Cause", "KeyOrder", "Operation"]

Operation = Literal["generate", "rotate", "suspend", "resume", "revoke", "retire"]
"""``resume`` lifts a suspension."""

Cause = Literal["", "unspecified", "superseded", "compromised", "cessation"]
"""Why a key was revoked (the reasons of RFC 5280, 5.3.1, that a signing key can have)."""


class KeyOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation on one key. ``by`` names who ordered it (``uid:1000``), ``reason`` is the operator's own text.

    ``version`` 0 is the newest. ``handle`` is what the backend calls a new version that is there already; empty: the
    backend makes one. ``overlap_s`` is how long a rotated version may still finish what was decided with it.
    """

    operation: Operation
    key: str
    reason: str
    by: str = ""
    version: int = 0
    algorithm: str = ""
    handle: str = ""
    overlap_s: int = 0
    cause: Cause = ""
    invalid_since: int = 0
