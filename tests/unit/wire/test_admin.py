"""The shapes of the admin plane: what each method cannot be asked with."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from signerd.errors import Refusal
from signerd.wire.methods import ADMIN_RELAYED, METHODS, SERVED, decode_params

WHY = {"key": "file:a", "reason": "why"}
BYPASS = {"tenant": "t", "plan": "gold", "reason": "why", "expires_at": 5}
RELEASE = {"digest": "sha256:" + "a" * 64, "reason": "why", "expires_at": 5}


def decoded(method: str, params: dict[str, Any]) -> Any:
    return decode_params(method, Raw(msgspec.msgpack.encode(params)))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("keys.generate", {**WHY, "algorithm": "ES256", "approval_id": "ab" * 16}),
        ("keys.rotate", {**WHY, "handle": "file:b", "overlap_s": 0}),
        ("keys.suspend", {**WHY, "version": 3}),
        ("keys.revoke", {**WHY, "cause": "compromised", "invalid_since": 0}),
        ("keys.history", {"cursor": "200"}),
        ("admin.bypass", BYPASS),
        ("admin.approve_release", {**RELEASE, "tenant": "t", "version": "2026.1"}),
        ("approval.submit", {"ceremony": "ab" * 16, "signature": "-----BEGIN SSH SIGNATURE-----"}),
        ("admin.confirm", {"what": "pin", "reason": "seen"}),
        ("admin.reload", {}),
    ],
)
def test_what_may_be_asked(method: str, params: dict[str, Any]) -> None:
    assert msgspec.to_builtins(decoded(method, params)) == params


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("keys.suspend", {"key": "file:a"}, "malformed"),
        ("keys.suspend", {**WHY, "reason": ""}, "malformed"),
        ("keys.suspend", {**WHY, "reason": "a" * 1001}, "malformed"),
        ("keys.suspend", {**WHY, "version": 0}, "malformed"),
        ("keys.suspend", {**WHY, "cause": "compromised"}, "unsupported"),
        ("keys.revoke", {**WHY, "cause": "because"}, "unsupported"),
        ("keys.revoke", {**WHY, "invalid_since": -1}, "malformed"),
        ("keys.rotate", {**WHY, "overlap_s": 86_401}, "malformed"),
        ("keys.rotate", {**WHY, "approval_id": "../ring.sqlite"}, "malformed"),
        ("keys.history", {"cursor": "-1"}, "malformed"),
        ("admin.bypass", {**BYPASS, "plan": "Gold\n"}, "malformed"),
        ("admin.bypass", {**BYPASS, "expires_at": 5.0}, "malformed"),
        ("admin.approve_release", {**RELEASE, "digest": "sha256:" + "A" * 64}, "malformed"),
        ("admin.approve_release", {**RELEASE, "version": "latest"}, "malformed"),
        ("admin.confirm", {"what": "all", "reason": "seen"}, "unsupported"),
    ],
)
def test_what_may_not(method: str, params: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal) as caught:
        decoded(method, params)
    assert caught.value.code == f"request.{code}"


def test_the_sockets_share_what_is_no_secret_of_either() -> None:
    both = set(SERVED["sign"]) & set(SERVED["admin"])
    assert both == {"session.bind", "session.status", "audit.query", "daemon.info", "daemon.health"}
    assert set(SERVED["admin"]) - both == ADMIN_RELAYED
    assert set(SERVED["sign"]) | ADMIN_RELAYED == set(METHODS)
