"""A FIDO2 credential in software: a P-256 key that makes real assertions, and bad ones where it is told to."""

import hashlib
import json
import struct
from base64 import urlsafe_b64encode

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.verification.fido2 import encode_assertion
from signerd.verification.keys import PublicKey

__all__ = ["ORIGIN", "RP_ID", "UP", "UV", "SoftCredential"]

RP_ID, ORIGIN = "signer.example", "https://signer.example"
UP, UV = 0x01, 0x04


class SoftCredential:
    """One credential. ``seed`` makes the same one in another process."""

    def __init__(self, seed: str = "", counter: int = 0) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        if seed:
            number = int.from_bytes(hashlib.sha256(seed.encode()).digest())
            self.private = ec.derive_private_key(number, ec.SECP256R1())
        self.spki = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.keyid = PublicKey.from_spki(self.spki).keyid
        self.counter = counter

    def touch(self, pae_sha256: bytes, *, rp_id: str = RP_ID, flags: int = UP | UV) -> bytes:
        """Assert, as CTAP2 does."""
        data = self._data(rp_id, flags)
        signature = self.private.sign(data + pae_sha256, ec.ECDSA(SHA256()))
        return encode_assertion("ctap2", data, b"", signature)

    def raw(self, pae_sha256: bytes) -> bytes:
        """Sign the digest itself, which no authenticator does."""
        return self.private.sign(pae_sha256, ec.ECDSA(Prehashed(SHA256())))

    def touch_in_browser(self, pae_sha256: bytes, *, origin: str = ORIGIN) -> bytes:
        """Assert, as WebAuthn does."""
        challenge = urlsafe_b64encode(pae_sha256).rstrip(b"=").decode()
        text = json.dumps({"type": "webauthn.get", "challenge": challenge, "origin": origin}).encode()
        data = self._data(RP_ID, UP | UV)
        signature = self.private.sign(data + hashlib.sha256(text).digest(), ec.ECDSA(SHA256()))
        return encode_assertion("webauthn", data, text, signature)

    def _data(self, rp_id: str, flags: int) -> bytes:
        self.counter += 1
        return hashlib.sha256(rp_id.encode()).digest() + struct.pack(">BI", flags, self.counter)
