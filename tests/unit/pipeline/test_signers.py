import dataclasses
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from fakes.services import LIMITS, NOON, HeldKey, World, cleared, order, request, world
from fakes.sigstore import spki
from signerd.attestation.dsse import MOST_SIGNATURES
from signerd.contracts.values import Entitlement
from signerd.errors import Fault, SignerdError
from signerd.pipeline.signers import COMPANION, bundled_keys, choose_keys
from signerd.pipeline.tenants import KeyRule, Tenant
from signerd.wire.methods import Options
from signerd.wire.ring import RingEntry

TENANTS = (Tenant("acme", "file:acme"), Tenant("other", "file:other"))
GOLD = Entitlement("gold", LIMITS, "fake")


def keys(*names: str) -> Options:
    return Options(keys=names)


def chosen(given: World, **changes: Any) -> tuple[RingEntry, ...]:
    """What is chosen for an order that was understood; the keys that it names may be any text."""
    evidence = cleared(given, request(order(**{**changes, "options": _bare(changes.get("options"))})))
    entitled = evidence.entitled
    asked = dataclasses.replace(entitled.order, params=order(**changes))
    return choose_keys(asked, entitled.entitlement.plan, given.services)


def _bare(options: Options | None) -> Options:
    given = options or Options()
    return Options(profile=given.profile, transparency=given.transparency, timestamp=given.timestamp)


def names(given: World, **changes: Any) -> list[str]:
    return [key.key for key in chosen(given, **changes)]


def refused(given: World, **changes: Any) -> tuple[str, str, object]:
    with pytest.raises(SignerdError) as caught:
        chosen(given, **changes)
    details = {name: value for name, value in caught.value.details.items() if name != "reason"}
    return caught.value.code, caught.value.reason, details


def ruled(**changes: Any) -> Tenant:
    return Tenant("acme", "file:acme", **changes)


def test_the_keys_that_are_named_in_their_order() -> None:
    given = world(keys=[HeldKey.make("file:acme"), HeldKey.make("file:b"), HeldKey.make("file:c", kind="Ed25519")])
    assert names(given, options=keys("file:c", "file:b")) == ["file:c", "file:b"]
    assert names(given, options=Options(keys=())) == ["file:acme"]


@pytest.mark.parametrize("name", ["file:other", "file:none", "", "file:acme "])
def test_a_key_of_another_tenant_is_as_one_that_does_not_exist(name: str) -> None:
    given = world(tenants=TENANTS, keys=[HeldKey.make("file:acme"), HeldKey.make("file:other", "other")])
    assert refused(given, options=keys("file:acme", name)) == ("key.not_found", "no_such_key", {})


def test_why_a_key_of_ones_own_was_never_known_is_told_and_of_anothers_not() -> None:
    tenants = tuple(Tenant(name, f"file:{name}", rules={f"file:{name}": KeyRule()}) for name in ("acme", "other"))
    given = world(tenants=tenants, keys=[])
    away = Fault("key.backend_unavailable", "token_absent", "the key's backend is not available")
    given.sealer.absent = {"file:acme": away, "file:other": away}
    assert refused(given)[:2] == ("key.backend_unavailable", "token_absent")
    assert refused(given, options=keys("file:other"))[0] == "key.not_found"


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
        ({"status": "unlogged", "spki": b""}, "key.backend_fault", "ring_unlogged"),
    ],
)
def test_every_key_must_be_able_to_sign_now(entry: dict[str, Any], code: str, reason: str) -> None:
    given = world(keys=[HeldKey.make("file:acme"), HeldKey.make("file:b", **entry)])
    assert refused(given, options=keys("file:acme", "file:b")) == (code, reason, {})


@pytest.mark.parametrize(
    "options", [Options(transparency="async"), Options(transparency="required"), Options(include=("rekor_request",))]
)
def test_a_key_that_no_log_takes_is_refused_before_it_signs(options: Options) -> None:
    held = HeldKey.make("file:acme", algorithm="Ed25519", spki=spki(ed25519.Ed25519PrivateKey.generate()))
    given = world(keys=[held])
    assert refused(given, options=options)[:2] == ("key.algorithm_refused", "not_logged")
    assert names(given, options=Options(timestamp=True)) == ["file:acme"]


