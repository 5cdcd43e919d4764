import base64
import hashlib
import json
from typing import Any, cast

import msgspec
import pytest
import rfc8785

from fakes.services import (
    EXEMPT,
    LIMITS,
    NEEDS_RELEASE,
    NOON,
    PEER,
    PRINCIPAL,
    RECORD,
    RECORD_TYPE,
    TOOL,
    HeldKey,
    World,
    built,
    complete,
    order,
    payload,
    request,
    world,
)
from signerd.contracts.services import Remaining
from signerd.contracts.values import Entitlement, Release
from signerd.errors import Fault
from signerd.pipeline.check_release import WAIVED
from signerd.pipeline.evidence import Signed
from signerd.pipeline.record import Entry
from signerd.pipeline.request import SignRequest
from signerd.pipeline.seal import cose_command, decision_of, remaining_of, seal, shown_decision, verify_command
from signerd.pipeline.tenants import KeyRule, Tenant
from signerd.pipeline.waits import SealWait
from signerd.verification.bundle import verify_bundle, verify_envelope
from signerd.verification.cose import verify_cose
from signerd.verification.keys import PublicKey
from signerd.wire.links import DecisionFacts, KeyUse, ReleaseFacts, RequestFacts, Sealed, SealItem
from signerd.wire.methods import Options
from signerd.wire.params import Descriptor


def inline(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def sealed(given: World, asked: SignRequest) -> Signed:
    entry = Entry(asked, PEER, given.ledger)
    return complete(seal(built(given, asked), entry, given.services), given, asked)


def item(given: World, asked: SignRequest) -> SealItem:
    entry = Entry(asked, PEER, given.ledger)
    stage = seal(built(given, asked), entry, given.services)
    wait = stage.send(None)
    stage.close()
    assert isinstance(wait, SealWait)
    assert wait.fd is None
    return wait.item


def test_what_the_sealer_is_handed() -> None:
    given = world(release=Release(TOOL, "signature", "2026.3"))
    asked = request(bound=msgspec.structs.replace(PRINCIPAL, expires_at=NOON + 5))
    handed = item(given, asked)
    assert handed.audit_id == "id"
    assert handed.payload_type == "application/vnd.in-toto+json"
    assert json.loads(inline(handed.payload))["predicateType"] == NEEDS_RELEASE
    assert (handed.deadline_ms, handed.envelope, handed.principal_expires_at) == (30_000, False, NOON + 5)
    assert isinstance(handed.request, RequestFacts)
    assert handed.request.predicate_sha256 == hashlib.sha256(inline(order().predicate)).hexdigest()
    key = given.sealer.keys["acme", "file:acme"].entry
    assert handed.decision == DecisionFacts(
        "uid:1000",
        "acme",
        "default",
        ReleaseFacts("asserted", "signature", "trusted", "2026.3"),
        (KeyUse("file:acme", "file", key.keyid, 1),),
    )


@pytest.mark.parametrize(("passed", "left"), [(0.0, 30_000), (29.5, 500), (30.0, 1), (99.0, 1)])
def test_the_sealer_has_what_is_left_of_the_time(passed: float, left: int) -> None:
    given = world()
    given.clock.seconds += passed
    assert item(given, request()).deadline_ms == left


def test_the_sealer_is_told_of_the_approval_that_a_repeat_brings() -> None:
    assert item(world(), request()).approval_id == ""
    assert item(world(), request(order(approval_id="ab"))).approval_id == "ab"


@pytest.mark.parametrize("include", [(), ("envelope",)])
def test_the_envelope_comes_when_it_is_asked_for(include: tuple[Any, ...]) -> None:
    given = world()
    result = sealed(given, request(order(options=Options(include=include)))).result
    assert ("envelope" in include) == (result.envelope is not msgspec.UNSET)
    if result.envelope is not msgspec.UNSET:
        envelope = json.loads(inline(result.envelope))
        assert envelope["payload"] == json.loads(inline(result.bundles[0]))["dsseEnvelope"]["payload"]


DECISIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "a version": {"release": Release(TOOL, "signature", "2026.3")},
    "degraded": {
        "release": Release(TOOL, "approval", degraded=("manual_approval",)),
        "plan": Entitlement("gold", LIMITS, "fake", degraded=("entitlement_cached",)),
    },
    "exempt": {"asked": {"predicate_type": EXEMPT}},
    "exempt by configuration": {"tenants": [Tenant("acme", "file:acme", exempt=frozenset({NEEDS_RELEASE}))]},
    "two keys": {
        "keys": [HeldKey.make("file:acme"), HeldKey.make("file:b", kind="ES384", version=7)],
        "asked": {"options": Options(keys=("file:b", "file:acme"))},
    },
}


