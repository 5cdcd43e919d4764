import hmac
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.services import NOON, PEER, PRINCIPAL, SECRET, Hand, HeldKey, World, world
from signerd.contracts.values import Entitlement, PlanLimits, Principal
from signerd.daemon.story import Story
from signerd.errors import Fault, Refusal, SignerdError
from signerd.pipeline.mac import MacEnded, mac
from signerd.pipeline.request import SignRequest
from signerd.pipeline.tenants import KeyRule, Tenant
from signerd.pipeline.waits import MacWait
from signerd.wire.macs import HmacCompute, HmacVerify, MacComputed, MacVerified
from signerd.wire.params import Descriptor

CALLER = msgspec.structs.replace(PRINCIPAL, scopes=frozenset({"signer.hmac"}))
RULES = {
    "hmac:k": KeyRule(purposes=frozenset({"signing", "webhook-interop"})),
    "hmac:gold": KeyRule(plans=frozenset({"gold"}), purposes=frozenset({"signing"})),
    "hmac:sm": KeyRule(purposes=frozenset({"signing"})),
    "file:acme": KeyRule(),
}
GOOD = HmacCompute("signing", "hmac:k", b"data")
MADE = hmac.digest(SECRET, b"data", "sha256")


def given(**changes: Any) -> World:
    keys = [
        HeldKey.secret("hmac:k"),
        HeldKey.secret("hmac:gold"),
        HeldKey.secret("hmac:sm", algorithm="HMAC-SM3"),
        HeldKey.secret("hmac:theirs", tenant="other"),
        HeldKey.secret("hmac:unnamed"),
        HeldKey.make("file:acme"),
    ]
    tenant: dict[str, Any] = {"rules": RULES, **changes.pop("tenant", {})}
    return world(keys=keys, tenants=[Tenant("acme", "file:acme", **tenant)], **changes)


def asked(params: Any = GOOD, bound: Principal | None = CALLER, **fields: Any) -> SignRequest:
    method = "hmac.verify" if isinstance(params, HmacVerify) else "hmac.compute"
    return SignRequest("id", method, msgspec.Raw(msgspec.msgpack.encode(params)), bound, 1030.0, **fields)


def tell(services: World, request: SignRequest) -> MacEnded | SignerdError:
    """Walk through the story to its end."""
    hand = Hand()
    story = Story(request, mac(request, PEER, services.services), hand, lambda story, result: None)
    story.start()
    while hand.wait is not None:
        hand.move(story, services)
    (end,) = hand.ends
    assert isinstance(end, MacEnded | SignerdError)
    return end


def refusal(services: World, request: SignRequest) -> str:
    end = tell(services, request)
    assert isinstance(end, SignerdError)
    (leaf,) = services.ledger.refusals
    assert (leaf.code, leaf.reason) == (end.code, end.reason)
    services.ledger.refusals.clear()
    assert services.deadlines.open == set()
    return f"{end.code} {end.reason}"


def test_a_mac_is_made_and_compared() -> None:
    services = given()
    end = tell(services, asked())
    assert isinstance(end, MacEnded)
    made = end.result
    assert isinstance(made, MacComputed)
    assert (made.mac, made.algorithm, made.audit_id) == (MADE, "HMAC-SHA256", "id")
    for given_mac, valid in ((MADE, True), (bytes(32), False)):
        end = tell(services, asked(HmacVerify("signing", "hmac:k", b"data", given_mac)))
        assert isinstance(end, MacEnded)
        assert isinstance(end.result, MacVerified)
        assert (end.result.valid, end.result.keyid) == (valid, made.keyid)
    decision = json.loads(services.sealer.leaves[0])["decision"]
    assert (decision["purpose"], decision["size"], decision["plan"]) == ("signing", 4, "default")
    assert services.ledger.written == []


def test_by_descriptor_the_story_reads_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"data")
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    end = tell(given(), asked(HmacCompute("signing", "hmac:k", Descriptor(0, 4)), fds=(fd,)))
    os.close(fd)
    assert isinstance(end, MacEnded)
    assert isinstance(end.result, MacComputed)
    assert end.result.mac == MADE


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"purpose": "signing"}, "request.malformed missing_field"),
        (HmacCompute("signing", "hmac:k", Descriptor(0, 4)), "request.malformed descriptor_index"),
        (HmacCompute("signing", "hmac:k", bytes(2000)), "request.too_large inline_too_large"),
        (HmacCompute("authentication", "hmac:k", b""), "key.forbidden other_purpose"),
        (HmacCompute("signing", "hmac:none", b""), "key.not_found no_such_key"),
        (HmacCompute("signing", "hmac:theirs", b""), "key.not_found no_such_key"),
        (HmacCompute("signing", "hmac:unnamed", b""), "key.forbidden other_purpose"),
        (HmacCompute("signing", "file:acme", b""), "key.forbidden signing_key"),
        (HmacCompute("signing", "hmac:gold", b""), "key.forbidden other_plan"),
        (HmacCompute("signing", "hmac:sm", b""), "key.algorithm_refused outside_profile"),
        (HmacVerify("signing", "hmac:k", b"", bytes(31)), "request.malformed mac_length"),
        (HmacVerify("signing", "hmac:k", b"", b""), "request.malformed mac_length"),
        (HmacVerify("authentication", "hmac:k", b"", bytes(31)), "key.forbidden other_purpose"),
    ],
)
def test_what_is_refused(params: Any, said: str) -> None:
    services = given(inline_bytes=1024)
    assert refusal(services, asked(params)) == said
    assert services.sealer.leaves == []


