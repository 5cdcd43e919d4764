"""What the stages work with, put together once at start by the composition root."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from signerd.contracts.providers import Authenticator, EntitlementSource, ReleaseCheck
from signerd.contracts.services import Clock
from signerd.contracts.values import Peer
from signerd.errors import SignerdError
from signerd.pipeline.catalogue import Catalogue
from signerd.pipeline.charging import Charging
from signerd.pipeline.guarded import Guarded
from signerd.pipeline.record import Entry
from signerd.pipeline.request import SignRequest
from signerd.pipeline.tenants import Tenant
from signerd.wire.links import Close, RefusedRecord
from signerd.wire.methods import HmacCompute, HmacVerify, SignDsse, SignPayload
from signerd.wire.ring import Grant, RingEntry

__all__ = ["Bounds", "Deadlines", "Exceptions", "Ledger", "Ring", "Services"]


class Ledger(Protocol):
    """The front end's way to the audit log: both queue and never wait (the sealer writes)."""

    def close(self, close: Close) -> None:
        """Queue the outcome of a sealed record."""

    def refuse(self, refusal: RefusedRecord) -> None:
        """Queue the one leaf of what ended before ``decided``."""


class Deadlines(Protocol):
    """The one heap of deadlines: what runs out of time has ``request.deadline`` thrown into it."""

    def deadline(self, request: SignRequest) -> AbstractContextManager[None]:
        """Watch ``request.deadline`` while the scope is open."""


class Ring(Protocol):
    """The front end's read-only copy of the key ring. The sealer checks everything again."""

    def find(self, tenant: str, key: str) -> RingEntry | None:
        """Return the version of ``key`` that signs; another tenant's key does not exist (T14)."""

    def find_version(self, tenant: str, keyid: str) -> RingEntry | None:
        """Return the version of one of the tenant's keys that has this id."""

    def why_absent(self, key: str) -> SignerdError | None:
        """Return why a configured key, which whoever asks may know of, was never described."""


class Exceptions(Protocol):
    """What admins have allowed for a while although policy would not; times as in :class:`Clock`."""

    def bypass(self, tenant: str, now_ms: int, monotonic: float) -> Grant | None:
        """Return the bypass of the entitlement source that is in force for ``tenant``."""

    def approved_release(self, digest: str, tenant: str, now_ms: int, monotonic: float) -> Grant | None:
        """Return the approval that is in force for a tool's digest, for ``tenant`` or for all."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The daemon's own limits (``[limits]``) that stages look at. Sizes in bytes."""

    inline_bytes: int
    payload_bytes: int
    subjects: int
    digests: int
    front_document_bytes: int


@dataclass(frozen=True, slots=True)
class Services:
    """Providers under their guard, tenants, catalogue, ring, quotas, clock, and the way to the record.

    ``published`` are the kinds of publishers that an answer may wait for: ``log``, ``stamp``.

    ``new_id`` names a second record of one request.

    ``check_claims`` refuses orders that do not name each descriptor of their frame exactly once, and
    descriptors that are not what their place asks for (T19).
    """

    audience: str
    authenticators: tuple[Guarded[Authenticator], ...]
    entitlements: Guarded[EntitlementSource]
    release_checks: tuple[Guarded[ReleaseCheck], ...]
    catalogue: Catalogue
    tenants: Mapping[str, Tenant]
    ring: Ring
    exceptions: Exceptions
    quotas: Charging
    ledger: Ledger
    deadlines: Deadlines
    clock: Clock
    bounds: Bounds
    published: frozenset[str]
    new_id: Callable[[], str]
    check_claims: Callable[[Iterable[SignDsse | SignPayload | HmacCompute | HmacVerify], tuple[int, ...]], None]

    def record(self, request: SignRequest, peer: Peer) -> AbstractAsyncContextManager[Entry]:
        """Open the scope that leaves exactly one closed record, however the request ends."""
        return Entry(request, peer, self.ledger)

    def deadline(self, request: SignRequest) -> AbstractContextManager[None]:
        """Open the scope within which the request's deadline is thrown into the story."""
        return self.deadlines.deadline(request)
