import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signerd.attestation.bundle import keyful_bundle, parse_bundle, with_log_entries
from signerd.attestation.dsse import encode_base64
from signerd.wire.messages import Error
from signerd_client.cli import main

Capture = pytest.CaptureFixture[bytes]
ENTRY = {
    "logIndex": "7",
    "logId": {"keyId": base64.b64encode(b"id").decode()},
    "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
    "integratedTime": "0",
    "inclusionProof": {
        "logIndex": "7",
        "rootHash": base64.b64encode(bytes(32)).decode(),
        "treeSize": "9",
        "hashes": [],
        "checkpoint": {"envelope": "c"},
    },
    "canonicalizedBody": "e30=",
}
TEXT = json.dumps(ENTRY).encode()


def sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def answered(number: int = 0) -> bytes:
    return keyful_bundle(encode_base64(b"{}"), "t", b"signature %d" % number, "hint")


def later(number: int = 0, *, state: str = "logged", kept: bool = True, **changes: object) -> dict[str, object]:
    whole = with_log_entries(answered(number), [TEXT])
    told: dict[str, object] = {
        "keyid": f"sha256:{'ab' * 31}{number:02}",
        "state": state,
        "bundle_sha256": sha256(answered(number)),
        "envelope_sha256": "e",
        "entries": [TEXT] if state == "logged" else [],
    }
    if kept and state == "logged":
        told |= {"bundle": whole, "complete_sha256": sha256(whole)}
    return told | changes


@pytest.fixture
def daemon(answering: Callable[..., Path], respond: Callable[..., Any]) -> Callable[..., str]:
    def start(state: str, *bundles: dict[str, object]) -> str:
        def handler(request: Any, _: object) -> list[Any]:
            if request.method != "transparency.entry":
                return [Error("request.unsupported", "", False, request.id, details={"reason": "no"})]
            return [respond(request, {"state": state, "bundles": list(bundles)})]

        return str(answering(handler))

    return start


def run(path: str, *more: str) -> int:
    return main(["transparency", "entry", "id", "--socket", path, *more])


def test_the_whole_bundle_is_written(daemon: Callable[..., str], tmp_path: Path, capfdbinary: Capture) -> None:
    out = tmp_path / "whole.json"
    path = daemon("logged", later())
    assert run(path, "--out", str(out)) == 0
    assert parse_bundle(out.read_bytes()).log_entries[0].log_index == 7
    assert capfdbinary.readouterr() == (b"", b"")
    assert run(path, "--out", str(out), "--output", "json") == 0
    assert json.loads(capfdbinary.readouterr().out)["bundles"][0]["state"] == "logged"


def test_several_need_a_directory(daemon: Callable[..., str], tmp_path: Path, capfdbinary: Capture) -> None:
    path = daemon("logged", later(0), later(1, keyid="sha256:../../x"))
    assert run(path, "--out", str(tmp_path / "one.json")) == 2
    assert b"out_directory" in capfdbinary.readouterr().err
    assert run(path, "--out", str(tmp_path)) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0-abababababab.sigstore.json", "1-.sigstore.json"]


@pytest.mark.parametrize(("state", "code"), [("pending", 10), ("failed", 1)])
def test_what_is_not_there_is_not_written(
    state: str, code: int, daemon: Callable[..., str], tmp_path: Path, capfdbinary: Capture
) -> None:
    path = daemon(state, later(state=state))
    assert run(path, "--out", str(tmp_path / "one.json"), "--output", "table") == code
    said = capfdbinary.readouterr()
    assert state.encode() in said.out
    assert b"signerctl: an entry" in said.err
    assert not (tmp_path / "one.json").exists()


def test_a_bundle_that_is_not_kept_is_made_of_the_answered_one(
    daemon: Callable[..., str], tmp_path: Path, capfdbinary: Capture
) -> None:
    path, out, given = daemon("logged", later(kept=False)), tmp_path / "whole.json", tmp_path / "answered.json"
    assert run(path, "--out", str(out)) == 2
    given.write_bytes(answered(1))
    assert run(path, "--out", str(out), "--bundle", str(given)) == 2
    assert capfdbinary.readouterr().err.count(b"bundle_not_kept") == 2
    given.write_bytes(answered())
    assert run(path, "--out", str(out), "--bundle", str(given)) == 0
    assert out.read_bytes() == with_log_entries(answered(), [TEXT])


def test_a_bundle_of_another_digest_is_not_written(
    daemon: Callable[..., str], tmp_path: Path, capfdbinary: Capture
) -> None:
    assert run(daemon("logged", later(bundle=b"{}")), "--out", str(tmp_path / "one.json")) == 1
    assert b"result_shape" in capfdbinary.readouterr().err
    assert not (tmp_path / "one.json").exists()