@pytest.mark.parametrize("entry", [{"status": "retiring"}, {"expires_at": NOON + 1}, {"revoked_at": NOON + 1}])
def test_a_key_signs_to_its_last_millisecond(entry: dict[str, Any]) -> None:
    given = world(keys=[HeldKey.make("file:acme", **entry)])
    assert names(given) == ["file:acme"]


def test_a_key_signs_for_its_plans_alone() -> None:
    tenant = ruled(rules={"file:acme": KeyRule(frozenset({"silver"})), "file:b": KeyRule(frozenset({"gold"}))})
    given = world(tenants=[tenant], keys=[HeldKey.make("file:acme"), HeldKey.make("file:b")], plan=GOLD)
    assert refused(given) == ("key.forbidden", "other_plan", {})
    assert refused(given, options=keys("file:b", "file:acme")) == ("key.forbidden", "other_plan", {})
    assert names(given, options=keys("file:b")) == ["file:b"]


def test_a_plan_may_have_a_default_key_of_its_own() -> None:
    held = [HeldKey.make("file:acme"), HeldKey.make("file:b")]
    for name, expected in (("gold", "file:b"), ("silver", "file:acme")):
        given = world(tenants=[ruled(default_keys={name: "file:b"})], keys=held, plan=GOLD)
        assert names(given) == [expected]


def test_hardware_may_be_required() -> None:
    held = [HeldKey.make("file:acme"), HeldKey.make("file:hsm", hardware=True)]
    given = world(tenants=[ruled(require_hardware=True)], keys=held)
    assert refused(given) == ("key.forbidden", "hardware_required", {})
    assert names(given, options=keys("file:hsm")) == ["file:hsm"]


ALGORITHMS = ("ES256", "ES384", "Ed25519", "RSA-PKCS1-SHA256", "RSA-PSS-SHA256", "ML-DSA-65", "GOST3410-2012-256")
ALLOWED = {
    "world": {"ES256", "ES384", "Ed25519", "RSA-PKCS1-SHA256", "RSA-PSS-SHA256", "ML-DSA-65"},
    "eidas": {"ES256", "ES384"},
    "kcmvp": {"ES256", "RSA-PKCS1-SHA256", "RSA-PSS-SHA256"},
    "gost": {"GOST3410-2012-256"},
    "kcmvp+gost": {"ES256", "RSA-PKCS1-SHA256", "RSA-PSS-SHA256", "GOST3410-2012-256"},
}
"""An RSA key has 2048 bits here, which is too short for eidas."""


def held(name: str, algorithm: str, **changes: Any) -> HeldKey:
    """A key that the ring holds under an algorithm; the key is one of that algorithm only where signerd can make it."""
    kind = "RSA-PKCS1-SHA256" if algorithm.startswith("RSA-") else "Ed25519" if algorithm == "Ed25519" else "ES256"
    return HeldKey.make(name, kind=kind, algorithm=algorithm, **changes)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("profile", ALLOWED)
def test_a_key_outside_the_tenants_profile_signs_nothing(profile: str, algorithm: str) -> None:
    given = world(tenants=[ruled(profile=profile)], keys=[held("file:acme", algorithm)])
    options = Options(keys=("file:acme",), profile="dsse")
    if algorithm in ALLOWED[profile]:
        assert names(given, options=options) == ["file:acme"]
    else:
        code, reason, details = refused(given, options=options)
        short = profile == "eidas" and algorithm.startswith("RSA-")
        assert (code, reason) == ("key.algorithm_refused", "rsa_too_short" if short else "outside_profile")
        assert details == {"profile": profile, "algorithm": algorithm}


@pytest.mark.parametrize("algorithm", ["RSA-PSS-SHA256", "ML-DSA-65", "GOST3410-2012-256"])
def test_what_no_bundle_carries_is_for_the_envelope_alone(algorithm: str) -> None:
    given = world(tenants=[ruled(profile="world+gost")], keys=[held("file:acme", algorithm)])
    details = {"profile": "cosign", "algorithm": algorithm}
    for options in (keys("file:acme"), Options(keys=("file:acme",), include=("envelope",))):
        assert refused(given, options=options) == ("key.algorithm_refused", "not_for_cosign", details)
    assert names(given, options=Options(keys=("file:acme",), profile="dsse")) == ["file:acme"]


def tenant(*names: str, profile: str = "world", **changes: Any) -> Tenant:
    return ruled(profile=profile, **{"rules": {name: KeyRule() for name in names}, **changes})


DSSE = Options(profile="dsse")


