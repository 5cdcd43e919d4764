import dataclasses
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from fakes.services import (
    DIGEST,
    EXEMPT,
    NEEDS_RELEASE,
    PRINCIPAL,
    RECORD,
    RECORD_TYPE,
    REPORT,
    World,
    complete,
    order,
    payload,
    refusal,
    request,
    world,
)
from signerd.errors import Refusal
from signerd.pipeline.evidence import Order
from signerd.pipeline.request import SignRequest
from signerd.pipeline.tenants import Tenant
from signerd.pipeline.understand import understand
from signerd.wire.methods import Descriptor, Options, PolicyMetadata, Subject

NO_SCOPE = msgspec.structs.replace(PRINCIPAL, scopes=frozenset({"signer.keys"}))
BAD_SUBJECT = (Subject("", digest={"sha256": DIGEST}),)


def understood(given: World, asked: SignRequest) -> Order:
    assert asked.bound is not None
    return complete(understand(asked.bound, asked, given.services), given)


def refused(given: World, asked: SignRequest) -> tuple[str, str, dict[str, Any]]:
    assert asked.bound is not None
    found = refusal(understand(asked.bound, asked, given.services), given)
    assert asked.order is None
    return found


def test_what_is_understood_is_an_order() -> None:
    given = world()
    asked = request()
    evidence = understood(given, asked)
    assert asked.order is evidence
    assert evidence.request is asked
    assert evidence.params == order()
    assert evidence.principal is PRINCIPAL
    assert evidence.tenant.name == "acme"
    assert evidence.predicate_type.uri == NEEDS_RELEASE
    assert [(s.name, s.digest) for s in evidence.subjects] == [("artefact", {"sha256": DIGEST})]


def test_a_short_name_is_the_type_of_its_uri() -> None:
    assert understood(world(), request(order(predicate_type="sbom"))).predicate_type.uri == NEEDS_RELEASE


def test_what_a_batch_has_decoded_is_taken_as_it_is() -> None:
    asked = request()
    asked.params = order()
    assert understood(world(), asked).params is asked.params
    asked.params = Refusal("request.malformed", "missing_field", "no", details={"field": "subject"})
    asked.order = None
    assert refused(world(), asked) == ("request.malformed", "missing_field", {"field": "subject"})


@pytest.mark.parametrize(
    ("params", "code", "reason"),
    [
        ({}, "request.malformed", "missing_field"),
        ([], "request.malformed", "wrong_type"),
        (
            {**msgspec.to_builtins(order(), builtin_types=(bytes,)), "x": 1},
            "request.unsupported",
            "unknown_key",
        ),
    ],
)
def test_params_out_of_shape(params: object, code: str, reason: str) -> None:
    assert refused(world(), request(params))[:2] == (code, reason)


def test_descriptors_are_checked_with_the_shape() -> None:
    asked = request(order(predicate=Descriptor(0, 5), predicate_type="unknown"))
    assert refused(world(), asked)[:2] == ("request.malformed", "descriptor_index")


UNSERVED: list[tuple[dict[str, Any], str]] = [
    ({"idempotency_key": "k"}, "idempotency_key"),
    ({"options": Options(profile="cose", transparency="async")}, "transparency=async"),
    ({"options": Options(profile="cose", timestamp=True)}, "timestamp"),
    ({"options": Options(profile="cose", include=("chain", "envelope"))}, "include=envelope"),
    ({"options": Options(profile="cose", include=("rekor_request",))}, "include=rekor_request"),
    ({"options": Options(include=("envelope", "receipt_proof"))}, "include=receipt_proof"),
    ({"policy": PolicyMetadata("sha256:x", "v")}, "policy"),
]
SERVED = [
    Options(),
    Options("auto", ("file:acme",), "cosign", "none", timestamp=False, include=("envelope",)),
    Options(mode="keyful", include=("rekor_request",), transparency="async", timestamp=True),
    Options(mode="keyless", include=("chain",)),
    Options(profile="dsse"),
    Options(profile="cose", include=("chain",), transparency="none", timestamp=False),
]


@pytest.mark.parametrize(("changes", "name"), UNSERVED)
def test_what_is_not_served_is_not_ignored(changes: dict[str, Any], name: str) -> None:
    found = refused(world(), request(order(**changes)))
    assert found == ("request.unsupported", "not_served", {"name": name})


def test_a_token_of_the_requests_own_needs_a_scope_of_its_own() -> None:
    options = Options(identity_token="a.b.c")
    assert refused(world(), request(order(options=options)))[:2] == ("auth.scope_missing", "scope_missing")
    scopes = frozenset({"signer.sign", "signer.keyless"})
    asked = request(order(options=options), bound=msgspec.structs.replace(PRINCIPAL, scopes=scopes))
    assert understood(world(), asked).params.options == options


