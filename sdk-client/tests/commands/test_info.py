import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signerd.wire.messages import Limits
from signerd_client.cli import main

Capture = pytest.CaptureFixture[bytes]


@pytest.fixture
def path(answering: Callable[..., Path], respond: Callable[..., Any], limits: Limits) -> str:
    backends = [{"name": "file", "up": True}, {"name": "hsm", "up": False}]
    info = {
        "version": "0.1.0",
        "uptime_s": 5,
        "plugins": [{"name": "signerd-key-file", "version": "0.1.0", "digest": "ab"}],
        "backends": backends,
        "profiles": ["cosign"],
        "limits": msgspec.to_builtins(limits),
        "checkpoints": "off",
    }
    bound = {
        "principal": "uid:1000",
        "tenant": "local",
        "scopes": ["signer.sign", "signer.keys"],
        "expires_at": 2**53,
        "backends": backends,
        "limits": msgspec.to_builtins(limits),
        "peer": {"uid": 1000, "gid": 1000, "pid": 7},
        "nonce": bytes(16),
    }
    return str(
        answering(lambda request, _: [respond(request, bound if request.method == "session.bind" else info)])
    )


def test_json_has_versions_methods_limits_and_who_we_are(
    path: str, limits: Limits, capfdbinary: Capture
) -> None:
    assert main(["info", "--socket", path]) == 0
    info = json.loads(capfdbinary.readouterr().out)
    assert (info["version"], info["protocol"], info["methods"]) == ("0.1.0", 1, ["daemon.health"])
    assert info["limits"]["in_flight"] == limits.in_flight
    assert info["session"]["principal"] == "uid:1000"
    assert "nonce" not in info["session"]


def test_a_table_has_the_same(path: str, capfdbinary: Capture) -> None:
    assert main(["info", "--output", "table", "--socket", path]) == 0
    out = capfdbinary.readouterr().out.decode()
    for line in (
        "principal      uid:1000",
        "backend        hsm down",
        "plugin         signerd-key-file 0.1.0",
    ):
        assert line in out