def test_a_companion_is_added_where_no_key_is_of_es256() -> None:
    ring = [held("file:acme", "Ed25519"), HeldKey.make("file:b", kind="ES384"), held("file:c", "ES256")]
    given = world(tenants=[tenant("file:acme", "file:b", "file:c")], keys=[*ring, held("file:d", "ES256")])
    chose = chosen(given, options=DSSE)
    assert [(key.key, key.source) for key in chose] == [("file:acme", "file"), ("file:c", COMPANION)]
    asked = dataclasses.replace(cleared(given, request(order(options=DSSE))).entitled.order)
    assert bundled_keys(asked, chose) == (1,)
    assert names(given, options=Options(profile="dsse", keys=("file:c", "file:b"))) == ["file:c", "file:b"]
    assert names(given, options=Options(profile="cosign")) == ["file:acme"]


UNFIT: dict[str, dict[str, Any]] = {
    "revoked": {"entry": {"status": "revoked"}},
    "suspended": {"entry": {"status": "suspended"}},
    "expired": {"entry": {"expires_at": NOON}},
    "another algorithm": {"entry": {"algorithm": "ES384"}},
    "keyless": {"entry": {"keyid": "", "spki": b"", "version": 0}},
    "another plan": {"rule": KeyRule(frozenset({"silver"}))},
    "not in hardware": {"tenant": {"require_hardware": True}},
    "outside the profile": {"tenant": {"profile": "gost"}},
    "another tenant's": {"entry": {"tenant": "other"}},
}


@pytest.mark.parametrize("case", UNFIT.values(), ids=UNFIT)
def test_a_key_that_cannot_sign_now_is_no_companion(case: dict[str, Any]) -> None:
    first = held("file:acme", "GOST3410-2012-256", hardware=True)
    second = HeldKey.make("file:b", **case.get("entry", {}))
    rules = {"file:acme": KeyRule(), "file:b": case.get("rule", KeyRule())}
    changes = {"profile": "gost+world", **case.get("tenant", {})}
    named = Options(profile="dsse", keys=("file:acme",))
    given = world(tenants=[ruled(rules=rules, **changes), TENANTS[1]], keys=[first, second], plan=GOLD)
    assert names(given, options=named) == ["file:acme"]
    fit = world(tenants=[tenant("file:acme", "file:b", profile="gost+world")], keys=[first, HeldKey.make("file:b")])
    assert names(fit, options=named) == ["file:acme", "file:b"]


def test_an_envelope_has_no_more_signatures_than_a_reader_looks_at() -> None:
    many = [HeldKey.make(f"file:{number}", kind="Ed25519") for number in range(MOST_SIGNATURES)]
    every = [key.entry.key for key in many]
    given = world(tenants=[tenant(*every, "file:p256")], keys=[*many, HeldKey.make("file:p256")])
    assert names(given, options=Options(profile="dsse", keys=tuple(every))) == every
    assert names(given, options=Options(profile="dsse", keys=tuple(every[1:]))) == [*every[1:], "file:p256"]


def dual(*more: HeldKey, first: str = "ES256", profile: str = "fips+gost") -> World:
    ring = [held("file:acme", first), *more]
    return world(tenants=[tenant(*[key.entry.key for key in ring], profile=profile)], keys=ring)


GOST = ("GOST3410-2012-256", "GOST3410-2012-512")


def test_a_joined_profile_has_a_signature_for_each_part() -> None:
    given = dual(held("file:b", "ES256"), held("file:c", GOST[0]), held("file:d", GOST[1]))
    assert names(given, options=DSSE) == ["file:acme", "file:c"]
    assert names(given) == ["file:acme"]
    assert names(given, options=Options(profile="dsse", keys=("file:b",))) == ["file:b"]
    turned = dual(held("file:b", "ES256"), first=GOST[1])
    assert names(turned, options=DSSE) == ["file:acme", "file:b"]
    assert [key.source for key in chosen(turned, options=DSSE)] == ["file", "file"]


def test_one_key_may_cover_several_parts() -> None:
    given = dual(held("file:c", GOST[0]), profile="world+fips+eidas+gost")
    assert names(given, options=DSSE) == ["file:acme", "file:c"]
    short = dual(held("file:b", "ES384"), first="RSA-PKCS1-SHA256", profile="fips+eidas")
    assert names(short, options=DSSE) == ["file:acme", "file:b"]


