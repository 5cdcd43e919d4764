"""The order in which reasons are found, and what every walk through the story leaves behind."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from fakes.services import (
    HEAVY,
    LIMITS,
    NOON,
    PRINCIPAL,
    TOOL,
    HeldKey,
    Later,
    World,
    begin,
    order,
    request,
    world,
)
from signerd.contracts.values import Entitlement, Release
from signerd.errors import Fault, Refusal, SignerdError
from signerd.pipeline.evidence import Signed
from signerd.pipeline.request import SignRequest
from signerd.pipeline.waits import DocumentWait, ProviderWait, SealWait
from signerd.wire.links import RefusedRecord
from signerd.wire.methods import Subject


def tell(given: World, asked: SignRequest) -> Signed | SignerdError:
    story, hand = begin(asked, given)
    while hand.wait is not None:
        hand.move(story, given)
    (end,) = hand.ends
    assert given.deadlines.open == set()
    return end


def test_a_story_with_warm_caches_waits_once() -> None:
    given = world()
    story, hand = begin(request(), given)
    assert isinstance(hand.wait, SealWait)
    assert given.deadlines.open == {"id"}
    hand.move(story, given)
    (signed,) = hand.ends
    assert isinstance(signed, Signed)
    assert signed.audit_id == "id"
    assert given.ledger.written == []
    assert [json.loads(leaf)["kind"] for leaf in given.sealer.leaves] == ["decided"]


def test_cold_caches_are_waited_for_one_after_the_other() -> None:
    plan, release = Entitlement("default", LIMITS, "fake"), Release(TOOL, "allowlist")
    given = world(plan=Later(plan), release=Later(release))
    story, hand = begin(request(order(predicate_type=HEAVY)), given)
    waits = []
    while hand.wait is not None:
        waits.append(type(hand.wait))
        hand.move(story, given)
    assert waits == [ProviderWait, DocumentWait, SealWait]
    assert isinstance(hand.ends[0], Signed)


# Everything that can be wrong with one request, in the order in which it must be found: each row's request has
# the faults of all rows below it too.
BAD: dict[str, Any] = {
    "subject": (Subject("", digest={"sha256": "00"}),),
    "predicate_type": "unknown",
    "scanner_image_digest": UNSET,
    "predicate": b"[]",
}
GOOD: dict[str, Any] = {
    "subject": order().subject,
    "predicate_type": "sbom",
    "scanner_image_digest": TOOL,
}
ORDER: list[tuple[str, str, list[str], bool, set[str]]] = [
    # code, reason, fields put right, whether the principal has the scope, providers put right
    ("auth.required", "not_bound", [], False, set()),
    ("auth.token_expired", "expired", [], False, {"bound"}),
    ("statement.invalid", "name_empty", [], False, {"bound", "fresh"}),
    ("predicate.unsupported", "unknown_type", ["subject"], False, {"bound", "fresh"}),
    ("auth.scope_missing", "scope_missing", ["subject", "predicate_type"], False, {"bound", "fresh"}),
    ("entitlement.denied", "denied", ["subject", "predicate_type"], True, {"bound", "fresh"}),
    ("release.untrusted", "digest_missing", ["subject", "predicate_type"], True, {"bound", "fresh", "plan"}),
    ("release.untrusted", "not_listed", list(GOOD), True, {"bound", "fresh", "plan"}),
    ("key.not_found", "no_such_key", list(GOOD), True, {"bound", "fresh", "plan", "release"}),
    ("quota.size", "size_exceeded", list(GOOD), True, {"bound", "fresh", "plan", "release", "key"}),
    (
        "predicate.invalid",
        "not_object",
        list(GOOD),
        True,
        {"bound", "fresh", "plan", "release", "key", "size"},
    ),
]


@pytest.mark.parametrize(("code", "reason", "right", "scope", "healthy"), ORDER, ids=[row[1] for row in ORDER])
def test_reasons_are_found_in_their_order(
    code: str, reason: str, right: list[str], scope: bool, healthy: set[str]
) -> None:
    limits = msgspec.structs.replace(LIMITS, size=100 if "size" in healthy else 1)
    given = world(
        plan=Entitlement("default", limits, "fake")
        if "plan" in healthy
        else Refusal("entitlement.denied", "denied", "no"),
        release=Release(TOOL, "allowlist")
        if "release" in healthy
        else Refusal("release.untrusted", "not_listed", "no"),
        keys=[HeldKey.make("file:acme")] if "key" in healthy else [],
    )
    principal = msgspec.structs.replace(
        PRINCIPAL,
        scopes=frozenset({"signer.sign"}) if scope else frozenset(),
        expires_at=NOON + 1000 if "fresh" in healthy else NOON,
    )
    asked = request(
        order(**(BAD | {name: GOOD[name] for name in right})), bound=principal if "bound" in healthy else None
    )
    end = tell(given, asked)
    assert isinstance(end, SignerdError)
    assert (end.code, end.reason, end.details["reason"]) == (code, reason, reason)
    (leaf,) = given.ledger.written
    assert isinstance(leaf, RefusedRecord)
    assert (leaf.outcome, leaf.code, leaf.reason) == ("refused", code, reason)
    assert given.sealer.leaves == []


def test_the_order_leaves_out_no_stage() -> None:
    rows = [row[0].partition(".")[0] for row in ORDER]
    assert list(dict.fromkeys(rows)) == [
        "auth",
        "statement",
        "predicate",
        "entitlement",
        "release",
        "key",
        "quota",
    ]


@pytest.mark.parametrize("code", ["key.backend_unavailable", "audit.unavailable", "request.deadline"])
def test_what_the_sealer_closed_itself_is_not_closed_again(code: str) -> None:
    given = world()
    asked = request()
    story, hand = begin(asked, given)
    asked.settled = True
    story.throw(Fault(code, "x", "no"))
    (end,) = hand.ends
    assert isinstance(end, Fault)
    assert given.ledger.written == []


def test_a_defect_is_an_internal_fault_on_the_record() -> None:
    given = world()
    object.__setattr__(given.services, "quotas", None)
    end = tell(given, request())
    assert isinstance(end, Fault)
    assert (end.code, end.reason, end.public) == ("internal", "defect", "the signer failed")
    (leaf,) = given.ledger.refusals
    assert (leaf.outcome, leaf.code, leaf.reason) == ("fault", "internal", "defect")


def test_the_same_request_has_the_same_payload() -> None:
    given = world()
    first, second = (tell(given, request()) for _ in range(2))
    assert isinstance(first, Signed)
    assert isinstance(second, Signed)
    assert first.result.statement_sha256 == second.result.statement_sha256
