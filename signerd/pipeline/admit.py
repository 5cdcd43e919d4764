"""Keys and quota: the last gate before content is looked at."""

from collections.abc import Sequence
from functools import lru_cache
from types import TracebackType

from msgspec import UNSET

from signerd.attestation.algorithms import COSIGN_ALGORITHMS, PROFILES
from signerd.contracts.services import Charge
from signerd.contracts.validity import check_validity
from signerd.errors import Refusal
from signerd.pipeline.evidence import Admission, Cleared, Order
from signerd.pipeline.keyless import default_keyless, identity_for
from signerd.pipeline.services import Services
from signerd.verification.keys import PublicKey
from signerd.verification.rekor2 import key_details
from signerd.wire.methods import Descriptor
from signerd.wire.ring import RingEntry

__all__ = ["admit", "charge_for", "choose_key", "choose_keys", "no_such_key", "wants"]


class admit:  # noqa: N801  a scope that reads as a verb in the story
    """Choose the keys, check their validity and the plan's size, hold a slot while the scope is open.

    Refuses with ``key.*`` and ``quota.*``. The rate is charged here, the daily count on success.
    """

    __slots__ = ("_charge", "_cleared", "_services")

    def __init__(self, cleared: Cleared, services: Services) -> None:
        self._cleared = cleared
        self._services = services
        self._charge: Charge | None = None

    async def __aenter__(self) -> Admission:
        cleared, services = self._cleared, self._services
        order = cleared.entitled.order
        keys = choose_keys(order, cleared.entitled.entitlement.plan, services)
        identity = identity_for(order, keys, services)
        _check_size(cleared)
        charge = charge_for(cleared)
        remaining = await services.quotas.admit(charge)
        self._charge = charge
        return Admission(cleared, keys, charge, remaining, identity)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._charge is not None:
            self._services.quotas.release(self._charge, signed=error is None)


def charge_for(cleared: Cleared) -> Charge:
    """Return the claim that one request makes on its tenant's plan."""
    entitlement = cleared.entitled.entitlement
    limits = entitlement.limits
    tenant = cleared.entitled.order.principal.tenant
    return Charge(tenant, entitlement.plan, limits.rate, limits.burst, limits.daily, limits.concurrency)


def choose_keys(order: Order, plan: str, services: Services) -> tuple[RingEntry, ...]:
    """Return the ring's entries for what the request names, or the default key of the plan or the tenant.

    Another tenant's key is ``key.not_found`` (T14). Every key must be valid now, and its algorithm within the
    tenant's profile and the output profile. ``key.forbidden``: ``other_plan``, ``hardware_required``.
    """
    options = order.params.options
    tenant = order.tenant
    if options and options.keys:
        names: Sequence[str] = options.keys
    else:
        named = tenant.default_keys.get(plan, tenant.default_key)
        names = (default_keyless(order, named) if options and options.mode == "keyless" else named,)
    return tuple([choose_key(name, plan, order, services) for name in names])


def no_such_key() -> Refusal:
    """Return what is said of a key that does not exist for whoever asks."""
    return Refusal("key.not_found", "no_such_key", "no such key")


def choose_key(name: str, plan: str, order: Order, services: Services) -> RingEntry:
    """Return the version that signs for the reference ``name``; refuses as :func:`choose_keys`."""
    tenant = order.tenant
    entry = services.ring.find(order.principal.tenant, name)
    if entry is None:
        raise (name in tenant.rules and services.ring.why_absent(name)) or no_such_key()
    if entry.makes_macs:
        raise Refusal("key.forbidden", "mac_key", "the key makes MACs; it signs nothing")
    check_validity(entry, services.clock.now_ms())
    if entry.algorithm not in PROFILES[tenant.profile] or entry.algorithm not in COSIGN_ALGORITHMS:
        raise Refusal("key.algorithm_refused", "outside_profile", "the key's algorithm is outside the profile")
    if not entry.keyless and (order.transparency != "none" or wants(order, "rekor_request")):
        _check_logged(entry.spki)
    rule = tenant.rules.get(name)
    if rule is not None and rule.plans is not None and plan not in rule.plans:
        raise Refusal("key.forbidden", "other_plan", "the key does not sign for this plan")
    if tenant.require_hardware and not entry.hardware:
        raise Refusal("key.forbidden", "hardware_required", "the tenant's keys must be in hardware")
    return entry


def wants(order: Order, part: str) -> bool:
    """Whether the request asks for that further part of the result (``options.include``)."""
    options = order.params.options
    return options is not UNSET and options.include is not UNSET and part in options.include


@lru_cache(maxsize=1024)
def _check_logged(spki: bytes) -> None:
    """Refuse (``key.algorithm_refused``, ``not_logged``) a key whose signatures no transparency log takes."""
    key_details(PublicKey.from_spki(spki))


def _check_size(cleared: Cleared) -> None:
    """Refuse a predicate above the plan's size (bytes); the daemon's own limit was checked with the shape."""
    predicate = cleared.entitled.order.params.predicate
    size = predicate.size if isinstance(predicate, Descriptor) else len(predicate)
    limit = cleared.entitled.entitlement.limits.size
    if size > limit:
        raise Refusal(
            "quota.size",
            "size_exceeded",
            "the document is larger than the plan allows",
            details={"limit": limit, "remaining": 0, "reset_at": 0},
        )
