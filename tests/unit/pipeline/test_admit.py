import dataclasses

import msgspec
import pytest

from fakes.services import (
    LIMITS,
    NOON,
    HeldKey,
    World,
    cleared,
    complete,
    order,
    refusal,
    request,
    world,
)
from signerd.contracts.services import Charge, Remaining
from signerd.contracts.values import Entitlement, PlanLimits
from signerd.errors import Fault
from signerd.pipeline.admit import admit, charge_for
from signerd.pipeline.evidence import Admission
from signerd.pipeline.tenants import Tenant
from signerd.wire.methods import Descriptor

TENANTS = (Tenant("acme", "file:acme"), Tenant("other", "file:other"))


def plan(**limits: object) -> Entitlement:
    return Entitlement("gold", msgspec.structs.replace(LIMITS, **limits), "fake")


def enter(given: World, **changes: object) -> tuple[admit, Admission]:
    scope = admit(cleared(given, request(order(**changes))), given.services)
    return scope, complete(scope.__aenter__(), given)


def leave(given: World, scope: admit, error: BaseException | None = None) -> None:
    complete(scope.__aexit__(type(error) if error else None, error, None), given)


def refused(given: World, **changes: object) -> tuple[str, str, object]:
    scope = admit(cleared(given, request(order(**changes))), given.services)
    return refusal(scope.__aenter__(), given)


def left(given: World, entitlement: Entitlement) -> Remaining:
    return given.quotas.peek(charge_for(cleared(world(plan=entitlement), request())))


def test_the_default_key_and_what_is_left_of_the_plan() -> None:
    given = world(plan=plan(rate=10.0, burst=5, daily=100))
    _, admission = enter(given)
    assert [key.key for key in admission.keys] == ["file:acme"]
    assert admission.charge == Charge("acme", "gold", 10.0, 5, 100, 4)
    assert admission.remaining == Remaining(concurrency=3, rate=4, daily=99)


@pytest.mark.parametrize("by_descriptor", [False, True])
@pytest.mark.parametrize("over", [0, 1])
def test_the_plans_size(over: int, by_descriptor: bool) -> None:
    given = world(plan=plan(size=100))
    evidence = cleared(given, request(order(predicate=b"x" * (100 + over))))
    if by_descriptor:
        params = order(predicate=Descriptor(0, 100 + over))
        asked = dataclasses.replace(evidence.entitled.order, params=params)
        evidence = dataclasses.replace(evidence, entitled=dataclasses.replace(evidence.entitled, order=asked))
    scope = admit(evidence, given.services)
    if over:
        details = {"limit": 100, "remaining": 0, "reset_at": 0}
        assert refusal(scope.__aenter__(), given) == ("quota.size", "size_exceeded", details)
        assert left(given, plan()) == Remaining(concurrency=4)
    else:
        assert complete(scope.__aenter__(), given).remaining == Remaining(concurrency=3)


def test_keys_come_before_size_and_size_before_rate() -> None:
    spent = plan(size=1, rate=1.0, burst=1)
    assert refused(world(plan=spent, keys=[]))[0] == "key.not_found"
    given = world(plan=plan(rate=1.0, burst=1))
    enter(given)
    assert refused(given)[0] == "quota.rate"
    given.plans.answer = spent
    assert refused(given)[0] == "quota.size"


def test_a_slot_is_held_while_the_scope_is_open() -> None:
    given = world(plan=plan(concurrency=2))
    scopes = [enter(given)[0], enter(given)[0]]
    details = {"limit": 2, "remaining": 0, "reset_at": 0}
    assert refused(given) == ("quota.concurrency", "concurrency_exceeded", details)
    leave(given, scopes[0])
    scopes[0] = enter(given)[0]
    leave(given, scopes[1], Fault("request.deadline", "deadline", "over"))
    assert enter(given)[1].remaining == Remaining(concurrency=0)


def test_what_was_not_admitted_gives_nothing_back() -> None:
    given = world(plan=plan(concurrency=1))
    enter(given)
    scope = admit(cleared(given, request()), given.services)
    assert refusal(scope.__aenter__(), given)[0] == "quota.concurrency"
    leave(given, scope, Fault("request.deadline", "deadline", "over"))
    assert refused(given)[0] == "quota.concurrency"


@pytest.mark.parametrize("error", [None, Fault("request.cancelled", "hung_up", "gone"), KeyboardInterrupt()])
def test_the_daily_count_is_charged_on_success_alone(error: BaseException | None) -> None:
    limits = plan(daily=10)
    given = world(plan=limits)
    scope, admission = enter(given)
    assert admission.remaining.daily == 9
    leave(given, scope, error)
    assert left(given, limits) == Remaining(concurrency=4, daily=10 if error else 9)


def test_the_rate_is_charged_whatever_comes_of_it() -> None:
    given = world(plan=plan(rate=1.0, burst=1))
    leave(given, enter(given)[0], Fault("request.deadline", "deadline", "over"))
    code, reason, details = refused(given)
    assert (code, reason) == ("quota.rate", "rate_exceeded")
    assert isinstance(details, dict)
    assert details == {"limit": 1, "remaining": 0, "reset_at": NOON + 1001}


def test_tenants_do_not_share_a_plan() -> None:
    given = world(tenants=TENANTS, keys=[HeldKey.make("file:acme"), HeldKey.make("file:other", "other")])
    limits = PlanLimits(1, 100)
    charges = [Charge(name, "gold", limits.rate, limits.burst, limits.daily, 1) for name in ("acme", "other")]
    assert given.quotas.admit_many(charges) == [Remaining(0), Remaining(0)]
