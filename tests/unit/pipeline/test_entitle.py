import pytest

from fakes.services import LIMITS, Later, complete, order, refusal, request, understood, world
from signerd.contracts.values import Entitlement, ProofOfEntitlement
from signerd.daemon.snapshot import Snapshot
from signerd.errors import Fault, Refusal
from signerd.host.clock import boot_id
from signerd.pipeline.entitle import BYPASS, BYPASS_LIMITS, entitle
from signerd.wire.methods import Poe
from signerd.wire.ring import Grant

PLAN = Entitlement("gold", LIMITS, "fake", degraded=("entitlement_cached",))


@pytest.mark.parametrize("answer", [PLAN, Later(PLAN)])
def test_the_plan_is_the_sources(answer: object) -> None:
    given = world(plan=answer)
    asked = request()
    evidence = complete(entitle(understood(given, asked), given.services), given)
    assert evidence.entitlement is PLAN
    assert evidence.order is asked.order


@pytest.mark.parametrize(
    ("poe", "proof"),
    [
        ({}, ProofOfEntitlement("none", None)),
        ({"poe": Poe("none")}, ProofOfEntitlement("none", None)),
        ({"poe": Poe("jwt", "e30.e30.")}, ProofOfEntitlement("jwt", "e30.e30.")),
        ({"poe": Poe("mtls")}, ProofOfEntitlement("mtls", None)),
    ],
)
def test_the_source_sees_the_proof_that_was_shown(poe: dict[str, Poe], proof: ProofOfEntitlement) -> None:
    given = world()
    complete(entitle(understood(given, request(order(**poe))), given.services), given)
    assert given.plans.proofs == [proof]


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (Refusal("entitlement.denied", "tenant_unknown", "no"), "entitlement.denied", "tenant_unknown"),
        (Refusal("entitlement.expired", "expired", "no"), "entitlement.expired", "expired"),
        (Fault("entitlement.unavailable", "outage", "no"), "entitlement.unavailable", "outage"),
        (KeyError("x"), "entitlement.unavailable", "plugin_failed"),
    ],
)
def test_what_the_source_says_is_what_is_said(answer: Exception, code: str, reason: str, later: bool) -> None:
    given = world(plan=Later(answer) if later else answer)
    assert refusal(entitle(understood(given, request()), given.services), given) == (code, reason, {})


@pytest.mark.parametrize("answer", [True, "gold", Later(True)])
def test_a_yes_is_no_entitlement(answer: object) -> None:
    given = world(plan=answer)
    stage = entitle(understood(given, request()), given.services)
    assert refusal(stage, given) == ("entitlement.unavailable", "plugin_type", {})


def test_under_a_bypass_the_source_is_not_asked_and_the_plan_says_so() -> None:
    exceptions = Snapshot()
    given = world(plan=Fault("entitlement.unavailable", "outage", "no"), exceptions=exceptions)
    far = given.services.clock.now_ms() + 1000
    exceptions.grants = (Grant("1", "bypass", "gold", far, "acme", boot=boot_id(), until_ms=2**60),)
    found = complete(entitle(understood(given, request()), given.services), given).entitlement
    assert (found.plan, found.limits, found.degraded, found.window) == ("gold", BYPASS_LIMITS, (BYPASS,), None)
    assert given.plans.proofs == []
    exceptions.grants = (Grant("1", "bypass", "gold", far, "other", boot=boot_id(), until_ms=2**60),)
    assert refusal(entitle(understood(given, request()), given.services), given)[1] == "outage"
