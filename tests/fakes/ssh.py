"""Keys of OpenSSH in software, the security-key forms too, and the SSHSIG signatures that they make.

Written from PROTOCOL.sshsig and PROTOCOL.u2f by itself, so that reader and writer do not share a mistake; ssh-keygen
verifies what stands here (tests/unit/verification/test_sshsig.py). What a signature says can be given otherwise.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["SshSigner", "armour", "mpint", "string"]

HEAD, FOOT = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


def string(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def armour(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join([HEAD, *lines, FOOT, ""])


@dataclass(frozen=True)
class SshSigner:
    """A key of one type; `application` of a security key."""

    kind: str
    private: Any
    application: bytes = b"ssh:"

    @classmethod
    def make(cls, kind: str, application: bytes = b"ssh:", bits: int = 2048) -> "SshSigner":
        if "ed25519" in kind:
            return cls(kind, ed25519.Ed25519PrivateKey.generate(), application)
        if "nistp256" in kind:
            return cls(kind, ec.generate_private_key(ec.SECP256R1()), application)
        return cls(kind, rsa.generate_private_key(65537, bits), application)

    @property
    def blob(self) -> bytes:
        public = self.private.public_key()
        if "ed25519" in self.kind:
            fields = string(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
        elif "nistp256" in self.kind:
            point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            fields = string(b"nistp256") + string(point)
        else:
            numbers = public.public_numbers()
            fields = mpint(numbers.e) + mpint(numbers.n)
        tail = string(self.application) if self.kind.startswith("sk-") else b""
        return string(self.kind.encode()) + fields + tail

    @property
    def line(self) -> str:
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"

    def raw(self, message: bytes, algorithm: str = "rsa-sha2-512", flags: int = 0x01, counter: int = 7) -> bytes:
        """The wire form of the signature over `message`."""
        tail = b""
        if self.kind.startswith("sk-"):
            tail = bytes([flags]) + counter.to_bytes(4, "big")
            message = hashlib.sha256(self.application).digest() + tail + hashlib.sha256(message).digest()
        if "ed25519" in self.kind:
            return string(self.kind.encode()) + string(self.private.sign(message)) + tail
        if "nistp256" in self.kind:
            r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(SHA256())))
            return string(self.kind.encode()) + string(mpint(r) + mpint(s)) + tail
        hashed = {"rsa-sha2-256": SHA256(), "rsa-sha2-512": SHA512(), "ssh-rsa": SHA1()}[algorithm]  # noqa: S303
        return string(algorithm.encode()) + string(self.private.sign(message, padding.PKCS1v15(), hashed))

    def sign(self, message: bytes, namespace: str, hashed: str = "sha512", **raw: Any) -> str:
        """The armoured signature; `raw` as for :meth:`raw`."""
        digest = hashlib.new(hashed, message).digest()
        middle = string(namespace.encode()) + string(b"") + string(hashed.encode())
        signature = self.raw(b"SSHSIG" + middle + string(digest), **raw)
        return armour(b"SSHSIG" + (1).to_bytes(4, "big") + string(self.blob) + middle + string(signature))
