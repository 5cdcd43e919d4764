import dataclasses
from typing import Any, cast

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

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
from fakes.sigstore import spki
from signerd.attestation.algorithms import COSIGN_ALGORITHMS, PROFILES
from signerd.contracts.services import Charge, Remaining
from signerd.contracts.values import Entitlement, PlanLimits
from signerd.errors import Fault, Refusal
from signerd.pipeline.admit import admit, charge_for, choose_keys
from signerd.pipeline.evidence import Admission
from signerd.pipeline.tenants import KeyRule, Tenant
from signerd.wire.methods import Descriptor, Options

TENANTS = (Tenant("acme", "file:acme"), Tenant("other", "file:other"))


def plan(**limits: object) -> Entitlement:
    return Entitlement("gold", msgspec.structs.replace(LIMITS, **limits), "fake")


def keys(*names: str) -> Options:
    return Options(keys=names)


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


def test_the_keys_that_are_named_in_their_order() -> None:
    given = world(keys=[HeldKey.make("file:acme"), HeldKey.make("file:b"), HeldKey.make("file:c", kind="Ed25519")])
    _, admission = enter(given, options=keys("file:c", "file:b"))
    assert [key.key for key in admission.keys] == ["file:c", "file:b"]
    _, admission = enter(given, options=Options(keys=()))
    assert [key.key for key in admission.keys] == ["file:acme"]


@pytest.mark.parametrize("name", ["file:other", "file:none", "", "file:acme "])
def test_a_key_of_another_tenant_is_as_one_that_does_not_exist(name: str) -> None:
    given = world(tenants=TENANTS, keys=[HeldKey.make("file:acme"), HeldKey.make("file:other", "other")])
    asked = dataclasses.replace(cleared(given, request()).entitled.order, params=order(options=keys("file:acme", name)))
    with pytest.raises(Refusal) as caught:
        choose_keys(asked, "default", given.services)
    assert str(caught.value) == "key.not_found (no_such_key): no such key"


def test_why_a_key_of_ones_own_was_never_known_is_told_and_of_anothers_not() -> None:
    tenants = tuple(Tenant(name, f"file:{name}", rules={f"file:{name}": KeyRule()}) for name in ("acme", "other"))
    given = world(tenants=tenants, keys=[])
    away = Fault("key.backend_unavailable", "token_absent", "the key's backend is not available")
    given.sealer.absent = {"file:acme": away, "file:other": away}
    assert refused(given)[:2] == ("key.backend_unavailable", "token_absent")
    asked = dataclasses.replace(cleared(given, request()).entitled.order, params=order(options=keys("file:other")))
    with pytest.raises(Refusal) as caught:
        choose_keys(asked, "default", given.services)
    assert caught.value.code == "key.not_found"


def test_a_default_key_that_the_ring_lacks() -> None:
    assert refused(world(keys=[])) == ("key.not_found", "no_such_key", {})


@pytest.mark.parametrize(
    ("entry", "code", "reason"),
    [
        ({"status": "revoked"}, "key.revoked", "revoked"),
        ({"revoked_at": NOON}, "key.revoked", "revoked"),
        ({"status": "suspended"}, "key.suspended", "suspended"),
        ({"status": "retired"}, "key.expired", "retired"),
        ({"expires_at": NOON}, "key.expired", "expired"),
        ({"status": "pending"}, "key.not_yet_valid", "not_yet_valid"),
        ({"added_at": NOON + 1}, "key.not_yet_valid", "not_yet_valid"),
        ({"status": "blessed"}, "key.suspended", "status_unknown"),
        ({"algorithm": "RSA-PSS-SHA256"}, "key.algorithm_refused", "outside_profile"),
        ({"algorithm": "ML-DSA-65"}, "key.algorithm_refused", "outside_profile"),
    ],
)
def test_every_key_must_be_able_to_sign_now(entry: dict[str, Any], code: str, reason: str) -> None:
    given = world(keys=[HeldKey.make("file:acme"), HeldKey.make("file:b", **entry)])
    assert refused(given, options=keys("file:acme", "file:b")) == (code, reason, {})
    assert left(given, plan()) == Remaining(concurrency=4)


@pytest.mark.parametrize(
    "options", [Options(transparency="async"), Options(transparency="required"), Options(include=("rekor_request",))]
)
def test_a_key_that_no_log_takes_is_refused_before_it_signs(options: Options) -> None:
    held = HeldKey.make("file:acme", algorithm="Ed25519", spki=spki(ed25519.Ed25519PrivateKey.generate()))
    given = world(keys=[held])
    assert refused(given, options=options)[:2] == ("key.algorithm_refused", "not_logged")
    enter(given, options=Options(timestamp=True))


def test_a_profile_may_allow_less_than_the_output_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast("dict[str, frozenset[str]]", PROFILES), "world", COSIGN_ALGORITHMS - {"ES256"})
    given = world(keys=[HeldKey.make("file:acme")])
    assert refused(given) == ("key.algorithm_refused", "outside_profile", {})


@pytest.mark.parametrize("entry", [{"status": "retiring"}, {"expires_at": NOON + 1}, {"revoked_at": NOON + 1}])
def test_a_key_signs_to_its_last_millisecond(entry: dict[str, Any]) -> None:
    given = world(keys=[HeldKey.make("file:acme", **entry)])
    assert [key.key for key in enter(given)[1].keys] == ["file:acme"]


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


def ruled(**changes: Any) -> Tenant:
    return Tenant("acme", "file:acme", **changes)


def test_a_key_signs_for_its_plans_alone() -> None:
    tenant = ruled(rules={"file:acme": KeyRule(frozenset({"silver"})), "file:b": KeyRule(frozenset({"gold"}))})
    given = world(tenants=[tenant], keys=[HeldKey.make("file:acme"), HeldKey.make("file:b")], plan=plan())
    assert refused(given) == ("key.forbidden", "other_plan", {})
    assert refused(given, options=keys("file:b", "file:acme")) == ("key.forbidden", "other_plan", {})
    _, admission = enter(given, options=keys("file:b"))
    assert [key.key for key in admission.keys] == ["file:b"]


def test_a_plan_may_have_a_default_key_of_its_own() -> None:
    held = [HeldKey.make("file:acme"), HeldKey.make("file:b")]
    for name, expected in (("gold", "file:b"), ("silver", "file:acme")):
        given = world(tenants=[ruled(default_keys={name: "file:b"})], keys=held, plan=plan())
        _, admission = enter(given)
        assert [key.key for key in admission.keys] == [expected]


def test_hardware_may_be_required() -> None:
    held = [HeldKey.make("file:acme"), HeldKey.make("file:hsm", hardware=True)]
    given = world(tenants=[ruled(require_hardware=True)], keys=held)
    assert refused(given) == ("key.forbidden", "hardware_required", {})
    _, admission = enter(given, options=keys("file:hsm"))
    assert [key.key for key in admission.keys] == ["file:hsm"]