@pytest.mark.parametrize("parts", DECISIONS.values(), ids=DECISIONS)
def test_the_receipt_shows_what_the_leaf_holds(parts: dict[str, Any]) -> None:
    given = world(**{name: value for name, value in parts.items() if name != "asked"})
    receipt = sealed(given, request(order(**parts.get("asked", {})))).result.receipt
    shown = json.loads(msgspec.json.encode(receipt.decision))
    (leaf,) = given.sealer.leaves
    assert json.loads(leaf)["decision"] == shown
    assert hashlib.sha256(rfc8785.dumps(shown)).hexdigest() == receipt.decision_digest
    assert hashlib.sha256(b"\0" + leaf).hexdigest() == receipt.leaf_hash
    assert (receipt.audit_id, receipt.index) == ("id", 0)


def test_what_the_leaf_leaves_out_the_receipt_leaves_out() -> None:
    decision = DecisionFacts("p", "t", "plan", ReleaseFacts("exempt", "none", "exempt"), (KeyUse("fulcio:", "x"),))
    assert msgspec.to_builtins(shown_decision(decision)) == msgspec.to_builtins(decision)


def test_nothing_that_was_not_fresh_is_kept_silent() -> None:
    parts = DECISIONS["degraded"]
    assert decision_of(built(world(**parts), request())).degraded == ("entitlement_cached", "manual_approval")
    parts = DECISIONS["exempt by configuration"]
    decision = decision_of(built(world(**parts), request()))
    assert decision.degraded == (WAIVED,)
    assert decision.release == ReleaseFacts("exempt", "none", "exempt")


def test_the_result() -> None:
    given = world(keys=DECISIONS["two keys"]["keys"])
    result = sealed(given, request(order(options=Options(keys=("file:b", "file:acme"))))).result
    b, acme = (given.sealer.keys["acme", name].entry for name in ("file:b", "file:acme"))
    assert [i.keyid for i in result.signing_identity] == [b.keyid, acme.keyid]
    assert [(i.mode, i.algorithm, i.key_version) for i in result.signing_identity] == [
        ("keyful", "ES384", 7),
        ("keyful", "ES256", 1),
    ]
    for bundle, digest, key in zip(result.bundles, result.bundle_sha256, (b, acme), strict=True):
        assert hashlib.sha256(inline(bundle)).hexdigest() == digest
        verify_bundle(inline(bundle), PublicKey.from_spki(key.spki))
    payload = item(world(), request(order())).payload
    assert result.statement_sha256 == hashlib.sha256(inline(payload)).hexdigest()
    assert result.cosign_verifiable
    assert len(result.warnings) == 1
    assert "sha384" in result.warnings[0]
    assert [("--signature-digest-algorithm" in c.argv) for c in result.verify_command] == [True, False]
    assert result.entitlement.plan == "default"
    assert result.entitlement.remaining.concurrency == 3


def test_large_values_keep_their_descriptors() -> None:
    given = world()
    asked = request()
    stage = seal(built(given, asked), Entry(asked, PEER, given.ledger), given.services)
    wait = stage.send(None)
    assert isinstance(wait, SealWait)
    answer, _ = given.sealer.seal(wait)
    large = Sealed(
        tuple(msgspec.structs.replace(s, bundle=Descriptor(0, 9)) for s in answer.signatures),
        answer.statement_sha256,
        answer.decision_digest,
        answer.leaf_hash,
        answer.index,
        Descriptor(1, 7),
    )
    with pytest.raises(StopIteration) as ended:
        stage.send((large, (70, 71)))
    signed = ended.value.value
    assert signed.fds == (70, 71)
    assert msgspec.to_builtins((signed.result.bundles[0], signed.result.envelope)) == (
        {"fd": 0, "size": 9},
        {"fd": 1, "size": 7},
    )


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        (Remaining(3), {"concurrency": 3}),
        (Remaining(0, rate=0, daily=0), {"concurrency": 0, "rate": 0, "daily": 0}),
    ],
)
def test_a_limit_that_the_plan_lacks_is_absent(left: Remaining, shown: dict[str, int]) -> None:
    assert msgspec.to_builtins(remaining_of(left)) == shown


