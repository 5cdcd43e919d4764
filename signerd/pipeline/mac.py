"""The story of one MAC: that of a signature, less what only a Statement has.

No release is asked for, as nothing is vouched for: whoever has the key learns that somebody else who has it saw these
bytes. The stages stand in the order of the story.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Final, cast

from msgspec import Raw

from signerd.attestation.macs import MACS, mac_for
from signerd.contracts.services import Charge
from signerd.contracts.validity import check_validity
from signerd.contracts.values import Entitlement, Peer, Principal
from signerd.errors import Detail, Refusal
from signerd.pipeline.authenticate import authenticate
from signerd.pipeline.entitle import plan_of
from signerd.pipeline.record import Entry
from signerd.pipeline.request import SignRequest
from signerd.pipeline.services import Services
from signerd.pipeline.signers import no_such_key
from signerd.pipeline.tenants import Tenant
from signerd.pipeline.waits import maced
from signerd.wire.links import KeyUse
from signerd.wire.mac_links import MacDecision, MacItem
from signerd.wire.methods import Descriptor, HmacCompute, HmacVerify, MacComputed, MacVerified, decode_params
from signerd.wire.ring import RingEntry

__all__ = ["MAC_SCOPE", "MacAdmission", "MacEnded", "MacOrder", "mac"]

MAC_SCOPE: Final = "signer.hmac"
MOST_BYTES: Final = 2**53 - 1
"""The largest integer of a record (RFC 7493); no file that anybody could read in time has so many."""


@dataclass(frozen=True, slots=True)
class MacOrder:
    """A request that is understood, within the principal's scope; ``size`` is that of its data."""

    request: SignRequest
    params: HmacCompute | HmacVerify
    principal: Principal
    tenant: Tenant
    size: int


@dataclass(frozen=True, slots=True)
class MacAdmission:
    """The order under a plan, its key, and the slot that it holds."""

    order: MacOrder
    entitlement: Entitlement
    key: RingEntry


@dataclass(frozen=True, slots=True)
class MacEnded:
    """What the caller gets."""

    audit_id: str
    result: MacComputed | MacVerified


async def mac(request: SignRequest, peer: Peer, services: Services) -> MacEnded:
    """Decide, then have the key's worker make or compare a MAC: any line may refuse, none can be skipped (T3)."""
    async with services.record(request, peer) as entry:
        with services.deadline(request):
            principal = await authenticate(request, services)
            order = _understand(principal, request, services)
            entitlement = await plan_of(principal, services)
            async with _admit(order, entitlement, services) as admission:
                ended = await _make(admission, entry, services)
    return ended


def _understand(principal: Principal, request: SignRequest, services: Services) -> MacOrder:
    """Return the request as an order: shape (``request.*``), then scope (``auth.scope_missing``)."""
    if isinstance(request.params, Refusal):
        raise request.params
    params = cast("HmacCompute | HmacVerify", decode_params(request.method, cast("Raw", request.params)))
    request.purpose = params.purpose
    services.check_claims((params,), request.fds)
    data, bounds = params.data, services.bounds
    size = data.size if isinstance(data, Descriptor) else len(data)
    limit = MOST_BYTES if isinstance(data, Descriptor) else bounds.inline_bytes
    if size > limit:
        reason = "payload_too_large" if isinstance(data, Descriptor) else "inline_too_large"
        raise Refusal("request.too_large", reason, "the data is too large to come so", details={"limit": limit})
    tenant = services.tenants.get(principal.tenant)
    if tenant is None:
        raise Refusal("auth.tenant_mismatch", "unknown_tenant", "this tenant is not served here")
    if MAC_SCOPE not in principal.scopes:
        raise Refusal("auth.scope_missing", "scope_missing", f"the scope {MAC_SCOPE} is missing")
    return MacOrder(request, params, principal, tenant, size)


