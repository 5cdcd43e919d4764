import base64
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signerd.wire.messages import Error
from signerd_client.cli import main

Capture = pytest.CaptureFixture[bytes]


def described(key: str, **other: Any) -> dict[str, Any]:
    spki = f"spki of {key}".encode()
    body = base64.b64encode(spki).decode()
    return {
        "key": key,
        "keyid": f"sha256:{hashlib.sha256(spki).hexdigest()}",
        "algorithm": "ES256",
        "spki": spki,
        "public_key_pem": f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n",
        "chain": [],
        "status": "active",
        "added_at": 1_700_000_000_000,
        "profile": "default",
        "uses": ["dsse"],
        "hardware": {"attested": False},
        "verify_command": [{"argv": ["cosign"], "line": "cosign verify\x1b[1m"}],
        **other,
    }


@pytest.fixture
def daemon(answering: Callable[..., Path], respond: Callable[..., Any]) -> Callable[..., str]:
    def start(*keys: dict[str, Any]) -> str:
        known = {key[name]: key for name in ("key", "keyid") for key in keys}

        def handler(request: Any, _: object) -> list[Any]:
            if request.method == "keys.list":
                names = ("key", "keyid", "algorithm", "status")
                return [respond(request, {"keys": [{name: key[name] for name in names} for key in keys]})]
            found = known.get(msgspec.msgpack.decode(request.params)["key"])
            if found is None:
                return [Error("key.not_found", "", False, request.id, details={"reason": "unknown"})]
            return [respond(request, found)]

        return str(answering(handler))

    return start


def test_all_keys_or_one_as_json(daemon: Callable[..., str], capfdbinary: Capture) -> None:
    path = daemon(described("file:a"), described("file:b", expires_at=1_800_000_000_000))
    assert main(["keys", "--socket", path]) == 0
    listed = json.loads(capfdbinary.readouterr().out)["keys"]
    assert [key["key"] for key in listed] == ["file:a", "file:b"]
    assert main(["keys", "file:b", "--socket", path]) == 0
    assert json.loads(capfdbinary.readouterr().out) == listed[1]


def test_a_table_escapes_what_the_daemon_says(daemon: Callable[..., str], capfdbinary: Capture) -> None:
    path = daemon(described("file:a", expires_at=1_800_000_000_000), described("b", added_at=2**62))
    assert main(["keys", "--output", "table", "--socket", path]) == 0
    out = capfdbinary.readouterr().out.decode()
    assert "2023-11-14T22:13:20Z  2027-01-15T08:00:00Z" in out
    assert str(2**62) in out
    assert "cosign verify\\x1b[1m" in out


def test_the_public_half_is_written(daemon: Callable[..., str], tmp_path: Path) -> None:
    path = daemon(described("file:a"), described("file:b"))
    file = tmp_path / "key.pub"
    assert main(["keys", "file:b", "--public", str(file), "--socket", path]) == 0
    assert file.read_text() == described("file:b")["public_key_pem"]
    assert main(["keys", "--public", str(file), "--socket", path]) == 2
    assert main(["keys", "--public", str(file), "--socket", daemon(described("file:a"))]) == 0
    assert file.read_text() == described("file:a")["public_key_pem"]


def test_each_version_is_shown_and_the_one_that_signs_is_written(
    daemon: Callable[..., str], tmp_path: Path, capfdbinary: Capture
) -> None:
    old = {**described("old"), "key": "file:a", "status": "retired"}
    new = {**described("new"), "key": "file:a"}
    path = daemon(old, new)
    file = tmp_path / "key.pub"
    assert main(["keys", "--public", str(file), "--output", "table", "--socket", path]) == 0
    assert file.read_text() == new["public_key_pem"]
    out = capfdbinary.readouterr().out.decode()
    assert out.count(old["keyid"]) == out.count(new["keyid"]) == out.count("cosign verify") == 1
    assert main(["keys", "--public", str(file), "--socket", daemon(new, {**old, "status": "active"})]) == 2
    assert capfdbinary.readouterr().err.decode().endswith("name it: file:a\n")


def test_an_unknown_key_is_exit_code_4(daemon: Callable[..., str]) -> None:
    assert main(["keys", "file:x", "--socket", daemon()]) == 4
    assert main(["keys", "--public", "f", "--socket", daemon()]) == 2


@pytest.mark.parametrize(
    "lie", [{"keyid": "sha256:" + "0" * 64}, {"public_key_pem": described("file:z")["public_key_pem"]}]
)
def test_ids_that_do_not_belong_together_are_not_written(
    daemon: Callable[..., str], tmp_path: Path, lie: dict[str, Any]
) -> None:
    path = daemon(described("file:a", **lie))
    assert main(["keys", "--public", str(tmp_path / "key.pub"), "--socket", path]) == 1
    assert not (tmp_path / "key.pub").exists()


def test_a_table_is_the_default_on_a_terminal(
    daemon: Callable[..., str], capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["keys", "--socket", daemon(described("file:a"))]) == 0
    assert capfdbinary.readouterr().out.startswith(b"KEY ")


def test_a_key_that_makes_macs_has_no_public_half(
    daemon: Callable[..., str], tmp_path: Path, capfdbinary: Capture
) -> None:
    secret = described("hmac:k", uses=["hmac"], spki=b"", public_key_pem="", verify_command=[])
    public = str(tmp_path / "key.pub")
    path = daemon(secret, described("file:a"))
    assert main(["keys", "--socket", path, "--public", public]) == 0
    assert len(json.loads(capfdbinary.readouterr().out)["keys"]) == 2
    path = daemon(secret)
    assert main(["keys", "hmac:k", "--socket", path, "--public", str(tmp_path / "none")]) == 2
    assert b"(no_public_half)" in capfdbinary.readouterr().err
    assert not (tmp_path / "none").exists()