def test_the_verify_command_is_quoted_and_names_its_type() -> None:
    command = verify_command("ES256", "https://example.org/x", "it's; rm")
    assert command.argv[-3:] == ("--type", "https://example.org/x", "it's; rm")
    assert command.line.endswith("""'it'"'"'s; rm'""")
    assert verify_command("ES256", "t", "-rf").argv[-2:] == ("--", "-rf")


def test_the_verify_command_asks_for_what_the_bundle_has() -> None:
    logged = {"--trusted-root", "trusted_root.json"}
    stamped = {*logged, "--use-signed-timestamps", "--insecure-ignore-tlog"}
    plain = set(verify_command("ES256", "t", "app").argv)
    assert "--insecure-ignore-tlog" in plain
    assert set(verify_command("ES256", "t", "app", True, False).argv) == plain - {"--insecure-ignore-tlog"} | logged
    assert set(verify_command("ES256", "t", "app", False, True).argv) == plain | stamped
    both = set(verify_command("ES256", "t", "app", True, True).argv)
    assert both == plain - {"--insecure-ignore-tlog"} | logged | {"--use-signed-timestamps"}


def down(given: World, asked: SignRequest, code: str = "key.backend_unavailable") -> tuple[list[SealItem], Signed]:
    """Seal with a sealer that answers the first item with ``code``; what it was handed, and the end."""
    entry = Entry(asked, PEER, given.ledger)
    stage = seal(built(given, asked), entry, given.services)
    first = stage.send(None)
    assert isinstance(first, SealWait)
    asked.settled = True  # as the daemon does with each error of the sealer's
    second = stage.throw(Fault(code, "worker_died", "down"))
    assert isinstance(second, SealWait)
    with pytest.raises(StopIteration) as stop:
        stage.send(given.sealer.seal(second))
    return [first.item, second.item], stop.value.value


def fallback(*keys: HeldKey, **rule: Any) -> World:
    rules = {"file:acme": KeyRule(fallback="file:spare", **rule)}
    return world(tenants=[Tenant("acme", "file:acme", rules=rules)], keys=[HeldKey.make("file:acme"), *keys])


def test_a_fallback_signs_on_a_record_of_its_own_that_says_so() -> None:
    given = fallback(HeldKey.make("file:spare"))
    asked = request()
    (first, second), signed = down(given, asked)
    assert [key.key for key in first.decision.keys] == ["file:acme"]
    assert first.decision.degraded == ()
    assert [key.key for key in second.decision.keys] == ["file:spare"]
    assert second.decision.degraded == ("key_fallback",)
    assert first.audit_id == "id"
    assert second.audit_id not in ("", "id")
    assert signed.audit_id == signed.result.receipt.audit_id == second.audit_id
    assert asked.audit_id == "id", "by which the daemon knows the story"
    assert not asked.settled, "what cuts it short from here on closes the second record"
    assert first.payload == second.payload
    assert signed.result.receipt.decision.degraded == ("key_fallback",)
    assert signed.result.signing_identity[0].keyid == given.sealer.keys["acme", "file:spare"].entry.keyid


@pytest.mark.parametrize("code", ["key.backend_fault", "audit.unavailable", "internal", "request.deadline"])
def test_no_other_fault_is_a_reason_for_it(code: str) -> None:
    with pytest.raises(Fault) as caught:
        down(fallback(HeldKey.make("file:spare")), request(), code)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "spare",
    [
        [],
        [HeldKey.make("file:spare", status="suspended")],
        [HeldKey.make("file:spare", tenant="other")],
        [HeldKey.make("file:spare", added_at=NOON + 1)],
    ],
)
def test_a_fallback_that_may_not_sign_does_not(spare: list[HeldKey]) -> None:
    with pytest.raises(Fault, match="worker_died"):
        down(fallback(*spare), request())


