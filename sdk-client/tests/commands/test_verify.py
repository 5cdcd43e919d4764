import hashlib
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from signerd.attestation.bundle import LARGEST_BUNDLE, keyful_bundle
from signerd.attestation.dsse import encode_base64, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement
from signerd.verification.keys import PublicKey
from signerd_client.cli import main

Capture = pytest.CaptureFixture[bytes]

TYPE = "https://cyclonedx.org/bom"


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in: keys, an artefact, ``good.json`` and what is wrong with it."""
    monkeypatch.chdir(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pub").write_bytes(pem(key))
    (tmp_path / "other.pub").write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    (tmp_path / "app").write_bytes(b"app")
    (tmp_path / "other").write_bytes(b"other")
    digest = {"sha256": hashlib.sha256(b"app").hexdigest()}
    payload = build_statement((Subject("app", digest),), TYPE, b'{"bomFormat":"CycloneDX"}')
    signature = key.sign(pae(PAYLOAD_TYPE, payload), ec.ECDSA(SHA256()))
    hint = PublicKey.from_pem(pem(key)).hint
    (tmp_path / "good.json").write_bytes(keyful_bundle(encode_base64(payload), PAYLOAD_TYPE, signature, hint))
    swapped = payload.replace(b"CycloneDX", b"CycloneDY")
    (tmp_path / "payload.json").write_bytes(
        keyful_bundle(encode_base64(swapped), PAYLOAD_TYPE, signature, hint)
    )
    (tmp_path / "empty.json").write_bytes(b"")
    (tmp_path / "garbage.json").write_bytes(b"\xff\x00{")
    (tmp_path / "huge.json").touch()
    os.truncate(tmp_path / "huge.json", LARGEST_BUNDLE + 100)
    return tmp_path


@pytest.mark.usefixtures("place")
def test_a_good_bundle_verifies_and_says_what_it_is(capfdbinary: Capture) -> None:
    arguments = ["verify", "good.json", "--key", "key.pub", "--subject", "app", "--type", TYPE, "--offline"]
    assert main(arguments) == 0
    out, err = capfdbinary.readouterr()
    answer = json.loads(out)
    assert answer["verified"] is True
    assert answer["predicate_type"] == TYPE
    assert answer["subject"][0]["name"] == "app"
    assert {check["outcome"] for check in answer["checks"]} == {"passed", "skipped"}
    assert err == b"verified\n"


@pytest.mark.usefixtures("place")
def test_short_names_stand_for_their_uri(capfdbinary: Capture) -> None:
    assert main(["verify", "good.json", "--key", "key.pub", "--type", "cyclonedx"]) == 0
    assert main(["verify", "good.json", "--key", "key.pub", "--type", "spdx"]) == 6
    assert main(["verify", "good.json", "--key", "key.pub", "--type", "unheard-of"]) == 2
    capfdbinary.readouterr()


@pytest.mark.usefixtures("place")
def test_what_was_not_asked_for_is_told(capfdbinary: Capture) -> None:
    assert main(["verify", "good.json", "--key", "key.pub"]) == 0
    err = capfdbinary.readouterr().err.decode()
    assert f"without --type any type passes; this one is {TYPE}" in err
    assert "without --subject" in err


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("bundle", "more"),
    [
        ("good.json", ["--key", "other.pub"]),
        ("good.json", ["--key", "key.pub", "--subject", "other"]),
        ("good.json", ["--key", "key.pub", "--type", "https://other/type"]),
        ("payload.json", ["--key", "key.pub"]),
        ("empty.json", ["--key", "key.pub"]),
        ("garbage.json", ["--key", "key.pub"]),
        ("huge.json", ["--key", "key.pub"]),
    ],
)
@pytest.mark.parametrize("output", ["json", "table"])
def test_what_does_not_verify_is_exit_code_6_with_the_reason(
    capfdbinary: Capture, bundle: str, more: list[str], output: str
) -> None:
    assert main(["verify", bundle, *more, "--output", output]) == 6
    out, err = capfdbinary.readouterr()
    assert b"failed" in out
    assert b"does not verify: " in err
    if output == "json":
        answer = json.loads(out)
        assert answer["verified"] is False
        assert "subject" not in answer
        assert [check["reason"] for check in answer["checks"] if check["outcome"] == "failed"]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "key_missing"),
        (["--key", "absent"], "unreadable_file"),
        (["--key", "app"], "key_malformed"),
        (["--key", "key.pub", "--subject", "absent"], "unreadable_file"),
        (["--key", "key.pub", "--subject", "."], "not_a_file"),
        (["--certificate-identity", "a", "--certificate-oidc-issuer", "b"], "option_not_served"),
        (["--key", "key.pub", "--certificate-oidc-issuer", "b"], "option_not_served"),
        (["--key", "key.pub", "--trusted-root", "b"], "option_not_served"),
        (["--policy", "b"], "option_not_served"),
    ],
)
def test_wrong_usage_is_exit_code_2(capfdbinary: Capture, arguments: list[str], named: str) -> None:
    assert main(["verify", "good.json", *arguments]) == 2
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert named.encode() in err


@pytest.mark.usefixtures("place")
def test_an_unreadable_bundle_is_exit_code_2(capfdbinary: Capture) -> None:
    assert main(["verify", "absent.json", "--key", "key.pub"]) == 2
    assert b"unreadable_file" in capfdbinary.readouterr().err


def test_no_daemon_and_no_network_are_asked(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Capture
) -> None:
    def forbidden(*_arguments: object) -> None:
        raise AssertionError("verify opened a socket")

    monkeypatch.setattr("socket.socket", forbidden)
    assert main(["verify", "good.json", "--key", "key.pub"]) == 0
    capfdbinary.readouterr()


def test_what_a_stranger_wrote_is_escaped(place: Path, capfdbinary: Capture) -> None:
    """T25: control characters in a bundle reach no terminal."""
    text = (place / "good.json").read_bytes()
    (place / "bad.json").write_bytes(text.replace(b"bundle.v0.3", rb"bundle.v0.3\u001b[2J\u202e"))
    for output in ("table", "json"):
        assert main(["verify", "bad.json", "--key", "key.pub", "--output", output]) == 6
        out, err = capfdbinary.readouterr()
        assert b"\x1b" not in out + err
        assert "\u202e".encode() not in out + err
