import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from fakes.sigstore import ISSUER, SAN, Sigstore, b64
from signerd.attestation.bundle import LARGEST_BUNDLE, keyful_bundle
from signerd.attestation.cose import cose_head, cose_tail, protected_header, signature_structure
from signerd.attestation.dsse import Signature, encode_base64, encode_envelope, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement
from signerd.verification.fixed_length import to_fixed
from signerd.verification.keys import PublicKey
from signerd_client.cli import main

Capture = pytest.CaptureFixture[bytes]

TYPE = "https://cyclonedx.org/bom"
MANIFEST = "application/vnd.example.manifest+json"
STACK = Sigstore()
IDENTITY = ["--certificate-identity", SAN, "--certificate-oidc-issuer", ISSUER]


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def message_by(key: ec.EllipticCurvePrivateKey, payload: bytes) -> bytes:
    """A COSE_Sign1 message over a Statement."""
    header = protected_header("ES256", bytes.fromhex(PublicKey.from_pem(pem(key)).keyid.removeprefix("sha256:")))
    signature = key.sign(signature_structure(header, len(payload)) + payload, ec.ECDSA(SHA256()))
    return cose_head(header, len(payload)) + payload + cose_tail(to_fixed("ES256", signature))


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
    (tmp_path / "keyless.json").write_text(json.dumps(STACK.keyless(payload)))
    (tmp_path / "root.json").write_bytes(STACK.trusted_root())
    policy = {
        "policyId": "release",
        "version": "1.0.0",
        "predicateTypes": [TYPE],
        "signerRequirements": {
            "minimumSignatures": 2,
            "trustedKeyFingerprints": [PublicKey.from_pem(pem(key)).keyid],
            "trustedIssuers": [ISSUER],
        },
    }
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    swapped = payload.replace(b"CycloneDX", b"CycloneDY")
    (tmp_path / "payload.json").write_bytes(
        keyful_bundle(encode_base64(swapped), PAYLOAD_TYPE, signature, hint)
    )
    second = ec.generate_private_key(ec.SECP384R1())
    (tmp_path / "second.pub").write_bytes(
        second.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    both = (
        Signature(signature, None),
        Signature(second.sign(pae(PAYLOAD_TYPE, payload), ec.ECDSA(SHA384())), None),
    )
    (tmp_path / "good.dsse").write_bytes(encode_envelope(encode_base64(payload), PAYLOAD_TYPE, both))
    (tmp_path / "altered.dsse").write_bytes(encode_envelope(encode_base64(swapped), PAYLOAD_TYPE, both))
    manifest = Signature(key.sign(pae(MANIFEST, b"{}"), ec.ECDSA(SHA256())), None)
    (tmp_path / "bare.dsse").write_bytes(encode_envelope(encode_base64(b"{}"), MANIFEST, (manifest,)))
    (tmp_path / "good.cose").write_bytes(message_by(key, payload))
    (tmp_path / "altered.cose").write_bytes(message_by(key, payload).replace(b"CycloneDX", b"CycloneDY"))
    (tmp_path / "garbage.cose").write_bytes(b"\xd2\xff")
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


@pytest.mark.parametrize(
    ("ended", "code", "said"),
    [
        ({}, 0, "verified"),
        ({"retire_at": 2000}, 6, "no_trusted_time"),
        ({"kid": "sha256:other"}, 6, "key_not_published"),
        ({"added_at": "soon"}, 2, "publication"),
    ],
)
def test_published_keys_say_whether_it_was_valid(
    place: Path, capfdbinary: Capture, ended: dict[str, object], code: int, said: str
) -> None:
    keyid = PublicKey.from_pem((place / "key.pub").read_bytes()).keyid
    (place / "jwks.json").write_text(json.dumps({"keys": [{"kid": keyid, "added_at": 1000, **ended}]}))
    (place / "revocations.json").write_text('{"revoked": []}')
    assert main(["verify", "good.json", "--key", "key.pub", "--published", "."]) == code
    assert said in capfdbinary.readouterr().err.decode()


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    "arguments",
    [
        ["good.json", "--key", "key.pub", "--published", "absent"],
        ["good.json", "--key", "key.pub", "--published", ".", "--policy", "policy.json"],
        ["keyless.json", *IDENTITY, "--trusted-root", "root.json", "--published", "."],
    ],
)
def test_published_keys_are_there_and_for_a_key(arguments: list[str]) -> None:
    assert main(["verify", *arguments]) == 2


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
        (["--certificate-identity", "a", "--certificate-oidc-issuer", "b"], "trusted_root_missing"),
        (["--certificate-identity", "a"], "identity_incomplete"),
        (["--key", "key.pub", "--certificate-oidc-issuer", "b"], "identity_incomplete"),
        ([*IDENTITY, "--key", "key.pub"], "key_or_identity"),
        ([*IDENTITY, "--trusted-root", "absent"], "unreadable_file"),
        ([*IDENTITY, "--trusted-root", "good.json"], "trusted_root_media_type"),
        (["--key", "key.pub", "--key", "key.pub"], "several_keys"),
        (["good.json", "--key", "key.pub"], "several_bundles"),
        (["--policy", "policy.json", *IDENTITY], "policy_alone"),
        (["--policy", "policy.json", "--type", TYPE], "policy_alone"),
        (["--policy", "absent"], "unreadable_file"),
        (["--policy", "good.json"], "policy_malformed"),
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


