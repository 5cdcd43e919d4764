"""What the caller's tenant has paid for."""

from typing import Final

from signerd.contracts.values import Entitlement, PlanLimits, Principal, ProofOfEntitlement
from signerd.pipeline.evidence import Entitled, Order
from signerd.pipeline.guarded import ask
from signerd.pipeline.services import Services

__all__ = ["BYPASS", "BYPASS_LIMITS", "bypassed", "entitle", "plan_of"]

BYPASS: Final = "bypass"
"""The degradation of every receipt and record under a bypass."""
BYPASS_LIMITS: Final = PlanLimits(concurrency=64, size=128 * 1024 * 1024, rate=100.0, burst=200, daily=1_000_000)
"""Those of the plan `default`: the source, which knows the plan's own, is what is bypassed."""
_NONE = ProofOfEntitlement()


async def entitle(order: Order, services: Services) -> Entitled:
    """Return the plan in force; refuses with ``entitlement.*``.

    Under an admin's bypass the source is not asked: the plan is the bypass's, without a window of versions, and
    degraded. All that comes before and after this stage stays as it is (T8).
    """
    poe = order.params.poe
    proof = ProofOfEntitlement(poe.format, poe.value or None) if poe else _NONE
    return Entitled(order, await plan_of(order.principal, services, proof))


async def plan_of(principal: Principal, services: Services, proof: ProofOfEntitlement = _NONE) -> Entitlement:
    """Return the principal's plan; refuses with ``entitlement.*``."""
    bypass = bypassed(principal.tenant, services)
    if bypass is not None:
        return bypass
    source = services.entitlements
    return await ask(source, source.provider.entitle, Entitlement, principal, proof)


def bypassed(tenant: str, services: Services) -> Entitlement | None:
    """Return what stands in for the source's answer while an admin's bypass is in force for ``tenant``."""
    clock = services.clock
    bypass = services.exceptions.bypass(tenant, clock.now_ms(), clock.monotonic())
    if bypass is None:
        return None
    return Entitlement(bypass.subject, BYPASS_LIMITS, BYPASS, degraded=(BYPASS,))
