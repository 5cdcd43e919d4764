from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
from msgspec import UNSET, Raw

from signerd.errors import Refusal
from signerd.wire.methods import METHODS, decode_items, decode_params, decode_result
from signerd.wire.params import AuditFilters, AuditQuery, Descriptor, Options, SignBatch, SignDsse, Subject

MALFORMED = "request.malformed"
UNSUPPORTED = "request.unsupported"
SIGN: dict[str, Any] = {
    "subject": [{"name": "a", "digest": {"sha256": "00"}}],
    "predicate_type": "sbom",
    "predicate": b"{}",
}


def raw(value: object) -> Raw:
    return Raw(msgpack.packb(value))


def refused(method: str, params: object) -> tuple[str, str, dict[str, Any]]:
    with pytest.raises(Refusal) as caught:
        decode_params(method, raw(params))
    rest = {name: value for name, value in caught.value.details.items() if name != "reason"}
    return caught.value.code, caught.value.reason, rest


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_frozen_types_of_its_own(method: str) -> None:
    spec = METHODS[method]
    assert spec.params.__struct_config__.frozen
    assert spec.params.__struct_config__.forbid_unknown_fields
    assert spec.result.__struct_config__.frozen
    assert not spec.result.__struct_config__.forbid_unknown_fields
    assert spec.principal_needed == (method not in ("session.bind", "daemon.health"))
    assert spec.scope is None or spec.principal_needed


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_key_of_params_is_unsupported_by_name(method: str) -> None:
    full = {"sign.dsse": SIGN, "sign.batch": {"items": []}, "keys.describe": {"key": "file:default"},
            "audit.query": {"filters": {}, "limit": 1}}  # fmt: skip
    assert refused(method, {**full.get(method, {}), "grease": 1}) == (
        "request.unsupported", "unknown_key", {"name": "grease"},
    )  # fmt: skip


def test_an_unknown_method_is_unsupported_by_name() -> None:
    assert refused("sign.anything", {}) == (
        "request.unsupported",
        "unknown_method",
        {"name": "sign.anything"},
    )


def test_names_that_are_repeated_to_the_peer_are_cut() -> None:
    assert refused("x" * 1000, {})[2] == {"name": "x" * 64}
    assert refused("daemon.info", {"y" * 1000: 1})[2] == {"name": "y" * 64}


@pytest.mark.parametrize(
    ("change", "code", "reason", "details"),
    [
        ({"predicate": "{}"}, MALFORMED, "wrong_type", {"field": "predicate"}),
        ({"predicate": None}, MALFORMED, "wrong_type", {"field": "predicate"}),
        ({"predicate": {"fd": 0}}, MALFORMED, "missing_field", {"field": "predicate.size"}),
        ({"predicate": {"fd": 0, "size": 1.0}}, MALFORMED, "wrong_type", {"field": "predicate.size"}),
        ({"predicate": {"fd": -1, "size": 1}}, MALFORMED, "out_of_range", {"field": "predicate.fd"}),
        ({"predicate": {"fd": 0, "size": 1, "off": 0}}, UNSUPPORTED, "unknown_key",
         {"name": "off", "field": "predicate"}),
        ({"subject": [{"digest": {}}]}, MALFORMED, "missing_field", {"field": "subject[0].name"}),
        ({"subject": [{"name": "a"}]}, MALFORMED, "missing_field", {"field": "subject[0].digest"}),
        ({"subject": [{"name": "a", "fd": 0}]}, MALFORMED, "missing_field", {"field": "subject[0].size"}),
        ({"subject": [{"name": "a", "digest": {}, "size": 1}]}, MALFORMED, "digest_and_fd",
         {"field": "subject[0]"}),
        ({"subject": [{"name": "a", "digest": {"sha256": b"0"}}]}, MALFORMED, "wrong_type",
         {"field": "subject[0].digest[...]"}),
        ({"subject": [{"name": "a", "digest": {}, "uri": "u"}]}, UNSUPPORTED, "unknown_key",
         {"name": "uri", "field": "subject[0]"}),
        ({"subject": [{"name": "a"}] * 16_385}, "request.too_large", "too_many", {"field": "subject"}),
        (
            {"subject": [{"name": "a", "digest": {str(n): "" for n in range(1025)}}]},
            "request.too_large",
            "too_many",
            {"field": "subject[0].digest"},
        ),
        ({"scanner_image_digest": "sha256:" + "0" * 64 + "\n"}, MALFORMED, "out_of_range",
         {"field": "scanner_image_digest"}),
        ({"options": None}, MALFORMED, "wrong_type", {"field": "options"}),
        ({"options": {"keys": ["a", "b", "a"]}}, MALFORMED, "repeated_value", {"field": "options.keys"}),
        ({"options": {"include": ["chain", "chain"]}}, MALFORMED, "repeated_value",
         {"field": "options.include"}),
        ({"options": {"profile": "pades"}}, UNSUPPORTED, "unknown_value",
         {"name": "pades", "field": "options.profile"}),
        ({"options": {"timestamp": 1}}, MALFORMED, "wrong_type", {"field": "options.timestamp"}),
        ({"options": {"tsa": "x"}}, UNSUPPORTED, "unknown_key", {"name": "tsa", "field": "options"}),
        ({"poe": {"format": "paper"}}, UNSUPPORTED, "unknown_value",
         {"name": "paper", "field": "poe.format"}),
        ({"idempotency_key": ""}, MALFORMED, "out_of_range", {"field": "idempotency_key"}),
    ],
)  # fmt: skip
def test_params_of_sign_dsse_out_of_shape(
    change: dict[str, Any], code: str, reason: str, details: dict[str, Any]
) -> None:
    assert refused("sign.dsse", {**SIGN, **change}) == (code, reason, details)


