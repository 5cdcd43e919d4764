import msgspec
import pytest

from signerd.wire import results
from signerd.wire.messages import Limits

LIMITS = dict.fromkeys(Limits.__struct_fields__, 1)
BOUND = {
    "principal": "uid:1000", "tenant": "local", "scopes": ["signer.sign"], "expires_at": 1,
    "backends": [{"name": "file", "up": True}], "limits": LIMITS,
    "peer": {"uid": 1000, "gid": 1000, "pid": 2},
}  # fmt: skip


def test_a_bound_session_is_its_status_and_a_nonce() -> None:
    status = msgspec.convert(BOUND, results.SessionState)
    assert msgspec.to_builtins(status).keys() == BOUND.keys()
    bound = msgspec.convert({**BOUND, "nonce": b"n" * 16}, results.SessionBound)
    assert isinstance(bound, results.SessionState)
    with pytest.raises(msgspec.ValidationError, match="nonce"):
        msgspec.convert(BOUND, results.SessionBound)


@pytest.mark.parametrize("name", results.__all__)
def test_results_are_frozen_and_may_grow(name: str) -> None:
    config = getattr(results, name).__struct_config__
    assert config.frozen
    assert not config.forbid_unknown_fields