def test_the_same_key_never_signs_twice() -> None:
    given = fallback(HeldKey.make("file:spare"))
    with pytest.raises(Fault, match="worker_died"):
        down(given, request(order(options=Options(keys=("file:acme", "file:spare")))))


def test_a_key_without_a_fallback_has_none() -> None:
    with pytest.raises(Fault, match="worker_died"):
        down(world(), request())


def test_a_key_that_is_near_its_end_says_so() -> None:
    for warn_ms, expected in ((5000, True), (4999, False)):
        rules = {"file:acme": KeyRule(warn_ms=warn_ms)}
        given = world(
            tenants=[Tenant("acme", "file:acme", rules=rules)], keys=[HeldKey.make("file:acme", expires_at=NOON + 5000)]
        )
        warnings = sealed(given, request()).result.warnings
        assert any(text.startswith("key_expires_soon: file:acme ") for text in warnings) is expected


def dsse(*keys: str, include: tuple[Any, ...] = ()) -> SignRequest:
    return request(order(options=Options(profile="dsse", keys=keys, include=include)))


def test_in_profile_dsse_the_envelope_has_every_signature_and_the_companion_a_bundle() -> None:
    held = [HeldKey.make("file:acme", kind="Ed25519"), HeldKey.make("file:b", kind="ES384"), HeldKey.make("file:c")]
    tenant = Tenant("acme", "file:acme", rules={name.entry.key: KeyRule() for name in held})
    given = world(tenants=[tenant], keys=held)
    handed = item(given, dsse("file:b", "file:acme"))
    assert handed.profile == "dsse"
    assert [(use.key, use.source) for use in handed.decision.keys] == [
        ("file:b", "file"),
        ("file:acme", "file"),
        ("file:c", "companion"),
    ]
    result = sealed(given, dsse("file:b", "file:acme")).result
    publics = [PublicKey.from_spki(held[place].entry.spki) for place in (1, 0, 2)]
    assert [identity.keyid for identity in result.signing_identity] == [public.keyid for public in publics]
    assert verify_envelope(inline(cast("bytes", result.envelope)), publics, threshold=3).verified
    (bundle,), (digest,), (command,) = result.bundles, result.bundle_sha256, result.verify_command
    assert verify_bundle(inline(bundle), publics[2]).verified
    assert hashlib.sha256(inline(bundle)).hexdigest() == digest
    alone = rfc8785.dumps(json.loads(inline(bundle))["dsseEnvelope"])
    assert result.envelope_sha256 == hashlib.sha256(alone).hexdigest()
    assert "--signature-digest-algorithm" not in command.argv
    assert (result.cosign_verifiable, result.warnings) == (True, ())


def test_without_a_key_of_es256_nothing_is_for_cosign_and_the_result_says_so() -> None:
    given = world(keys=[HeldKey.make("file:acme", kind="ES384")])
    result = sealed(given, dsse()).result
    assert (result.bundles, result.bundle_sha256, result.verify_command) == ((), (), ())
    assert not result.cosign_verifiable
    assert result.envelope_sha256 == hashlib.sha256(inline(cast("bytes", result.envelope))).hexdigest()
    (warning,) = result.warnings
    assert warning.startswith("not for cosign: ")
    asked = request(order(options=Options(include=("envelope",))))
    assert sealed(given, asked).result.cosign_verifiable


def test_a_request_for_a_log_entry_is_the_companions_alone() -> None:
    held = [HeldKey.make("file:acme", kind="Ed25519"), HeldKey.make("file:b")]
    given = world(tenants=[Tenant("acme", "file:acme", rules={"file:b": KeyRule()})], keys=held)
    result = sealed(given, dsse(include=("rekor_request",))).result
    (asked,) = cast("tuple[bytes, ...]", result.rekor_request)
    body = json.loads(asked)["hashedRekordRequestV002"]
    signature = json.loads(inline(result.bundles[0]))["dsseEnvelope"]["signatures"][0]["sig"]
    assert body["signature"]["content"] == signature