@pytest.mark.parametrize("options", SERVED)
def test_what_is_served_passes(options: Options) -> None:
    assert understood(world(), request(order(options=options))).params.options == options


@pytest.mark.parametrize(
    ("kinds", "options", "name"),
    [
        (set(), Options(transparency="async"), "transparency=async"),
        ({"stamp"}, Options(transparency="required"), "transparency=required"),
        ({"log"}, Options(timestamp=True), "timestamp"),
    ],
)
def test_what_nobody_publishes_is_not_served(kinds: set[str], options: Options, name: str) -> None:
    given = world()
    given.services = dataclasses.replace(given.services, published=frozenset(kinds))
    found = refused(given, request(order(options=options)))
    assert found == ("request.unsupported", "not_served", {"name": name})


@pytest.mark.parametrize(
    ("options", "published"),
    [
        (Options(), ("async", True)),
        (Options(transparency="none"), ("none", True)),
        (Options(transparency="required", timestamp=False), ("required", False)),
    ],
)
def test_the_tenant_says_what_the_request_does_not(options: Options, published: tuple[str, bool]) -> None:
    given = world(tenants=[Tenant("acme", "file:acme", transparency="async", timestamp=True)])
    made = understood(given, request(order(options=options)))
    assert (made.transparency, made.timestamp) == published


def test_every_option_is_shown_to_be_served_or_refused() -> None:
    """A field that is new to the wire and unknown to the pipeline would be ignored: what it says may be a condition."""
    shown = [*SERVED, *(changes["options"] for changes, _ in UNSERVED if "options" in changes)]
    shown.append(Options(identity_token="a.b.c"))
    said = {name for options in shown for name in Options.__struct_fields__ if getattr(options, name) is not UNSET}
    assert said == set(Options.__struct_fields__)


def test_the_policy_of_a_report_passes() -> None:
    asked = request(order(predicate_type=REPORT, policy=PolicyMetadata("sha256:x", "v")))
    assert understood(world(), asked).predicate_type.uri == REPORT


@pytest.mark.parametrize(
    ("subjects", "reason", "pointer"),
    [
        ([], "no_subject", None),
        ([("", {"sha256": DIGEST})], "name_empty", "/subject/0/name"),
        ([("a\n", {"sha256": DIGEST})], "name_control_character", "/subject/0/name"),
        ([("a", {})], "digest_missing_sha256", "/subject/0/digest"),
        ([("a", {"sha256": DIGEST, "md5": "0" * 32})], "digest_unknown", "/subject/0/digest"),
        ([("a", {"sha256": DIGEST.upper()})], "digest_malformed", "/subject/0/digest/sha256"),
        ([("a", {"sha256": DIGEST}), ("a", {"sha256": "0" * 64})], "duplicate_name", "/subject/1/name"),
        ([("a", {"sha256": DIGEST}), ("b", {"sha256": DIGEST})], "duplicate_digest", "/subject/1/digest"),
    ],
)
def test_subjects_that_cannot_stand_in_a_statement(
    subjects: list[tuple[str, dict[str, str]]], reason: str, pointer: str | None
) -> None:
    asked = request(order(subject=tuple(Subject(name, digest=digest) for name, digest in subjects)))
    details = {} if pointer is None else {"pointer": pointer}
    assert refused(world(), asked) == ("statement.invalid", reason, details)


def described(names: str, *, digests: str = "") -> SignRequest:
    """A request with a subject for each letter: those of ``digests`` by digest, others by descriptor."""
    subjects = tuple(
        Subject(name, digest={"sha256": f"{index:064x}"}) if name in digests else Subject(name, fd=index, size=1)
        for index, name in enumerate(names)
    )
    asked = request()
    # A batch has checked the descriptors of all its items before.
    asked.params = order(subject=subjects)
    return asked


def test_a_subject_that_is_still_to_be_hashed_has_no_digest() -> None:
    evidence = understood(world(), described("abc", digests="b"))
    assert [(s.name, s.digest) for s in evidence.subjects] == [
        ("a", {}),
        ("b", {"sha256": f"{1:064x}"}),
        ("c", {}),
    ]


@pytest.mark.parametrize(
    ("names", "digests", "reason", "pointer"),
    [
        ("aba", "b", "duplicate_name", "/subject/2/name"),
        ("aa", "", "duplicate_name", "/subject/1/name"),
        ("ab\n", "a", "name_control_character", "/subject/2/name"),
        ("\nab", "ab", "name_control_character", "/subject/0/name"),
    ],
)
def test_names_are_judged_before_anything_is_hashed(names: str, digests: str, reason: str, pointer: str) -> None:
    found = refused(world(), described(names, digests=digests))
    assert found == ("statement.invalid", reason, {"pointer": pointer})