def test_a_refusal_says_what_was_asked_for() -> None:
    services = given()
    end = tell(services, asked(HmacCompute("authentication", "hmac:k", b"")))
    assert isinstance(end, Refusal)
    (leaf,) = services.ledger.refusals
    assert (leaf.request.method, leaf.request.purpose, leaf.request.key, leaf.request.principal) == (
        "hmac.compute", "authentication", "hmac:k", "uid:1000",
    )  # fmt: skip


def test_a_profile_decides_what_a_purpose_takes() -> None:
    services = given(tenant={"profile": "sm"})
    assert refusal(services, asked()) == "key.algorithm_refused outside_profile"
    assert isinstance(tell(services, asked(HmacCompute("signing", "hmac:sm", b""))), MacEnded)
    # Receivers of webhooks know no other, whatever the profile.
    assert isinstance(tell(services, asked(HmacCompute("webhook-interop", "hmac:k", b""))), MacEnded)


def test_who_asks_must_be_bound_served_and_have_the_scope() -> None:
    services = given()
    assert refusal(services, asked(bound=None)) == "auth.required not_bound"
    assert refusal(services, asked(bound=PRINCIPAL)) == "auth.scope_missing scope_missing"
    stranger = msgspec.structs.replace(CALLER, tenant="nobody")
    assert refusal(services, asked(bound=stranger)) == "auth.tenant_mismatch unknown_tenant"
    expired = msgspec.structs.replace(CALLER, expires_at=NOON)
    assert refusal(services, asked(bound=expired)) == "auth.token_expired expired"


def test_the_rate_counts_and_the_day_does_not() -> None:
    plan = Entitlement("default", PlanLimits(4, 1 << 20, rate=1.0, burst=2, daily=1), "fake")
    services = given(plan=plan)
    for _ in range(2):
        assert isinstance(tell(services, asked()), MacEnded)
    assert refusal(services, asked()) == "quota.rate rate_exceeded"
    services.clock.advance(2)
    assert isinstance(tell(services, asked()), MacEnded)


def test_without_a_plan_there_is_no_mac() -> None:
    services = given(plan=Refusal("entitlement.denied", "no_plan", "no plan"))
    assert refusal(services, asked()) == "entitlement.denied no_plan"


def test_slots_are_given_back_however_it_ends() -> None:
    services = given(plan=Entitlement("default", PlanLimits(1, 1 << 20), "fake"))
    for _ in range(3):
        tell(services, asked())
        tell(services, asked(HmacCompute("signing", "hmac:none", b"")))
    assert isinstance(tell(services, asked()), MacEnded)


def test_what_is_cut_short_at_the_sealer_is_closed() -> None:
    services = given()
    hand = Hand()
    request = asked()
    story = Story(request, mac(request, PEER, services.services), hand, lambda story, result: None)
    story.start()
    assert isinstance(hand.wait, MacWait)
    assert hand.wait.item.deadline_ms == 30_000
    story.cut_short(Fault("request.cancelled", "cancelled", "the request was cancelled"))
    (close,) = services.ledger.closes
    assert (close.audit_id, close.outcome, close.code) == ("id", "cancelled", "request.cancelled")
    assert services.ledger.refusals == []


def test_an_old_version_is_asked_by_its_id_to_compare_alone() -> None:
    services = given()
    old = HeldKey.secret("hmac:k", version=1, keyid="sha256:" + "cd" * 32, status="retiring")
    services.sealer.keys["acme", "hmac:k (old)"] = old
    verify = HmacVerify("signing", old.entry.keyid, b"data", MADE)
    end = tell(services, asked(verify))
    assert isinstance(end, MacEnded)
    assert isinstance(end.result, MacVerified)
    assert end.result.keyid == old.entry.keyid
    assert refusal(services, asked(HmacCompute("signing", old.entry.keyid, b"data"))) == "key.not_found no_such_key"
    retired = HeldKey.secret("hmac:k", keyid=old.entry.keyid, status="retiring", retire_at=NOON)
    services.sealer.keys["acme", "hmac:k (old)"] = retired
    assert refusal(services, asked(verify)) == "key.expired retired"
