"""A Statement in a COSE_Sign1 message, and a replay manifest in its envelope: the digests here never change.

Keys and Statement are those of statements.json; the keys sign deterministically (RFC 6979, RFC 8032).
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.attestation.canonical import canonicalise
from signerd.attestation.cose import cose_head, cose_tail, protected_header, signature_structure
from signerd.attestation.dsse import Signature, encode_base64, encode_envelope, pae
from signerd.attestation.statement import Subject, build_statement
from signerd.verification.cose import verify_cose
from signerd.verification.fixed_length import to_fixed
from signerd.verification.keys import PublicKey

FOLDER = Path(__file__).parent
KEYS = json.loads((FOLDER / "statements.json").read_text())["keys"]
GOLDEN = json.loads((FOLDER / "forms.json").read_text())

Signer = tuple[PublicKey, Callable[[bytes], bytes]]


def public(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> PublicKey:
    return PublicKey.from_spki(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def es256() -> Signer:
    key = ec.derive_private_key(int(KEYS["ES256"]["d"]), ec.SECP256R1())
    scheme = ec.ECDSA(SHA256(), deterministic_signing=True)
    return public(key.public_key()), lambda message: key.sign(message, scheme)


def ed25519_key() -> Signer:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(KEYS["Ed25519"]["seed"]))
    return public(key.public_key()), key.sign


SIGNERS = {"ES256": es256(), "Ed25519": ed25519_key()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_a_message(algorithm: str) -> None:
    key, sign = SIGNERS[algorithm]
    given, wanted = GOLDEN["cose"]["input"], GOLDEN["cose"][algorithm]
    subjects = [Subject(subject["name"], subject["digest"]) for subject in given["subject"]]
    statement = build_statement(subjects, given["predicate_type"], canonicalise(given["predicate"].encode()).text)
    header = protected_header(algorithm, bytes.fromhex(key.keyid.removeprefix("sha256:")))
    assert header.hex() == wanted["protected"]
    framed = signature_structure(header, len(statement)) + statement
    assert sha256(framed) == wanted["sig_structure_sha256"]
    message = cose_head(header, len(statement)) + statement + cose_tail(to_fixed(algorithm, sign(framed)))
    assert sha256(message) == wanted["message_sha256"]
    assert verify_cose(message, key) == statement


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_a_bare_document(algorithm: str) -> None:
    key, sign = SIGNERS[algorithm]
    given, wanted = GOLDEN["payload"]["input"], GOLDEN["payload"][algorithm]
    payload = canonicalise(given["payload"].encode()).text
    assert sha256(payload) == GOLDEN["payload"]["statement_sha256"]
    framed = pae(given["payload_type"], payload)
    assert sha256(framed) == GOLDEN["payload"]["pae_sha256"]
    signature = Signature(sign(framed), key.envelope_keyid)
    envelope = encode_envelope(encode_base64(payload), given["payload_type"], [signature])
    assert sha256(envelope) == wanted["envelope_sha256"]