@pytest.mark.usefixtures("place")
def test_a_certificate_of_an_identity(capfdbinary: Capture) -> None:
    given = ["verify", "keyless.json", *IDENTITY, "--trusted-root", "root.json", "--subject", "app", "--type", TYPE]
    assert main(given) == 0
    out, err = capfdbinary.readouterr()
    answer = json.loads(out)
    assert (answer["verified"], answer["transparency"]) == (True, "passed")
    assert answer["signer"] == {"san": SAN, "issuer": ISSUER}
    assert answer["times"] == ["2026-05-01T12:00:00+00:00"]
    assert err == b"verified\n"
    assert main([*given[:2], "--certificate-identity", "other", *given[4:]]) == 6
    assert b"identity_mismatch" in capfdbinary.readouterr().err
    assert main(["verify", "keyless.json", "--key", "key.pub"]) == 6
    assert main(["verify", "good.json", *IDENTITY, "--trusted-root", "root.json"]) == 6
    # With a trusted root a key's bundle must stand in a log too.
    assert main(["verify", "good.json", "--key", "key.pub", "--trusted-root", "root.json"]) == 6
    assert b"log_entry_missing" in capfdbinary.readouterr().err


@pytest.mark.usefixtures("place")
def test_a_policy_over_several_bundles(capfdbinary: Capture) -> None:
    given = ["--policy", "policy.json", "--key", "key.pub", "--trusted-root", "root.json", "--subject", "app"]
    assert main(["verify", "good.json", "keyless.json", *given]) == 0
    out, err = capfdbinary.readouterr()
    answer = json.loads(out)
    assert answer["policy"]["id"] == "release"
    assert answer["verified"]
    assert answer["transparency"] == "passed"
    assert [bundle["verified"] for bundle in answer["bundles"]] == [True, True]
    assert answer["rationale"]
    assert err == b"verified by policy release 1.0.0\n"
    assert main(["verify", "good.json", *given]) == 6
    assert b"signatures (threshold)" in capfdbinary.readouterr().err
    assert main(["verify", "good.json", "garbage.json", *given, "--output", "table"]) == 6
    assert b"garbage.json" in capfdbinary.readouterr().out


def test_a_signature_over_the_file_itself(place: Path, capfdbinary: Capture) -> None:
    wide = ec.generate_private_key(ec.SECP384R1())
    (place / "wide.pub").write_bytes(pem(wide))
    digest = {"algorithm": "SHA2_384", "digest": b64(hashlib.sha384(b"app").digest())}
    message = {"signature": b64(wide.sign(b"app", ec.ECDSA(SHA384()))), "messageDigest": digest}
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": ""}},
        "messageSignature": message,
    }
    (place / "message.json").write_text(json.dumps(bundle))
    assert main(["verify", "message.json", "--key", "wide.pub", "--subject", "app"]) == 0
    assert main(["verify", "message.json", "--key", "wide.pub", "--subject", "other"]) == 6
    assert main(["verify", "message.json", "--key", "wide.pub"]) == 6
    assert b"artifact_needed" in capfdbinary.readouterr().err


