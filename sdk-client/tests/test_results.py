import os
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import UNSET, Raw

from signerd.errors import Fault, Refusal
from signerd.wire.frames import ENCODER
from signerd.wire.methods import DaemonHealth, KeyList, SignResult
from signerd_client.descriptors import sealed_memfd
from signerd_client.results import batch_outcomes, decode, decode_signed, error_of, fresh

Result = Callable[..., dict[str, Any]]


def raw(value: object) -> Raw:
    return Raw(ENCODER.encode(value))


def test_unknown_keys_are_ignored_and_the_receipt_keeps_them(sign_result: Result) -> None:
    signed = decode_signed(raw(sign_result(b"bundle")), ())
    assert signed.bundles == (b"bundle",)
    assert signed.envelope is None
    assert signed.receipt["later"] == {"z": 1, "a": 2}
    assert isinstance(signed.result, SignResult)
    assert signed.result.receipt.audit_id == "a-1"


def test_messages_are_read_wherever_they_came(sign_result: Result) -> None:
    memory = sealed_memfd(b"large")
    raw = Raw(ENCODER.encode(sign_result(cose=[b"small", {"fd": 0, "size": 5}])))
    assert decode_signed(raw, [memory]).cose == (b"small", b"large")
    os.close(memory)
    assert decode_signed(Raw(ENCODER.encode(sign_result())), []).cose == ()


def test_values_that_came_by_descriptor_are_read(sign_result: Result) -> None:
    first, second = sealed_memfd(b"b" * 70_000), sealed_memfd(b"envelope")
    value = sign_result({"fd": 0, "size": 70_000}, envelope={"fd": 1, "size": 8})
    signed = decode_signed(raw(value), (first, second))
    assert signed.bundles == (b"b" * 70_000,)
    assert signed.envelope == b"envelope"
    for descriptor in (first, second):
        os.close(descriptor)


@pytest.mark.parametrize("named", [{"fd": 0, "size": 3}, {"fd": 1, "size": 2}])
def test_descriptors_that_are_not_there_or_lie_are_a_fault(sign_result: Result, named: object) -> None:
    descriptor = sealed_memfd(b"12")
    with pytest.raises(Fault) as caught:
        decode_signed(raw(sign_result(named)), (descriptor,))
    assert (caught.value.code, caught.value.reason) == ("internal", "result_descriptor")
    os.close(descriptor)


@pytest.mark.parametrize("value", [None, [], {}, {"ready": 1, "checks": []}, {"ready": True}])
def test_another_shape_is_a_fault_of_the_daemon(value: object) -> None:
    with pytest.raises(Fault) as caught:
        decode("daemon.health", DaemonHealth, raw(value), ())
    assert (caught.value.code, caught.value.reason) == ("internal", "result_shape")


def test_a_result_is_of_the_kind_that_was_asked_for() -> None:
    with pytest.raises(Fault) as caught:
        decode("keys.list", DaemonHealth, raw({"keys": []}), ())
    assert caught.value.reason == "result_shape"
    assert decode("keys.list", KeyList, raw({"keys": []}), ()).keys == ()


def test_outcomes_are_numbered_over_the_whole_batch(sign_result: Result) -> None:
    refused = {"code": "statement.invalid", "message": "no", "details": {"reason": "name_missing"}}
    value = {"outcomes": [{"index": 0, "ok": sign_result()}, {"index": 1, "error": refused, "new": 1}]}
    first, second = batch_outcomes(raw(value), (), 5, 2)
    assert first.index == 5
    assert first.signed is not None
    assert first.error is None
    assert second.index == 6
    assert isinstance(second.error, Refusal)
    assert second.error.reason == "name_missing"


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        [{"index": 0, "error": {"code": "internal", "message": ""}}],
        [{"index": 1, "error": {"code": "internal", "message": ""}}] * 2,
        [{"index": 0}, {"index": 1}],
        3,
    ],
)
def test_outcomes_that_are_not_one_for_each_item_are_a_fault(outcomes: object) -> None:
    with pytest.raises(Fault) as caught:
        batch_outcomes(raw({"outcomes": outcomes}), (), 0, 2)
    assert caught.value.reason == "result_shape"


def test_an_error_becomes_the_exception_of_its_code() -> None:
    error = error_of("quota.rate", "slow", {"reason": "rate", "limit": 5, "remaining": 0}, 250)
    assert isinstance(error, Refusal)
    assert (error.reason, error.details["limit"], error.retry_after_ms) == ("rate", 5, 250)
    again = fresh(error)
    assert again is not error
    assert str(again) == str(error)
    assert (again.details, again.retry_after_ms) == (error.details, 250)


def test_an_unknown_code_is_a_fault_and_a_missing_reason_no_crash() -> None:
    unknown = error_of("later.code", "hm", {"reason": 3})
    assert isinstance(unknown, Fault)
    assert (unknown.code, unknown.reason) == ("internal", "unknown_code")
    assert error_of("internal", "x", UNSET).reason == "unspecified"
