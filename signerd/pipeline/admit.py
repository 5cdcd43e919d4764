"""Keys and quota: the last gate before content is looked at."""

from types import TracebackType

from signerd.contracts.services import Charge
from signerd.errors import Refusal
from signerd.pipeline.evidence import Admission, Cleared
from signerd.pipeline.keyless import identity_for
from signerd.pipeline.services import Services
from signerd.pipeline.signers import choose_keys
from signerd.wire.methods import Descriptor

__all__ = ["admit", "charge_for"]


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


def _check_size(cleared: Cleared) -> None:
    """Refuse a predicate above the plan's size (bytes); the daemon's own limit was checked with the shape."""
    predicate = cleared.entitled.order.params.document
    size = predicate.size if isinstance(predicate, Descriptor) else len(predicate)
    limit = cleared.entitled.entitlement.limits.size
    if size > limit:
        raise Refusal(
            "quota.size",
            "size_exceeded",
            "the document is larger than the plan allows",
            details={"limit": limit, "remaining": 0, "reset_at": 0},
        )
