"""What the composition root hands in at start. No module reaches these as globals.

Each takes and gives arrays: a single request is an array of one.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from signerd.contracts.providers import Maybe
from signerd.errors import SignerdError
from signerd.wire.links import Close, RefusedRecord, Sealed, SealItem
from signerd.wire.mac_links import Maced, MacItem

__all__ = ["AuditStore", "Charge", "Clock", "Leaf", "QuotaStore", "Remaining", "Sealer", "WhenMaced", "WhenSealed"]


class Clock(Protocol):
    """The one source of time."""

    def now_ms(self) -> int:
        """Return wall time in Unix milliseconds."""

    def monotonic(self) -> float:
        """Return seconds that never go back: deadlines and rates."""


WhenSealed = Callable[["tuple[Sealed, tuple[int, ...]] | SignerdError"], None]
"""Takes the end of one item: what was sealed, with the descriptors that its large values are in, or why it was not."""


WhenMaced = Callable[["Maced | SignerdError"], None]
"""Takes the end of one MAC."""


class Sealer(Protocol):
    """The second process, as the front end asks it.

    Nothing here waits: everything is queued, and what a turn has brought goes over as arrays.
    """

    def seal(self, item: SealItem, fd: int | None, then: WhenSealed) -> None:
        """Queue an item; ``fd`` is its payload's memfd, which stays the caller's. ``then`` is called once.

        With an error, the record is closed already, or will be by whoever opens the log next.
        """

    def mac(self, item: MacItem, fd: int | None, then: WhenMaced) -> None:
        """Queue an item; ``fd`` is the caller's, any that holds its data. ``then`` as that of :meth:`seal`."""

    def forget(self, audit_id: str) -> None:
        """Drop the end of an item when it comes: its request was cut short."""

    def close(self, close: Close) -> None:
        """Queue how a sealed record ended."""

    def refuse(self, refusal: RefusedRecord) -> None:
        """Queue the one leaf of what ended before it was sealed."""

    def when_recorded(self, audit_id: str, then: Callable[[SignerdError | None], None]) -> bool:
        """Call ``then`` once the refusal is durable, or with why it is not; False where none is pending."""
        ...


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


@runtime_checkable
class QuotaStore(Protocol):
    """Rates, counts and slots, per tenant: a plan that changes takes them over.

    Each method may wait, as those of :mod:`signerd.contracts.providers`. What raises, or is cancelled, has done
    nothing. A daemon that is killed gives nothing back: a store that outlives it lets slots lapse after a time of its
    own.
    """

    def admit_many(self, charges: Sequence[Charge]) -> Maybe[Sequence["Remaining | SignerdError"]]:
        """Take a slot and charge the rate for each; a ``quota.*`` refusal stands at the index of what was refused.

        A refusal takes no slot and charges nothing; its details are ``limit``, ``remaining`` and ``reset_at`` (Unix
        milliseconds, 0 where no time will help). Slots in use count against the day: what is being signed will be.
        """

    def release_many(self, charges: Sequence[Charge], *, signed: bool) -> Maybe[None]:
        """Give the slots back; count against the day what was signed. No caller waits for the end of it."""

    def seed(self, day: int, counts: dict[str, int]) -> Maybe[None]:
        """Take a UTC day's counts per tenant, as this host's audit log has them, when the sealer's link opens.

        No count is lowered; the same may come again. ``day`` is that of the epoch.
        """


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
        """Make all durable in one commit and return the index of the first; else ``audit.unavailable``."""

    def open_records(self) -> Sequence[Leaf]:
        """Return the ``decided`` leaves that no ``outcome`` closes: what a crash left behind."""

    def ring_leaves(self) -> Sequence[tuple[int, bytes]]:
        """Return index and text of every ``ring`` leaf, oldest first."""

    def admin_leaves(self) -> Sequence[bytes]:
        """Return the text of every ``admin`` leaf, oldest first."""

    def presence_leaves(self) -> Sequence[bytes]:
        """Return the text of every ``presence`` leaf, oldest first."""

    def leaves_at(self, indices: Sequence[int]) -> Sequence[bytes]:
        """Return the texts of these leaves, in the log's order."""

    def leaf_of(self, audit_id: str) -> bytes | None:
        """Return the text of the leaf that began the record ``audit_id``; None where there is none."""

    def daily_counts(self, day: int) -> dict[str, int]:
        """Return how many records were signed per tenant on that UTC day (days since the epoch)."""