def test_a_part_that_no_key_covers_is_not_left_out_in_silence() -> None:
    details = {"profile": "fips+gost", "part": "gost"}
    assert refused(dual(held("file:b", "ES384")), options=DSSE) == ("key.not_found", "part_uncovered", details)
    expired = held("file:c", GOST[0], expires_at=NOON)
    assert refused(dual(expired), options=DSSE)[:2] == ("key.expired", "expired")
    assert names(dual(expired, held("file:d", GOST[1])), options=DSSE) == ["file:acme", "file:d"]
    away = dual(held("file:c", GOST[0]))
    away.sealer.keys.pop(("acme", "file:c"))
    away.sealer.absent = {"file:c": Fault("key.backend_unavailable", "worker_down", "down")}
    assert refused(away, options=DSSE)[:2] == ("key.backend_unavailable", "worker_down")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"transparency": "required"}, "transparency=required"),
        ({"transparency": "async", "timestamp": True}, "transparency=async"),
        ({"timestamp": True}, "timestamp"),
        ({"include": ("rekor_request",)}, "include=rekor_request"),
    ],
)
def test_what_has_no_bundle_is_published_nowhere(options: dict[str, Any], name: str) -> None:
    given = world(tenants=[tenant("file:acme", "file:b")], keys=[held("file:acme", "Ed25519")])
    assert refused(given, options=Options(profile="dsse", **options)) == (
        "request.unsupported",
        "no_bundle",
        {"name": name},
    )
    given.sealer.keys["acme", "file:b"] = HeldKey.make("file:b")
    assert names(given, options=Options(profile="dsse", **options)) == ["file:acme", "file:b"]
    assert names(given, options=Options(profile="dsse", include=("envelope",))) == ["file:acme", "file:b"]


def test_cose_carries_what_it_has_a_number_for() -> None:
    kinds = {"file:acme": "ES256", "file:rsa": "RSA-PKCS1-SHA256", "file:ed": "Ed25519"}
    held = [HeldKey.make(name, kind=kind) for name, kind in kinds.items()]
    given = world(keys=held)
    options = Options(profile="cose", keys=("file:ed", "file:acme"))
    assert names(given, options=options) == ["file:ed", "file:acme"]
    details = {"profile": "cose", "algorithm": "RSA-PKCS1-SHA256"}
    options = Options(profile="cose", keys=("file:acme", "file:rsa"))
    assert refused(given, options=options) == ("key.algorithm_refused", "not_for_cose", details)


def test_a_keyless_key_signs_no_message_as_its_header_could_not_name_it() -> None:
    keyless = HeldKey.make("fulcio:ci", keyid="", spki=b"", version=0)
    given = world(keys=[HeldKey.make("file:acme"), keyless])
    options = Options(profile="cose", keys=("fulcio:ci",))
    assert refused(given, options=options) == ("key.forbidden", "keyless_cose", {})
    assert names(given, options=keys("fulcio:ci")) == ["fulcio:ci"]


def test_a_credential_is_no_key_to_sign_with() -> None:
    tenant = ruled(rules={"fido2:alice": KeyRule(approves=True)})
    given = world(tenants=[tenant], keys=[HeldKey.make("file:acme"), HeldKey.make("fido2:alice", status="suspended")])
    assert refused(given, options=keys("fido2:alice"))[:2] == ("key.forbidden", "approval_only")


def test_a_credential_covers_no_part_of_a_profile_and_is_no_companion() -> None:
    rules = {"file:acme": KeyRule(), "fido2:alice": KeyRule(approves=True)}
    held = [HeldKey.make("file:acme", kind="Ed25519"), HeldKey.make("fido2:alice", algorithm="FIDO2-ES256")]
    given = world(tenants=[ruled(rules=rules)], keys=held)
    assert names(given, options=Options(profile="dsse")) == ["file:acme"]


@pytest.mark.parametrize(("first", "companion"), [(None, False), ("fido2:bob", False), ("fido2:alice", True)])
def test_nobody_must_touch_a_key_for_a_companion_alone(first: str | None, companion: bool) -> None:
    rules = {"file:acme": KeyRule(presence=first), "file:b": KeyRule(presence="fido2:alice")}
    held = [HeldKey.make("file:acme", kind="Ed25519"), HeldKey.make("file:b")]
    given = world(tenants=[ruled(rules=rules)], keys=held)
    assert names(given, options=Options(profile="dsse")) == ["file:acme", *(["file:b"] if companion else [])]
