from msgspec import UNSET, Raw
from msgspec.msgpack import encode

from signerd.wire.methods import decode_result
from signerd.wire.verified import BundleVerified, VerificationCheck, VerifiedBatch, VerifyOutcome


def test_results_may_grow() -> None:
    told = {
        "verified": True,
        "checks": [{"name": "x", "outcome": "passed", "detail": "d", "later": 1}],
        "transparency": "skipped",
        "rationale": [],
        "later": {"more": 1},
    }
    check = VerificationCheck("x", "passed", "d")
    assert decode_result("verify.bundle", Raw(encode(told))) == BundleVerified(True, (check,), "skipped", ())


def test_what_is_absent_is_an_absent_key() -> None:
    result = BundleVerified(False, (VerificationCheck("x", "failed", "d", "why"),), "failed", ("s",))
    assert result.keyid is UNSET
    batch = VerifiedBatch((VerifyOutcome(0, ok=result),))
    assert decode_result("verify.batch", Raw(encode(batch))) == batch
    assert b"keyid" not in encode(batch)
    assert b"error" not in encode(batch)