class _admit:  # noqa: N801  a scope that reads as a verb in the story
    """Choose the key and hold a slot while the scope is open; the rate is charged, the day is not: it counts what is
    signed. Refuses with ``key.*`` and ``quota.*``."""

    __slots__ = ("_charge", "_entitlement", "_order", "_services")

    def __init__(self, order: MacOrder, entitlement: Entitlement, services: Services) -> None:
        self._order = order
        self._entitlement = entitlement
        self._services = services
        self._charge: Charge | None = None

    async def __aenter__(self) -> MacAdmission:
        order, plan, limits = self._order, self._entitlement.plan, self._entitlement.limits
        key = _choose_key(order, plan, self._services)
        charge = Charge(order.principal.tenant, plan, limits.rate, limits.burst, None, limits.concurrency)
        await self._services.quotas.admit(charge)
        self._charge = charge
        return MacAdmission(order, self._entitlement, key)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._charge is not None:
            self._services.quotas.release(self._charge, signed=False)


def _choose_key(order: MacOrder, plan: str, services: Services) -> RingEntry:
    """Return the version that is asked for. Another tenant's key does not exist (T14); ``key.forbidden`` for one that
    signs (``signing_key``), is for other purposes (``other_purpose``) or plans (``other_plan``)."""
    entry, tenant, params = _find(order, services), order.tenant, order.params
    # Not before: a record repeats no name that the tenant has no key of.
    order.request.key = entry.key
    if not entry.makes_macs:
        raise Refusal("key.forbidden", "signing_key", "the key signs; it makes no MACs")
    check_validity(entry, services.clock.now_ms())
    rule = tenant.rules.get(entry.key)
    if rule is None or params.purpose not in rule.purposes:
        raise Refusal("key.forbidden", "other_purpose", "the key is not for this purpose")
    if entry.algorithm not in mac_for(tenant.profile, params.purpose):
        raise Refusal("key.algorithm_refused", "outside_profile", "the key's algorithm is outside the profile")
    if rule.plans is not None and plan not in rule.plans:
        raise Refusal("key.forbidden", "other_plan", "the key is not for this plan")
    if tenant.require_hardware and not entry.hardware:
        raise Refusal("key.forbidden", "hardware_required", "the tenant's keys must be in hardware")
    length = MACS[entry.algorithm].mac_bytes
    if isinstance(params, HmacVerify) and len(params.mac) != length:
        # No cut MAC is ever compared: what its length proves would be for the caller to say.
        details: dict[str, Detail] = {"field": "mac", "limit": length}
        raise Refusal("request.malformed", "mac_length", f"a MAC of this key has {length} bytes", details=details)
    return entry


def _find(order: MacOrder, services: Services) -> RingEntry:
    tenant, name = order.tenant, order.params.key
    entry = services.ring.find(tenant.name, name)
    if entry is None and isinstance(order.params, HmacVerify):
        # A version that was rotated out still says what it has made, while it retires.
        entry = services.ring.find_version(tenant.name, name)
    if entry is None:
        raise (name in tenant.rules and services.ring.why_absent(name)) or no_such_key()
    return entry


async def _make(admission: MacAdmission, entry: Entry, services: Services) -> MacEnded:
    order, key, plan = admission.order, admission.key, admission.entitlement
    request, params, principal = order.request, order.params, order.principal
    use = KeyUse(key.key, key.source, key.keyid, key.version)
    decision = MacDecision(
        principal.name, principal.tenant, plan.plan, use, key.algorithm, params.purpose, order.size, plan.degraded
    )
    item = MacItem(
        request.audit_id,
        entry.hand_over(),
        decision,
        params.data,
        max(1, int((request.deadline - services.clock.monotonic()) * 1000)),
        params.mac if isinstance(params, HmacVerify) else None,
        principal.expires_at or 0,
    )
    made = await maced(item, request.fds[params.data.fd] if isinstance(params.data, Descriptor) else None)
    if isinstance(params, HmacVerify):
        return MacEnded(request.audit_id, MacVerified(made.valid, key.algorithm, key.keyid, request.audit_id))
    return MacEnded(request.audit_id, MacComputed(made.mac, key.algorithm, key.keyid, request.audit_id))
