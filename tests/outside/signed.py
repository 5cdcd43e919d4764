"""Something signed, for outside verifiers to judge: our bytes, a key of the test, the ways to spoil them."""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.attestation.bundle import keyful_bundle
from signerd.attestation.dsse import encode_base64, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement

__all__ = ["ARTIFACT", "SPOILED", "TYPE", "Key", "Signed", "spoil", "statement", "write"]

ARTIFACT = b"an artifact with some bytes \x00\xff\n"
TYPE = "https://cyclonedx.org/bom"
PREDICATE = (
    b'{"bomFormat":"CycloneDX","components":[{"name":"gr\xc3\xbc\xc3\x9fe","type":"library"}],'
    b'"specVersion":"1.6"}'
)

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
MAKERS: dict[str, Callable[[], PrivateKey]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA-PKCS1-SHA256": lambda: rsa.generate_private_key(65537, 2048),
}
HASHES = {"ES384": hashes.SHA384(), "ES512": hashes.SHA512()}


class Key:
    """A key pair that signs as a key backend does: DER for ECDSA."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.algorithm = algorithm
        self.private = MAKERS[algorithm]()
        self.public = self.private.public_key()
        self.spki = self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.pem = self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.hint = base64.b64encode(hashlib.sha256(self.spki).digest()).decode()

    def sign(self, message: bytes) -> bytes:
        digest = HASHES.get(self.algorithm, hashes.SHA256())
        match self.private:
            case ed25519.Ed25519PrivateKey() as private:
                return private.sign(message)
            case rsa.RSAPrivateKey() as private:
                return private.sign(message, padding.PKCS1v15(), digest)
            case ec.EllipticCurvePrivateKey() as private:
                return private.sign(message, ec.ECDSA(digest))


@dataclass(frozen=True)
class Signed:
    """Files for a verifier, which reads nothing else."""

    bundle: Path
    artifact: Path
    key: Path


def statement() -> bytes:
    subject = Subject("artifact", {"sha256": hashlib.sha256(ARTIFACT).hexdigest()})
    return build_statement([subject], TYPE, PREDICATE)


def write(folder: Path, key: Key) -> Signed:
    """Sign, and write what a verifier is given."""
    payload = statement()
    text = keyful_bundle(encode_base64(payload), PAYLOAD_TYPE, key.sign(pae(PAYLOAD_TYPE, payload)), key.hint)
    signed = Signed(folder / "bundle.sigstore.json", folder / "artifact", folder / "key.pub")
    signed.bundle.write_bytes(text)
    signed.artifact.write_bytes(ARTIFACT)
    signed.key.write_bytes(key.pem)
    return signed


def _altered_payload(bundle: dict[str, Any]) -> None:
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(b"library", b"librarx")).decode()


def _altered_signature(bundle: dict[str, Any]) -> None:
    (entry,) = bundle["dsseEnvelope"]["signatures"]
    signature = bytearray(base64.b64decode(entry["sig"]))
    signature[-1] ^= 1
    entry["sig"] = base64.b64encode(signature).decode()


def _altered_payload_type(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "application/vnd.in-toto+jsonx"


def _two_signatures(bundle: dict[str, Any]) -> None:
    (entry,) = bundle["dsseEnvelope"]["signatures"]
    bundle["dsseEnvelope"]["signatures"] = [entry, dict(entry)]


SPOILED = {
    "altered payload": _altered_payload,
    "altered signature": _altered_signature,
    "altered payload type": _altered_payload_type,
    "two signatures": _two_signatures,
}


def spoil(signed: Signed, how: str) -> None:
    """Spoil what was signed, in place, in one of the ways that no verifier may accept."""
    if how == "wrong key":
        signed.key.write_bytes(Key().pem)
    elif how == "wrong artifact":
        signed.artifact.write_bytes(ARTIFACT + b"!")
    else:
        bundle = json.loads(signed.bundle.read_bytes())
        before = json.dumps(bundle)
        SPOILED[how](bundle)
        assert json.dumps(bundle) != before
        signed.bundle.write_text(json.dumps(bundle))