@pytest.mark.parametrize("value", [None, 1, [], b"", "text", 1.5])
def test_params_that_are_no_map_are_malformed(value: object) -> None:
    assert refused("daemon.info", value) == ("request.malformed", "wrong_type", {})


@pytest.mark.parametrize(
    ("method", "params", "reason"),
    [
        ("keys.describe", b"\x81\xa3key\xa1\xff", "bad_utf8"),
        ("keys.describe", b"\x81\xa1\xff\x01", "bad_utf8"),
        ("keys.describe", b"", "not_msgpack"),
        ("keys.describe", b"\xc1", "not_msgpack"),
        ("keys.describe", b"\x81\xa3key\xa1k\x00", "not_msgpack"),
        ("sign.batch", b"\x81\xa5items\x91" + b"\x91" * 100_000 + b"\x00", "too_deep"),
    ],
)
def test_what_msgspec_fails_on_in_other_ways_is_malformed_too(
    method: str, params: bytes, reason: str
) -> None:
    with pytest.raises(Refusal) as caught:
        decode_params(method, Raw(params))
    assert (caught.value.code, caught.value.reason) == ("request.malformed", reason)


def test_limit_of_audit_query() -> None:
    for limit in (0, 201):
        assert refused("audit.query", {"filters": {}, "limit": limit})[1:] == (
            "out_of_range",
            {"field": "limit"},
        )
    assert decode_params("audit.query", raw({"filters": {}, "limit": 200})) == AuditQuery(AuditFilters(), 200)


def test_sign_dsse_by_bytes_and_by_descriptor() -> None:
    assert decode_params("sign.dsse", raw(SIGN)) == SignDsse((Subject("a", {"sha256": "00"}),), "sbom", b"{}")
    changed = {**SIGN, "subject": [{"name": "a", "fd": 1, "size": 3}], "predicate": {"fd": 0, "size": 2}}
    assert decode_params("sign.dsse", raw(changed)) == SignDsse(
        (Subject("a", fd=1, size=3),), "sbom", Descriptor(0, 2)
    )


def test_an_item_out_of_shape_is_refused_alone() -> None:
    batch = decode_params(
        "sign.batch", raw({"items": [SIGN, {**SIGN, "extra": 1}, SIGN, {**SIGN, "predicate": "{}"}]})
    )
    assert isinstance(batch, SignBatch)
    first, second, third, fourth = decode_items(batch)
    assert isinstance(first, SignDsse)
    assert first == third
    assert isinstance(second, Refusal)
    assert second.details == {"reason": "unknown_key", "name": "extra"}
    assert isinstance(fourth, Refusal)
    assert fourth.code == "request.malformed"


def test_options_of_a_batch_are_checked_once() -> None:
    assert refused("sign.batch", {"items": [], "options": {"keys": ["a", "a"]}})[1] == "repeated_value"


def test_a_batch_made_from_items_decodes_into_them() -> None:
    items = [
        SignDsse((Subject("a", {"sha256": "00"}),), "sbom", b"{}"),
        SignDsse((), "vex", Descriptor(0, 1)),
    ]
    encoded = Raw(msgspec.msgpack.encode(SignBatch.of(items, Options(profile="dsse"))))
    batch = decode_params("sign.batch", encoded)
    assert isinstance(batch, SignBatch)
    assert batch.options == Options(profile="dsse")
    assert decode_items(batch) == items


def test_results_may_grow_and_must_fit() -> None:
    health = {"ready": True, "checks": [{"name": "audit", "ok": True, "since": 5}], "grease": [1]}
    result = decode_result("daemon.health", raw(health))
    assert msgspec.to_builtins(result) == {"ready": True, "checks": ({"name": "audit", "ok": True},)}
    with pytest.raises(Refusal, match="missing_field"):
        decode_result("daemon.health", raw({"ready": True}))


def test_defaults_are_absent_so_that_length_tells_of_repeated_keys() -> None:
    for spec in METHODS.values():
        assert all(default is UNSET for default in spec.params.__struct_defaults__)
