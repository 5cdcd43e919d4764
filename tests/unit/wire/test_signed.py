import msgspec
import pytest

from signerd.wire import signed
from signerd.wire.params import Descriptor

RESULT = {
    "bundles": [b"{}", {"fd": 0, "size": 9}],
    "statement_sha256": "0", "predicate_sha256": "0", "bundle_sha256": ["0", "1"], "envelope_sha256": "0",
    "signing_identity": [],
    "cosign_verifiable": True, "warnings": [], "verify_command": [{"argv": ["cosign"], "line": "cosign"}],
    "entitlement": {"plan": "embedded", "remaining": {}},
    "receipt": {
        "audit_id": "a", "index": 0, "leaf_hash": "0", "decision_digest": "0",
        "decision": {
            "principal": "uid:1", "tenant": "local", "plan": "embedded", "degraded": [],
            "release": {"verdict": "trusted", "how": "allowlist", "binding": "asserted"},
            "keys": [{"key": "file:default", "source": "default"}],
        },
    },
}  # fmt: skip


def test_a_result_survives_the_wire_with_bins_and_descriptors() -> None:
    decoder = msgspec.msgpack.Decoder(signed.SignResult)
    result = decoder.decode(msgspec.msgpack.encode(RESULT))
    assert result.bundles == (b"{}", Descriptor(0, 9))
    assert decoder.decode(msgspec.msgpack.encode(result)) == result
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(result)) == RESULT


def test_an_outcome_is_a_result_or_an_error() -> None:
    decoder = msgspec.msgpack.Decoder(signed.BatchResult)
    outcomes = [{"index": 0, "ok": RESULT}, {"index": 1, "error": {"code": "internal", "message": "m"}}]
    first, second = decoder.decode(msgspec.msgpack.encode({"outcomes": outcomes})).outcomes
    assert isinstance(first.ok, signed.SignResult)
    assert first.error is msgspec.UNSET
    assert isinstance(second.error, signed.BatchError)
    assert second.ok is msgspec.UNSET


@pytest.mark.parametrize("name", [name for name in signed.__all__ if name != "Bin"])
def test_results_are_frozen_and_may_grow(name: str) -> None:
    config = getattr(signed, name).__struct_config__
    assert config.frozen
    assert not config.forbid_unknown_fields
