import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signerd_client.cli import main

Capture = pytest.CaptureFixture[bytes]

DIGEST = "sha256:" + "0" * 64
TYPE = "application/vnd.example+json"
PAYLOAD = ["sign", "payload", "doc.json", "--payload-type", TYPE]


@pytest.fixture
def asked() -> list[tuple[str, dict[str, Any]]]:
    """What was asked of the daemon: methods and params."""
    return []


@pytest.fixture
def path(
    answering: Callable[..., Path],
    respond: Callable[..., Any],
    sign_result: Callable[..., Any],
    asked: list[tuple[str, dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    (tmp_path / "doc.json").write_bytes(b"{}")
    (tmp_path / "app").write_bytes(b"app")
    monkeypatch.chdir(tmp_path)

    def handler(request: Any, _: object) -> list[Any]:
        asked.append((request.method, msgspec.msgpack.decode(request.params)))
        return [respond(request, {**sign_result(envelope=b"envelope"), "bundles": [], "bundle_sha256": []})]

    return str(answering(handler))


def test_the_envelope_alone_goes_to_stdout(
    path: str, asked: list[tuple[str, dict[str, Any]]], capfdbinary: Capture
) -> None:
    assert main([*PAYLOAD, "--socket", path]) == 0
    assert capfdbinary.readouterr() == (b"envelope", b"warning: careful\\x1b[2J\n")
    assert asked == [("sign.payload", {"payload_type": TYPE, "payload": b"{}"})]


def test_everything_that_is_said_is_asked(
    path: str, asked: list[tuple[str, dict[str, Any]]], tmp_path: Path, capfdbinary: Capture
) -> None:
    options = ["--subject", "app:n", "--release", DIGEST, "--key", "a", "--key", "b", "--out", "e", "--receipt", "r"]
    assert main([*PAYLOAD, *options, "--socket", path]) == 0
    digest = hashlib.sha256(b"app").hexdigest()
    assert asked[0][1] == {
        "payload_type": TYPE,
        "payload": b"{}",
        "subject": [{"name": "n", "digest": {"sha256": digest}}],
        "scanner_image_digest": DIGEST,
        "options": {"keys": ["a", "b"]},
    }
    assert capfdbinary.readouterr().out == b""
    assert (tmp_path / "e").read_bytes() == b"envelope"
    assert json.loads((tmp_path / "r").read_bytes())["audit_id"] == "a-1"


def test_json_and_table(path: str, capfdbinary: Capture) -> None:
    assert main([*PAYLOAD, "--output", "json", "--socket", path]) == 0
    assert base64.b64decode(json.loads(capfdbinary.readouterr().out)["envelope"]) == b"envelope"
    assert main([*PAYLOAD, "--output", "table", "--out", "e", "--socket", path]) == 0
    assert b"audit id" in capfdbinary.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["sign", "payload", "doc.json"],
        ["sign", "payload", "absent", "--payload-type", TYPE],
        [*PAYLOAD, "--release", "sha256:x"],
        [*PAYLOAD, "--subject", "absent"],
    ],
)
def test_what_is_not_valid_is_exit_code_2(
    path: str, asked: list[tuple[str, dict[str, Any]]], arguments: list[str]
) -> None:
    assert main([*arguments, "--socket", path]) == 2
    assert asked == []


def test_an_envelope_that_cannot_be_written_is_exit_code_1(path: str) -> None:
    assert main([*PAYLOAD, "--out", "absent/e", "--socket", path]) == 1
