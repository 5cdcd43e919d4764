import os
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

from signerd.errors import Fault, Refusal
from signerd.wire.frames import ENCODER
from signerd.wire.messages import Limits
from signerd.wire.methods import METHODS, decode_params
from signerd_client import operations
from signerd_client.descriptors import sealed_memfd
from signerd_client.operations import Operation
from signerd_client.requests import PayloadRequest, SignRequest
from signerd_client.session import Answer
from signerd_client.subjects import Subject

REQUEST = SignRequest(
    subject=[Subject("a", {"sha256": "ab" * 32})], predicate_type="cyclonedx", predicate=b"{}"
)


@pytest.mark.parametrize(
    ("operation", "method"),
    [
        (operations.bind(), "session.bind"),
        (operations.info(), "daemon.info"),
        (operations.health(), "daemon.health"),
        (operations.keys(), "keys.list"),
        (operations.describe("file:default"), "keys.describe"),
    ],
)
def test_each_asks_its_method_with_params_of_it(operation: Operation[Any], method: str) -> None:
    assert operation.call.method == method
    assert isinstance(decode_params(method, operation.call.params), METHODS[method].params)


def test_a_mac_is_asked_for_compared_and_read(limits: Limits) -> None:
    named = {"algorithm": "HMAC-SHA256", "keyid": "k", "audit_id": "id"}
    compute = operations.hmac_compute("signing", "hmac:k", b"data", limits)
    verify = operations.hmac_verify("signing", "hmac:k", b"data", bytes(32), limits)
    for operation, method in ((compute, "hmac.compute"), (verify, "hmac.verify")):
        assert operation.call.method == method
        assert isinstance(decode_params(method, operation.call.params), METHODS[method].params)
    made = compute.conclude(Answer(1, result=Raw(ENCODER.encode({"mac": bytes(32), **named, "new": 1}))))
    assert (made.mac, made.algorithm) == (bytes(32), "HMAC-SHA256")
    assert verify.conclude(Answer(1, result=Raw(ENCODER.encode({"valid": False, **named})))).valid is False


def test_an_answer_is_read_and_its_descriptors_closed() -> None:
    descriptor = sealed_memfd(b"")
    answer = Answer(1, result=Raw(ENCODER.encode({"ready": True, "checks": []})), descriptors=(descriptor,))
    assert operations.health().conclude(answer).ready
    assert not os.path.exists(f"/proc/self/fd/{descriptor}")


def test_an_error_is_raised_and_descriptors_closed() -> None:
    descriptor = sealed_memfd(b"")
    error = Refusal("auth.required", "unbound", "bind first")
    with pytest.raises(Refusal) as caught:
        operations.keys().conclude(Answer(1, error=error, descriptors=(descriptor,)))
    assert caught.value is error
    assert not os.path.exists(f"/proc/self/fd/{descriptor}")


def test_a_signature_is_asked_for_and_read(
    limits: Limits, sign_result: Callable[..., dict[str, Any]]
) -> None:
    operation = operations.sign(REQUEST, limits)
    answer = Answer(1, result=Raw(ENCODER.encode(sign_result(b"b"))))
    assert operation.conclude(answer).bundles == (b"b",)


def test_a_bare_document_is_asked_for_and_read(limits: Limits, sign_result: Callable[..., dict[str, Any]]) -> None:
    operation = operations.sign_payload(PayloadRequest(payload_type="a/b", payload=b"{}"), limits)
    assert operation.call.method == "sign.payload"
    answer = Answer(1, result=Raw(ENCODER.encode({**sign_result(), "bundles": [], "envelope": b"e"})))
    signed = operation.conclude(answer)
    assert (signed.bundles, signed.envelope, signed.cose) == ((), b"e", ())


def test_an_error_of_a_whole_batch_request_is_that_of_its_items(limits: Limits) -> None:
    first, second = operations.batch([REQUEST] * 5, None, limits)
    assert [outcome.index for outcome in first.fail(Fault("internal", "x", "y"))] == [0, 1, 2]
    outcomes = second.conclude(Answer(1, error=Fault("internal", "x", "y")))
    assert [(outcome.index, outcome.signed) for outcome in outcomes] == [(3, None), (4, None)]
    assert all(outcome.error is not None and outcome.error.reason == "x" for outcome in outcomes)


def test_an_answer_without_anything_is_a_defect() -> None:
    with pytest.raises(ValueError, match="a result or an error"):
        operations.info().conclude(Answer(1))
