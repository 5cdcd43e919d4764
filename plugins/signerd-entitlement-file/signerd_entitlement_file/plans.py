"""The plans file: which plans there are, and which tenant has which.

::

    [plans.team]
    rate = 50            # per second; left out: no limit
    burst = 100
    daily = 100000       # per UTC day; left out: no limit
    concurrency = 32
    size = 16777216      # bytes of one document

    [tenants.acme]
    plan = "team"
    window = ["2026.01", "2026.12"]      # versions of the tool, year.month, both included
    expires = "2027-01-01T00:00:00Z"     # RFC 3339; at and after it the tenant is refused
"""

import datetime
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from signerd.contracts.values import PlanLimits

__all__ = ["BUILT_IN", "EMBEDDED", "Plans", "TenantPlan", "read_plans"]

MIB: Final = 1024 * 1024
EMBEDDED: Final = "embedded"
"""The plan of the daemon's own user, and of no other."""
BUILT_IN: Final[Mapping[str, PlanLimits]] = {
    # Own user, own machine: only what protects the daemon from a mistake.
    EMBEDDED: PlanLimits(concurrency=256, size=128 * MIB),
    # What a busy build service needs, and a fraction of what one core signs.
    "default": PlanLimits(concurrency=64, size=128 * MIB, rate=100.0, burst=200, daily=1_000_000),
}
"""The plans that are there without being configured; a plan of the same name in the file is refused."""

_Version = Annotated[str, Meta(pattern=r"^[0-9]{4}\.(0[1-9]|1[0-2])\Z")]
_Count = Annotated[int, Meta(ge=1, le=10**12)]


class _Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    concurrency: _Count
    size: _Count
    rate: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    burst: _Count = 1
    daily: _Count | None = None


class _Tenant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plan: str
    window: tuple[_Version, _Version] | None = None
    expires: datetime.datetime | None = None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plans: dict[Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")], _Plan] = {}
    tenants: dict[str, _Tenant] = {}


class TenantPlan(msgspec.Struct, frozen=True):
    """What one tenant has; ``expires_at`` in Unix milliseconds, None for never."""

    plan: str
    limits: PlanLimits
    window: tuple[str, str] | None = None
    expires_at: int | None = None


Plans = Mapping[str, TenantPlan]


def read_plans(document: Mapping[str, object]) -> Plans:
    """Return the plan of each tenant that ``document`` names; ValueError for what is out of shape."""
    try:
        read = msgspec.convert(dict(document), _Document)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc
    taken = sorted(set(read.plans) & set(BUILT_IN))
    if taken:
        raise ValueError(f"plans.{taken[0]}: expected another name, this plan is built in")
    limits = {**BUILT_IN, **{name: _limits(plan) for name, plan in read.plans.items()}}
    return {name: _tenant(name, tenant, limits) for name, tenant in read.tenants.items()}


def _limits(plan: _Plan) -> PlanLimits:
    return PlanLimits(plan.concurrency, plan.size, plan.rate, plan.burst, plan.daily)


def _tenant(name: str, tenant: _Tenant, limits: Mapping[str, PlanLimits]) -> TenantPlan:
    if tenant.plan not in limits:
        raise ValueError(
            f"tenants.{name}.plan: expected one of {', '.join(sorted(limits))}, got {tenant.plan}"
        )
    if tenant.window is not None and tenant.window[0] > tenant.window[1]:
        raise ValueError(f"tenants.{name}.window: expected the earlier version first")
    if tenant.expires is None:
        return TenantPlan(tenant.plan, limits[tenant.plan], tenant.window)
    if tenant.expires.tzinfo is None:
        raise ValueError(
            f"tenants.{name}.expires: expected a time with its offset, such as 2027-01-01T00:00:00Z"
        )
    return TenantPlan(tenant.plan, limits[tenant.plan], tenant.window, int(tenant.expires.timestamp() * 1000))
