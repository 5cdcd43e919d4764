"""What crosses the link between front end and sealer for MACs: as :mod:`signerd.wire.links` for signatures.

A MAC that was made is closed like a signature (``close_many``), and what ended before it came here is refused like one
(``refuse_many``).
"""

import msgspec

from signerd.wire.links import KeyUse, RequestFacts
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import CallError

__all__ = ["MacDecision", "MacItem", "MacMany", "MacOutcome", "Maced", "MacedMany"]


class MacDecision(msgspec.Struct, frozen=True, omit_defaults=True):
    """The decision, as the ``decided`` leaf has it: whose key makes or checks a MAC over ``size`` bytes, for what."""

    principal: str
    tenant: str
    plan: str
    key: KeyUse
    algorithm: str
    purpose: str
    size: int
    degraded: tuple[str, ...] = ()


class MacItem(msgspec.Struct, frozen=True):
    """One MAC to make, or to compare with ``mac`` where there is one. ``deadline_ms`` is what is left of the request's
    time. The descriptor may be any that a caller handed over: nobody but the key's worker reads it."""

    audit_id: str
    request: RequestFacts
    decision: MacDecision
    data: bytes | Descriptor
    deadline_ms: int
    mac: bytes | None = None
    principal_expires_at: int = 0


class MacMany(msgspec.Struct, frozen=True, tag_field="type", tag="mac_many"):
    """Make or check these; the outcomes come as they are ready, in any order."""

    items: tuple[MacItem, ...]


class Maced(msgspec.Struct, frozen=True, omit_defaults=True):
    """What leaves the sealer once ``decided`` is durable: the MAC, or whether it is the key's."""

    mac: bytes = b""
    valid: bool = False


class MacOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of ``ok`` and ``error``. ``recorded`` is false where not even the error could be recorded."""

    audit_id: str
    ok: Maced | None = None
    error: CallError | None = None
    recorded: bool = True


class MacedMany(msgspec.Struct, frozen=True, tag_field="type", tag="maced_many"):
    """Outcomes of ``mac_many``, each when it is ready."""

    outcomes: tuple[MacOutcome, ...]