@pytest.mark.parametrize(("count", "limit", "passes"), [(3, 3, True), (4, 3, False), (1025, 2000, False)])
def test_subjects_are_limited(count: int, limit: int, passes: bool) -> None:
    subjects = tuple(Subject(str(index), digest={"sha256": f"{index:064x}"}) for index in range(count))
    asked = request(order(subject=subjects))
    if passes:
        assert len(understood(world(subjects=limit), asked).subjects) == count
    else:
        assert refused(world(subjects=limit), asked) == ("statement.invalid", "too_many_subjects", {})


@pytest.mark.parametrize(("limit", "passes"), [(2, False), (3, True)])
def test_digests_of_a_subject_are_limited(limit: int, passes: bool) -> None:
    digest = {"sha256": DIGEST, "sha384": "0" * 96, "sha512": "0" * 128}
    asked = request(order(subject=(Subject("a", digest=digest),)))
    if passes:
        assert understood(world(digests=limit), asked).subjects[0].digest == digest
    else:
        assert refused(world(digests=limit), asked)[:2] == ("statement.invalid", "too_many_digests")


def test_a_limit_above_what_verifiers_read_does_not_count() -> None:
    digest = {"sha256": DIGEST} | {f"x{index}": "0" for index in range(32)}
    asked = request(order(subject=(Subject("a", digest=digest),)))
    assert refused(world(digests=1000), asked)[:2] == ("statement.invalid", "too_many_digests")


@pytest.mark.parametrize("over", [0, 1])
def test_an_inline_predicate_is_limited(over: int) -> None:
    asked = request(order(predicate=b"x" * (100 + over)))
    if over:
        assert refused(world(inline_bytes=100), asked) == (
            "request.too_large",
            "inline_too_large",
            {"limit": 100},
        )
    else:
        assert understood(world(inline_bytes=100), asked).params.predicate == b"x" * 100


@pytest.mark.parametrize("over", [0, 1])
def test_a_predicate_by_descriptor_is_limited(over: int) -> None:
    asked = request()
    asked.params = order(predicate=Descriptor(0, 100 + over))
    if over:
        assert refused(world(payload_bytes=100), asked) == (
            "request.too_large",
            "payload_too_large",
            {"limit": 100},
        )
    else:
        assert understood(world(payload_bytes=100), asked).params.predicate == Descriptor(0, 100)


def test_the_tenant_must_be_served_here() -> None:
    asked = request(bound=msgspec.structs.replace(PRINCIPAL, tenant="other"))
    assert refused(world(), asked) == ("auth.tenant_mismatch", "unknown_tenant", {})


def test_a_type_outside_the_catalogue() -> None:
    asked = request(order(predicate_type="https://example.org/none"))
    assert refused(world(), asked) == ("predicate.unsupported", "unknown_type", {})


def test_a_tenant_may_be_kept_to_some_types() -> None:
    given = world(tenants=[Tenant("acme", "file:acme", predicates=frozenset({EXEMPT}))])
    assert refused(given, request()) == ("predicate.unsupported", "not_allowed", {})
    assert understood(given, request(order(predicate_type="note"))).predicate_type.uri == EXEMPT


def test_the_scope_must_be_the_principals() -> None:
    assert refused(world(), request(bound=NO_SCOPE)) == ("auth.scope_missing", "scope_missing", {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"idempotency_key": "a", "subject": BAD_SUBJECT, "predicate_type": "none"}, "not_served"),
        ({"subject": BAD_SUBJECT, "predicate_type": "none"}, "name_empty"),
        ({"predicate": b"x" * 101, "predicate_type": "none"}, "inline_too_large"),
        ({"predicate_type": "none"}, "unknown_type"),
        ({}, "scope_missing"),
    ],
)
def test_shape_comes_before_catalogue_and_catalogue_before_scope(changes: dict[str, Any], reason: str) -> None:
    asked = request(order(scanner_image_digest=UNSET, **changes), bound=NO_SCOPE)
    assert refused(world(inline_bytes=100), asked)[1] == reason


