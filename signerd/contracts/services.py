"""What the composition root hands in at start. No module reaches these as globals.

Each takes and gives arrays: a single request is an array of one.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

__all__ = ["AuditStore", "Charge", "Clock", "Leaf", "QuotaStore", "Remaining"]


class Clock(Protocol):
    """The one source of time."""

    def now_ms(self) -> int:
        """Return wall time in Unix milliseconds."""

    def monotonic(self) -> float:
        """Return seconds that never go back: deadlines and rates."""


class Charge(msgspec.Struct, frozen=True):
    """One request's claim on a tenant's plan. None is no limit. ``size`` was checked before."""

    tenant: str
    plan: str
    rate: float | None
    burst: int
    daily: int | None
    concurrency: int


class Remaining(msgspec.Struct, frozen=True):
    """What is left after a charge; None where the plan has no such limit."""

    concurrency: int
    rate: int | None = None
    daily: int | None = None


class QuotaStore(Protocol):
    """Rates, counts and slots per tenant and plan."""

    def admit_many(self, charges: Sequence[Charge]) -> Sequence["Remaining | Exception"]:
        """Take a slot and charge the rate for each; a ``quota.*`` refusal stands at the index of what was refused."""

    def release_many(self, charges: Sequence[Charge], *, signed: bool) -> None:
        """Give the slots back; count against the day what was signed."""

    def seed(self, day: int, counts: dict[str, int]) -> None:
        """Take the day's counts per tenant, as the audit log has them, when the sealer's link opens."""


class Leaf(msgspec.Struct, frozen=True):
    """One audit leaf: the bytes that are hashed (RFC 6962), and the columns that queries look at."""

    text: bytes
    audit_id: str
    kind: str
    tenant: str
    time: int
    outcome: str = ""
    code: str = ""


class AuditStore(Protocol):
    """The durable, append-only log. Only the sealer has one."""

    def append_many(self, leaves: Sequence[Leaf]) -> int:
        """Make all durable in one commit and return the index of the first; ``audit.unavailable`` and nothing kept else."""

    def open_records(self) -> Sequence[Leaf]:
        """Return the ``decided`` leaves that no ``outcome`` closes: what a crash left behind."""

    def daily_counts(self, day: int) -> dict[str, int]:
        """Return how many records were signed per tenant on that UTC day (days since the epoch)."""
