"""Same request, same key: the same bytes, on every machine and in every version. The digests here never
change."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.attestation.bundle import dsse_envelope_bytes, keyful_bundle
from signerd.attestation.canonical import canonicalise
from signerd.attestation.dsse import decode_base64, encode_base64, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement, check_subjects
from signerd.verification.bundle import verify_bundle
from signerd.verification.keys import PublicKey

GOLDEN = json.loads((Path(__file__).parent / "statements.json").read_text())
STATEMENTS = [pytest.param(entry, id=entry["title"]) for entry in GOLDEN["statements"]]

Signer = tuple[PublicKey, Callable[[bytes], bytes]]


def public(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey) -> PublicKey:
    return PublicKey.from_spki(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def es256() -> Signer:
    key = ec.derive_private_key(int(GOLDEN["keys"]["ES256"]["d"]), ec.SECP256R1())
    scheme = ec.ECDSA(SHA256(), deterministic_signing=True)
    return public(key.public_key()), lambda message: key.sign(message, scheme)


def ed25519_key() -> Signer:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(GOLDEN["keys"]["Ed25519"]["seed"]))
    return public(key.public_key()), key.sign


def rsa_key() -> Signer:
    numbers = GOLDEN["keys"]["RSA-PKCS1-SHA256"]
    p, q, e = int(numbers["p"]), int(numbers["q"]), numbers["e"]
    d = pow(e, -1, (p - 1) * (q - 1))
    key = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, p * q)
    ).private_key()
    return public(key.public_key()), lambda message: key.sign(message, padding.PKCS1v15(), SHA256())


SIGNERS = {"ES256": es256(), "Ed25519": ed25519_key(), "RSA-PKCS1-SHA256": rsa_key()}


def statement(entry: dict[str, Any]) -> bytes:
    given = entry["input"]
    subjects = [Subject(subject["name"], subject["digest"]) for subject in given["subject"]]
    check_subjects(subjects)
    return build_statement(subjects, given["predicate_type"], canonicalise(given["predicate"].encode()).text)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_there_are_twelve() -> None:
    assert len(STATEMENTS) == 12
    assert len({entry["statement_sha256"] for entry in GOLDEN["statements"]}) == 12


@pytest.mark.parametrize("entry", STATEMENTS)
def test_statement_and_pae(entry: dict[str, Any]) -> None:
    payload = statement(entry)
    assert sha256(payload) == entry["statement_sha256"]
    assert sha256(pae(PAYLOAD_TYPE, payload)) == entry["pae_sha256"]


@pytest.mark.parametrize("entry", STATEMENTS)
@pytest.mark.parametrize("algorithm", SIGNERS)
def test_signature_and_bundle(entry: dict[str, Any], algorithm: str) -> None:
    key, sign = SIGNERS[algorithm]
    payload, wanted = statement(entry), entry["signed"][algorithm]
    signature = sign(pae(PAYLOAD_TYPE, payload))
    assert signature == decode_base64(wanted["signature"])
    encoded = encode_base64(payload)
    assert sha256(dsse_envelope_bytes(encoded, PAYLOAD_TYPE, signature)) == wanted["envelope_sha256"]
    bundle = keyful_bundle(encoded, PAYLOAD_TYPE, signature, key.hint)
    assert sha256(bundle) == wanted["bundle_sha256"]
    verification = verify_bundle(
        bundle,
        key,
        artifact_sha256=entry["input"]["subject"][-1]["digest"]["sha256"],
        predicate_type=entry["input"]["predicate_type"],
    )
    assert verification.verified, verification.failure
    assert verification.statement == payload