@pytest.mark.parametrize(
    ("profile", "allowed"), [(UNSET, False), ("cosign", False), ("dsse", True)], ids=["none", "cosign", "dsse"]
)
def test_digests_by_gost_stand_in_what_is_not_for_cosign_alone(profile: Any, allowed: bool) -> None:
    subject = Subject("artefact", digest={"sha256": DIGEST, "streebog256": "ab" * 32})
    asked = request(order(subject=(subject,), options=Options(profile=profile)))
    if allowed:
        order_ = understood(world(), asked)
        assert (order_.output.name, order_.subjects[0].digest) == ("dsse", subject.digest)
    else:
        assert refused(world(), asked)[:2] == ("statement.invalid", "digest_unknown")


@pytest.mark.parametrize("asked", [{"options": Options(profile="cose")}, None])
def test_what_the_tenant_has_published_is_not_left_out_for_the_form(asked: dict[str, Any] | None) -> None:
    for changes, name in (({"transparency": "async"}, "transparency=async"), ({"timestamp": True}, "timestamp")):
        given = world(tenants=[Tenant("acme", "file:acme", **changes)])
        params = payload() if asked is None else order(**asked)
        assert refused(given, request(params)) == ("request.unsupported", "not_served", {"name": name})
        options = Options(profile="dsse" if asked is None else "cose", transparency="none", timestamp=False)
        params = payload(options=options) if asked is None else order(options=options)
        assert not understood(given, request(params)).timestamp


def test_a_bare_document_is_an_order_too() -> None:
    asked = request(payload())
    evidence = understood(world(), asked)
    assert (evidence.bare, evidence.payload_type, evidence.output.name) == (True, RECORD_TYPE, "dsse")
    assert evidence.predicate_type.uri == RECORD
    assert [(s.name, s.digest) for s in evidence.subjects] == [("payload", {})]
    named = payload(subject=(Subject("scan", digest={"sha256": DIGEST}),))
    assert [s.name for s in understood(world(), request(named)).subjects] == ["scan"]
    assert not understood(world(), request()).bare


BARE_UNSERVED: list[tuple[dict[str, Any], str]] = [
    ({"idempotency_key": "k"}, "idempotency_key"),
    ({"options": Options(profile="cosign")}, "profile=cosign"),
    ({"options": Options(profile="cose")}, "profile=cose"),
    ({"options": Options(transparency="required")}, "transparency=required"),
    ({"options": Options(timestamp=True)}, "timestamp"),
    ({"options": Options(include=("envelope", "rekor_request"))}, "include=rekor_request"),
    ({"options": Options(include=("receipt_proof",))}, "include=receipt_proof"),
    ({"policy": PolicyMetadata("sha256:x", "v")}, "policy"),
]


@pytest.mark.parametrize(("changes", "name"), BARE_UNSERVED)
def test_what_is_not_served_of_a_bare_document(changes: dict[str, Any], name: str) -> None:
    assert refused(world(), request(payload(**changes))) == ("request.unsupported", "not_served", {"name": name})


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"payload_type": "application/vnd.in-toto+json"}, "predicate.unsupported", "unknown_payload_type"),
        ({"payload_type": "application/json"}, "predicate.unsupported", "unknown_payload_type"),
        ({"payload_type": RECORD}, "predicate.unsupported", "unknown_payload_type"),
        ({"payload_type": ""}, "request.malformed", "out_of_range"),
        ({"payload_type": "a/" + "x" * 300}, "request.malformed", "out_of_range"),
        ({"subject": ()}, "request.malformed", "out_of_range"),
        ({"subject": BAD_SUBJECT}, "statement.invalid", "name_empty"),
        ({"payload": Descriptor(0, 5)}, "request.malformed", "descriptor_index"),
        ({"payload": b" " * ((1 << 20) + 1)}, "request.too_large", "inline_too_large"),
    ],
)
def test_a_bare_document_that_is_refused(changes: dict[str, Any], code: str, reason: str) -> None:
    assert refused(world(), request(payload(**changes)))[:2] == (code, reason)


def test_what_the_form_has_no_place_for_is_found_with_the_shape() -> None:
    options = Options(profile="cose", transparency="async")
    found = refused(world(), request(order(options=options, predicate_type="unknown")))
    assert found == ("request.unsupported", "not_served", {"name": "transparency=async"})
    found = refused(world(), request(payload(options=Options(timestamp=True), payload_type="a/b")))
    assert found == ("request.unsupported", "not_served", {"name": "timestamp"})


def test_a_bare_document_is_within_what_the_tenant_and_the_caller_may() -> None:
    given = world(tenants=[Tenant("acme", "file:acme", predicates=frozenset({EXEMPT}))])
    assert refused(given, request(payload()))[:2] == ("predicate.unsupported", "not_allowed")
    assert refused(world(), request(payload(), bound=NO_SCOPE))[:2] == ("auth.scope_missing", "scope_missing")
