"""The protocol page is what the types say, and its vectors are read by others than those who wrote them."""

import base64
import hmac
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest

from outside.parts import ROOT
from signerd.errors import CODES
from signerd.verification.keys import PublicKey
from signerd.wire.connection import Connection, Rejected, Role
from signerd.wire.messages import Hello

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"```json\n(.*)\n```\n\n```hex\n([0-9a-f\n]+)\n```", PAGE)
KEYS = re.findall(
    r"```text\nkeyid        (\S+)\nhint         (\S+)\nfingerprint  (\S+)\n```\n\n```hex\n([0-9a-f\n]+)\n```",
    PAGE,
)


def readable(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, dict):
        return {name: readable(inner) for name, inner in value.items()}
    return [readable(inner) for inner in value] if isinstance(value, list) else value


def test_the_handshake_vector_is_what_another_hmac_makes() -> None:
    (credential,) = re.findall(r"```text\ncredential  ([0-9a-f]+)\n```", PAGE)
    shown = re.findall(r"```text\n(\{.*\})\n```\n\n```hex\n([0-9a-f\n]+)\n```", PAGE)
    sealers, workers, *proofs = [msgpack.unpackb(frame(text)[4:]) for _, text in shown]
    assert [readable(each) for each in (sealers, workers, *proofs)] == [json.loads(told) for told, _ in shown]
    nonces = sealers["nonce"] + workers["nonce"]
    assert [each["type"] for each in proofs] == ["auth", "auth"]
    for role, proof in zip((b"sealer", b"worker"), proofs, strict=True):
        assert proof["mac"] == hmac.new(bytes.fromhex(credential), role + nonces, "sha256").digest()
    assert all(int.from_bytes(frame(text)[:4], "big") == len(frame(text)) - 4 for _, text in shown)


def frame(text: str) -> bytes:
    return bytes.fromhex(text.replace("\n", ""))


def test_the_page_is_what_the_generator_prints() -> None:
    command: list[str | Path] = [sys.executable, ROOT / "scripts" / "protocol-doc"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == PAGE, "run scripts/protocol-doc > docs/protocol.md"


def test_every_place_of_the_page_is_filled_and_every_link_leads_somewhere() -> None:
    assert "{{" not in PAGE
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings


@pytest.mark.parametrize(("shown", "text"), MESSAGES)
def test_a_message_vector_is_read_by_another_msgpack(shown: str, text: str) -> None:
    data = frame(text)
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert readable(msgpack.unpackb(data[4:])) == json.loads(shown)


def test_the_message_vectors_are_one_conversation() -> None:
    assert len(MESSAGES) == 10
    ends = {role: Connection(role) for role in Role}
    types = set()
    for shown, text in MESSAGES:
        told = json.loads(shown)
        types.add(told["type"])
        from_client = told["type"] in ("request", "cancel") or (
            told["type"] == "hello" and "nonce" not in told
        )
        sender, receiver = (Role.CLIENT, Role.SERVER) if from_client else (Role.SERVER, Role.CLIENT)
        ends[receiver].receive_data(frame(text))
        event = ends[receiver].next_event()
        assert not isinstance(event, Rejected)
        assert type(event).__name__.lower() == told["type"]
        assert ends[sender].send(event) == frame(text)  # type: ignore[arg-type]  # its type was compared just above
        assert isinstance(event, Hello) == (told["type"] == "hello")
    assert types == {"hello", "request", "response", "error", "cancel", "goaway"}


@pytest.mark.parametrize(("keyid", "hint", "fingerprint", "text"), KEYS)
def test_a_key_vector_is_what_the_verifier_computes(
    keyid: str, hint: str, fingerprint: str, text: str
) -> None:
    key = PublicKey.from_spki(frame(text))
    assert (key.keyid, key.hint, key.openssh_fingerprint) == (keyid, hint, fingerprint)
    assert base64.b64decode(hint).hex() == keyid.removeprefix("sha256:")


def test_there_is_a_key_vector_for_three_types_of_key() -> None:
    assert {PublicKey.from_spki(frame(text)).algorithm for *_, text in KEYS} == {
        "ES256",
        "Ed25519",
        "RSA-PKCS1-SHA256",
    }


def test_every_code_stands_in_the_table_with_what_it_means() -> None:
    rows = dict(
        re.findall(r"^\| `([a-z_.]+)` \| ((?:refusal|fault) \| (?:yes|no) \| \d+) \|$", PAGE, re.MULTILINE)
    )
    assert rows == {
        code: f"{info.kind} | {'yes' if info.retryable else 'no'} | {info.exit_code}"
        for code, info in CODES.items()
    }