def test_what_signs_in_a_companions_place_was_not_asked_for_either() -> None:
    rules = {"file:acme": KeyRule(), "file:b": KeyRule(fallback="file:c"), "file:c": KeyRule()}
    held = [HeldKey.make("file:acme", kind="Ed25519"), HeldKey.make("file:b"), HeldKey.make("file:c")]
    given = world(tenants=[Tenant("acme", "file:acme", rules=rules)], keys=held)
    (_, second), signed = down(given, dsse())
    assert [(use.key, use.source) for use in second.decision.keys] == [("file:acme", "file"), ("file:c", "companion")]
    assert signed.result.cosign_verifiable


def test_a_fallback_that_the_output_does_not_carry_does_not_sign() -> None:
    given = fallback(HeldKey.make("file:spare", algorithm="RSA-PSS-SHA256"))
    with pytest.raises(Fault, match="worker_died"):
        down(given, request())


def test_in_profile_cose_each_key_has_a_message_and_nothing_else_comes() -> None:
    held = [HeldKey.make("file:acme"), HeldKey.make("file:b", kind="Ed25519"), HeldKey.make("file:c", kind="ES384")]
    given = world(keys=held)
    asked = request(order(options=Options(profile="cose", keys=("file:c", "file:acme", "file:b"))))
    handed = item(given, asked)
    assert (handed.profile, handed.envelope, handed.rekor_request) == ("cose", False, False)
    result = sealed(given, asked).result
    publics = [PublicKey.from_spki(held[place].entry.spki) for place in (2, 0, 1)]
    assert isinstance(result.cose, tuple)
    for message, public in zip(result.cose, publics, strict=True):
        statement = verify_cose(inline(message), public)
        assert hashlib.sha256(statement).hexdigest() == result.statement_sha256
    assert [identity.keyid for identity in result.signing_identity] == [public.keyid for public in publics]
    assert (result.bundles, result.bundle_sha256, result.envelope_sha256) == ((), (), "")
    assert (result.envelope, result.certificate_chain, result.rekor_request) == (msgspec.UNSET,) * 3
    assert (result.cosign_verifiable, result.warnings) == (False, ())
    assert [command.argv[0] for command in result.verify_command] == ["signerctl"] * 3
    assert sealed(given, request()).result.cose is msgspec.UNSET


def test_the_command_for_a_message_is_our_own() -> None:
    command = cose_command("https://example.org/x", "-rf it's")
    assert command.argv == (
        *("signerctl", "verify", "--key", "key.pub", "--type", "https://example.org/x"),
        *("--subject=-rf it's", "statement.cose"),
    )
    assert command.line.endswith("""'--subject=-rf it'"'"'s' statement.cose""")


def test_a_bare_document_comes_in_an_envelope_alone() -> None:
    held = [HeldKey.make("file:acme", kind="Ed25519"), HeldKey.make("file:b")]
    tenant = Tenant("acme", "file:acme", rules={name.entry.key: KeyRule() for name in held})
    given = world(tenants=[tenant], keys=held)
    asked = request(payload())
    handed = item(given, asked)
    assert (handed.profile, handed.payload_type) == ("dsse", RECORD_TYPE)
    assert [use.key for use in handed.decision.keys] == ["file:acme"], "no companion, as there is no bundle"
    assert (handed.request.method, handed.request.predicate_type) == ("sign.payload", RECORD)
    digest = hashlib.sha256(b'{"ok": true}').hexdigest()
    assert [(s.name, s.sha256) for s in handed.request.subjects] == [("payload", digest)]
    result = sealed(given, request(payload(options=Options(keys=("file:b", "file:acme"))))).result
    envelope = json.loads(inline(cast("bytes", result.envelope)))
    assert envelope["payloadType"] == RECORD_TYPE
    assert base64.b64decode(envelope["payload"]) == b'{"ok":true}'
    assert len(envelope["signatures"]) == 2
    assert result.envelope_sha256 == hashlib.sha256(inline(cast("bytes", result.envelope))).hexdigest()
    assert (result.bundles, result.bundle_sha256, result.verify_command) == ((), (), ())
    assert (result.cosign_verifiable, result.warnings) == (False, ())
    assert result.predicate_sha256 == digest
    assert result.statement_sha256 == hashlib.sha256(b'{"ok":true}').hexdigest()
    (leaf,) = given.sealer.leaves
    assert json.loads(leaf)["payload_type"] == RECORD_TYPE
