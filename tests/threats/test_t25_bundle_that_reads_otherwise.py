"""T25: a bundle is made that a lax reader takes for something else, or that speaks to the terminal."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.attestation.bundle import keyful_bundle
from signerd.attestation.dsse import encode_base64, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement, check_subjects
from signerd.errors import Refusal
from signerd.verification.bundle import verify_bundle
from signerd.verification.keys import PublicKey

PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = PublicKey.from_spki(PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
URI = "https://example.com/attestation/v1"
DIGEST = hashlib.sha256(b"artefact").hexdigest()
STATEMENT = build_statement([Subject("artefact", {"sha256": DIGEST})], URI, b"{}")


def signature(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    return PRIVATE.sign(pae(payload_type, payload), ec.ECDSA(SHA256()))


def signed(payload: bytes = STATEMENT, payload_type: str = PAYLOAD_TYPE) -> bytes:
    return keyful_bundle(encode_base64(payload), payload_type, signature(payload, payload_type), KEY.hint)


def envelope(bundle: Any) -> Any:
    return bundle["dsseEnvelope"]


def add_second(bundle: Any) -> None:
    envelope(bundle)["signatures"].append({"sig": base64.b64encode(signature(b"{}")).decode()})


def add_foreign_keyid(bundle: Any) -> None:
    envelope(bundle)["signatures"][0]["keyid"] = "arn:aws:kms:eu-central-1:1:key/1"
    bundle["verificationMaterial"]["publicKey"]["hint"] = "arn:aws:kms:eu-central-1:1:key/1"


def swap_body(bundle: Any) -> None:
    other = build_statement([Subject("other", {"sha256": "0" * 64})], URI, b"{}")
    envelope(bundle)["payload"] = base64.b64encode(other).decode()


def add_unknown_field(bundle: Any) -> None:
    envelope(bundle)["payload2"] = envelope(bundle)["payload"]


def add_second_content(bundle: Any) -> None:
    bundle["messageSignature"] = {"signature": "AA=="}


def swap_payload_type(bundle: Any) -> None:
    envelope(bundle)["payloadType"] = "application/vnd.in-toto.x+json"


def write_raw_signature(bundle: Any) -> None:
    r, s = decode_dss_signature(base64.b64decode(envelope(bundle)["signatures"][0]["sig"]))
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    envelope(bundle)["signatures"][0]["sig"] = base64.b64encode(raw).decode()


def respell_payload(bundle: Any) -> None:
    envelope(bundle)["payload"] = envelope(bundle)["payload"].rstrip("=") + "\n"


def add_certificate(bundle: Any) -> None:
    bundle["verificationMaterial"]["certificate"] = {"rawBytes": "MAA="}


@pytest.mark.parametrize(
    ("trick", "reason"),
    [
        (add_second, "signature_count"),
        (add_foreign_keyid, "keyid_foreign"),
        (swap_body, "signature_invalid"),
        (add_unknown_field, "bundle_malformed"),
        (add_second_content, "content_count"),
        (swap_payload_type, "signature_invalid"),
        (write_raw_signature, "signature_not_der"),
        (respell_payload, "base64_malformed"),
        (add_certificate, "material_count"),
    ],
)
def test_a_bundle_changed_by_hand_does_not_verify(trick: Callable[[Any], None], reason: str) -> None:
    bundle = json.loads(signed())
    assert verify_bundle(json.dumps(bundle).encode(), KEY).verified
    trick(bundle)
    verification = verify_bundle(json.dumps(bundle).encode(), KEY, artifact_sha256=DIGEST)
    assert not verification.verified
    assert verification.failure is not None
    assert verification.failure.reason == reason
    assert verification.statement is None


def test_a_field_that_stands_twice_does_not_verify() -> None:
    good = signed()
    text = good.replace(b'"payload":', b'"payload":"e30=","payload":', 1)
    assert json.loads(text) == json.loads(good)
    verification = verify_bundle(text, KEY)
    assert not verification.verified
    assert verification.failure is not None
    assert verification.failure.reason == "duplicate_key"


@pytest.mark.parametrize(
    "name", ["a\x1b[2J\x1b[1;31m", "a\r\nverified: true", "a\u202efdp.exe", "a\x9b31m", "a\u2028b"]
)
def test_names_that_speak_to_the_terminal_are_neither_signed_nor_shown(name: str) -> None:
    subject = Subject(name, {"sha256": DIGEST})
    with pytest.raises(Refusal, match="name_control_character"):
        check_subjects([subject])
    verification = verify_bundle(signed(build_statement([subject], URI, b"{}")), KEY, artifact_sha256=DIGEST)
    assert verification.failure is not None
    assert verification.failure.reason == "name_control_character"


def test_what_a_stranger_wrote_is_shown_escaped() -> None:
    loud = "x\x1b]0;owned\x07\n"
    texts = [signed(payload_type=loud), signed().replace(KEY.hint.encode(), b"\\u001b[2J\\n")]
    texts.append(signed(build_statement([Subject("a\u00e9", {"sha256": DIGEST})], "urn:\u00e9", b"{}")))
    for text in texts:
        for check in verify_bundle(text, KEY, artifact_sha256=DIGEST).checks:
            assert all(" " <= character <= "~" for character in check.name + check.detail + check.reason)
