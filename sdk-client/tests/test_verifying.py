import os
from typing import Any

import pytest
from msgspec import Raw

from signerd.errors import Fault
from signerd.wire.frames import ENCODER
from signerd.wire.messages import Limits
from signerd.wire.methods import VerifyBatch, VerifyBundle, decode_bundles, decode_params
from signerd_client import operations
from signerd_client.session import Answer
from signerd_client.verifying import VerifyRequest, verify_batch_calls, verify_call, verify_outcomes

RESULT = {"verified": True, "checks": [], "transparency": "skipped", "rationale": []}


def request(size: int = 2, **more: Any) -> VerifyRequest:
    return VerifyRequest(bundle=b"x" * size, **{"key": "pem", **more})


def items(limits: Limits, *requests: VerifyRequest) -> list[tuple[int, list[VerifyBundle], int]]:
    """Of each call: how many it says, what is in it, and how many descriptors."""
    made = []
    for count, call in verify_batch_calls(requests, limits):
        batch = decode_params(call.method, call.params)
        assert isinstance(batch, VerifyBatch)
        decoded = decode_bundles(batch)
        assert all(isinstance(item, VerifyBundle) for item in decoded)
        made.append((count, list(decoded), len(call.descriptors)))
        call.close()
    return made  # type: ignore[return-value]  # asserted


def test_what_is_given_is_sent_and_what_is_none_is_absent(limits: Limits) -> None:
    whole = request(identity=("san", "issuer"), key=None, artifact_sha256="ab" * 32, predicate_type="t:x")
    decoded = decode_params("verify.bundle", verify_call(whole, limits).params)
    assert isinstance(decoded, VerifyBundle)
    assert (decoded.identity.san, decoded.predicate_type) == ("san", "t:x")  # type: ignore[union-attr]  # given
    by_policy = decode_params("verify.bundle", verify_call(request(policy="p"), limits).params)
    assert (by_policy.policy, by_policy.key) == ("p", "pem")  # type: ignore[attr-defined]


def test_a_large_bundle_is_a_sealed_memfd_which_a_failure_closes(limits: Limits) -> None:
    call = verify_call(request(limits.inline_bytes + 1), limits)
    assert os.readlink(f"/proc/self/fd/{call.descriptors[0]}").startswith("/memfd:")
    call.close()
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(TypeError):
        verify_call(request(limits.inline_bytes + 1, identity=("san",)), limits)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_batch_keeps_the_daemons_limits(limits: Limits) -> None:
    assert [count for count, *_ in items(limits, *[request()] * 7)] == [3, 3, 1]
    large = request(limits.inline_bytes + 1)
    cut = items(Limits(**{**{f: getattr(limits, f) for f in limits.__struct_fields__}, "descriptors": 1}), large, large)
    assert [(count, descriptors) for count, _, descriptors in cut] == [(1, 1), (1, 1)]
    narrow = Limits(**{**{f: getattr(limits, f) for f in limits.__struct_fields__}, "frame_bytes": 6000})
    assert [count for count, *_ in items(narrow, request(1500), request(1500), request(9000))] == [1, 1, 1]
    assert items(limits) == []


def test_outcomes_are_read_in_their_order(limits: Limits) -> None:
    error = {"code": "request.malformed", "message": "no", "details": {"reason": "policy_unknown"}}
    raw = Raw(ENCODER.encode({"outcomes": [{"index": 0, "ok": RESULT}, {"index": 1, "error": error}]}))
    first, second = verify_outcomes(raw, (), 5, 2)
    assert (first.index, first.error) == (5, None)
    assert first.result is not None
    assert first.result.verified
    assert (second.index, second.result) == (6, None)
    assert second.error is not None
    assert second.error.reason == "policy_unknown"


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        [{"index": 1, "ok": RESULT}],
        [{"index": 0}],
        [{"index": 0, "ok": RESULT, "error": {"code": "internal", "message": "", "details": {}}}],
        [{"index": 0, "ok": RESULT}, {"index": 1, "ok": RESULT}],
    ],
)
def test_outcomes_that_are_not_one_for_each(outcomes: list[dict[str, object]]) -> None:
    with pytest.raises(Fault) as raised:
        verify_outcomes(Raw(ENCODER.encode({"outcomes": outcomes})), (), 0, 1)
    assert raised.value.reason == "result_shape"


def test_an_error_of_a_whole_request_is_that_of_its_items(limits: Limits) -> None:
    first, second = operations.verify_many([request()] * 5, limits)
    assert [outcome.index for outcome in first.fail(Fault("internal", "x", "y"))] == [0, 1, 2]
    outcomes = second.conclude(Answer(1, error=Fault("internal", "x", "y")))
    assert [(one.index, one.result) for one in outcomes] == [(3, None), (4, None)]
    assert {one.error.reason for one in outcomes if one.error} == {"x"}
