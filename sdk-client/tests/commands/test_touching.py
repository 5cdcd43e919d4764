from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signerd.wire.messages import Error
from signerd_client.cli import main

SBOM = ["sign", "sbom", "sbom.json", "--subject", "app"]
PAYLOAD = ["sign", "payload", "sbom.json", "--payload-type", "application/vnd.example+json"]


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    """The params of what was asked of the daemon."""
    return []


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app").write_bytes(b"app")
    (tmp_path / "sbom.json").write_bytes(b'{"bomFormat": "CycloneDX"}')
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def untouched(answering: Callable[..., Path], asked: list[dict[str, Any]]) -> str:
    """A daemon whose key nobody has touched in time."""

    def handler(request: Any, _: object) -> list[Any]:
        asked.append(msgspec.msgpack.decode(request.params))
        details = {"reason": "touch", "approval_id": "ab" * 16, "expires_at": 0, "key": "fido2:a\x1b[2J"}
        return [Error("key.presence_required", "touch it", True, request.id, details=details)]

    return str(answering(handler))


@pytest.mark.parametrize("command", [SBOM, PAYLOAD])
@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_what_somebody_must_touch_is_said_with_the_approval_and_is_exit_code_10(
    untouched: str,
    asked: list[dict[str, Any]],
    capfdbinary: pytest.CaptureFixture[bytes],
    command: list[str],
    wait: tuple[str, ...],
) -> None:
    arguments = [*command, "--socket", untouched, *wait]
    assert main(arguments) == 10
    out, err = capfdbinary.readouterr()
    assert out == b""
    first, last = err.splitlines()
    again = f"approval {'ab' * 16}: touch the key fido2:a\\x1b[2J within 0 seconds, then repeat with --approval"
    assert first == again.encode()
    assert last.startswith(b"signerctl: key.presence_required (touch)")
    assert [params.get("approval_id") for params in asked] == [None]
    assert main([*arguments, "--approval", "ab" * 16]) == 10
    assert asked[-1]["approval_id"] == "ab" * 16
