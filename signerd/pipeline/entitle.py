"""What the caller's tenant has paid for."""

from signerd.contracts.values import Entitlement, ProofOfEntitlement
from signerd.pipeline.evidence import Entitled, Order
from signerd.pipeline.guarded import ask
from signerd.pipeline.services import Services

__all__ = ["entitle"]

_NONE = ProofOfEntitlement()


async def entitle(order: Order, services: Services) -> Entitled:
    """Return the plan in force; refuses with ``entitlement.*``."""
    poe = order.params.poe
    proof = ProofOfEntitlement(poe.format, poe.value or None) if poe else _NONE
    source = services.entitlements
    entitlement = await ask(source, source.provider.entitle, Entitlement, order.principal, proof)
    return Entitled(order, entitlement)