_WITHOUT_SOCKETS = """
import sys

def hook(event, arguments):
    if event.startswith("socket.") or event in {"os.exec", "subprocess.Popen", "os.posix_spawn", "os.fork"}:
        raise SystemExit(f"{event} in verify")

sys.addaudithook(hook)
from signerd_client.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "given",
    [
        ["good.json", "--key", "key.pub"],
        ["keyless.json", *IDENTITY, "--trusted-root", "root.json"],
        ["good.json", "keyless.json", "--policy", "policy.json", "--key", "key.pub", "--trusted-root", "root.json"],
    ],
)
def test_no_socket_is_opened_and_no_process_started(place: Path, given: list[str]) -> None:
    """The interpreter itself would tell of any socket, however it was opened."""
    told = subprocess.run(
        [sys.executable, "-c", _WITHOUT_SOCKETS, "verify", *given, "--subject", "app", "--offline"],
        cwd=place, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    opening = _WITHOUT_SOCKETS.replace("from signerd", "import socket; socket.socket()\nfrom signerd")
    seen = subprocess.run(
        [sys.executable, "-c", opening],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "socket.__new__ in verify" in seen.stderr


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from signerd_client.cli import main; main(['verify', '--help']); "
        "print(*sorted({'cryptography', 'msgspec', 'anyio', 'trio', 'signerd'} & sys.modules.keys()), file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "--certificate-identity" in told.stdout
    assert told.stderr.strip() == ""


def test_what_a_stranger_wrote_is_escaped(place: Path, capfdbinary: Capture) -> None:
    """T25: control characters in a bundle reach no terminal."""
    text = (place / "good.json").read_bytes()
    (place / "bad.json").write_bytes(text.replace(b"bundle.v0.3", rb"bundle.v0.3\u001b[2J\u202e"))
    for output in ("table", "json"):
        assert main(["verify", "bad.json", "--key", "key.pub", "--output", output]) == 6
        out, err = capfdbinary.readouterr()
        assert b"\x1b" not in out + err
        assert "\u202e".encode() not in out + err


@pytest.mark.usefixtures("place")
def test_a_message_is_told_by_its_first_byte(capfdbinary: Capture) -> None:
    arguments = ["verify", "good.cose", "--key", "key.pub", "--subject", "app", "--type", TYPE, "--output", "json"]
    assert main(arguments) == 0
    out, err = capfdbinary.readouterr()
    answer = json.loads(out)
    assert (answer["verified"], answer["predicate_type"], answer["subject"][0]["name"]) == (True, TYPE, "app")
    assert answer["checks"][0] == {"name": "cose", "outcome": "passed", "detail": "COSE_Sign1"}
    assert err == b"verified\n"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["altered.cose", "--key", "key.pub"], 6, "signature_invalid"),
        (["garbage.cose", "--key", "key.pub"], 6, "cbor_malformed"),
        (["good.cose", "--key", "other.pub"], 6, "signature_invalid"),
        (["good.cose", "--key", "key.pub", "--subject", "other"], 6, "subject_mismatch"),
        (["good.cose", "--key", "key.pub", "--type", "spdx"], 6, "predicate_type_mismatch"),
        (["good.cose", "--key", "key.pub", "--trusted-root", "root.json"], 2, "cose_by_key"),
        (["good.cose", *IDENTITY, "--trusted-root", "root.json"], 2, "cose_by_key"),
    ],
)
def test_a_message_that_does_not_verify(capfdbinary: Capture, arguments: list[str], code: int, said: str) -> None:
    assert main(["verify", *arguments]) == code
    assert said in capfdbinary.readouterr().err.decode()


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("keys", [["key.pub"], ["second.pub"], ["key.pub", "second.pub"], ["key.pub", "key.pub"]])
def test_an_envelope_is_verified_by_every_key_that_is_named(capfdbinary: Capture, keys: list[str]) -> None:
    named = [word for name in keys for word in ("--key", name)]
    assert main(["verify", "good.dsse", *named, "--subject", "app", "--type", TYPE, "--output", "json"]) == 0
    out, err = capfdbinary.readouterr()
    answer = json.loads(out)
    assert (answer["verified"], answer["predicate_type"], answer["checks"][0]["name"]) == (True, TYPE, "envelope")
    ids = [PublicKey.from_pem(Path(name).read_bytes()).keyid for name in dict.fromkeys(keys)]
    assert answer["signer"] == {"keyids": ids}
    assert err == b"verified\n"


@pytest.mark.usefixtures("place")
def test_an_envelope_over_a_bare_document_is_verified_by_its_type(capfdbinary: Capture) -> None:
    assert main(["verify", "bare.dsse", "--key", "key.pub", "--payload-type", MANIFEST, "--output", "table"]) == 0
    out, err = capfdbinary.readouterr()
    assert MANIFEST in out.decode()
    assert err == b"verified\n"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["altered.dsse", "--key", "key.pub"], 6, "signature (threshold)"),
        (["good.dsse", "--key", "other.pub"], 6, "0 of 1 keys signed, 1 needed"),
        (["good.dsse", "--key", "key.pub", "--key", "other.pub"], 6, "1 of 2 keys signed, 2 needed"),
        (["good.dsse", "--key", "key.pub", "--subject", "other"], 6, "subject_mismatch"),
        (["good.dsse", "--key", "key.pub", "--type", "spdx"], 6, "predicate_type_mismatch"),
        (["good.dsse", "--key", "key.pub", "--payload-type", MANIFEST], 6, "payload_type"),
        (["bare.dsse", "--key", "key.pub"], 6, "payload_type"),
        (["bare.dsse", "--key", "key.pub", "--payload-type", MANIFEST, "--subject", "app"], 2, "payload_type_alone"),
        (["bare.dsse", "--policy", "policy.json", "--payload-type", MANIFEST], 2, "payload_type_alone"),
        (["good.json", "--key", "key.pub", "--payload-type", MANIFEST], 2, "payload_type_alone"),
        (["good.cose", "--key", "key.pub", "--key", "other.pub"], 2, "several_keys"),
        (["good.dsse", "--key", "key.pub", "--trusted-root", "root.json"], 2, "envelope_by_key"),
        (["good.dsse", *IDENTITY, "--trusted-root", "root.json"], 2, "envelope_by_key"),
    ],
)
def test_an_envelope_that_does_not_verify(capfdbinary: Capture, arguments: list[str], code: int, said: str) -> None:
    assert main(["verify", *arguments]) == code
    assert said in capfdbinary.readouterr().err.decode()


def test_every_key_of_an_envelope_must_be_published_as_valid(place: Path, capfdbinary: Capture) -> None:
    first, second = (PublicKey.from_pem((place / name).read_bytes()).keyid for name in ("key.pub", "second.pub"))
    (place / "revocations.json").write_text('{"revoked": []}')
    arguments = ["verify", "good.dsse", "--key", "key.pub", "--key", "second.pub", "--published", "."]
    (place / "jwks.json").write_text(
        json.dumps({"keys": [{"kid": kid, "added_at": 1000} for kid in (first, second)]})
    )
    assert main(arguments) == 0
    (place / "jwks.json").write_text(json.dumps({"keys": [{"kid": first, "added_at": 1000}]}))
    assert main(arguments) == 6
    assert "key_not_published" in capfdbinary.readouterr().err.decode()


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", ["good.dsse", "good.cose"])
def test_what_no_policy_takes_is_named(capfdbinary: Capture, name: str) -> None:
    assert main(["verify", name, "--policy", "policy.json", "--key", "key.pub"]) == 6
    assert f"note: {name} is no bundle" in capfdbinary.readouterr().err.decode()
    assert main(["verify", "payload.json", "--policy", "policy.json", "--key", "key.pub"]) == 6
    assert "is no bundle" not in capfdbinary.readouterr().err.decode()
