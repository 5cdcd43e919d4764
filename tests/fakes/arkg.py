"""The private half of ARKG-P256 (draft-bradleylundberg-cfrg-arkg-10), which an authenticator has and no library.

Written after the draft alone, so that what derives the public half is checked by it.
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["derive_private_key"]

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
TAG_BYTES = 16
SCALAR_BYTES = 48


def derive_private_key(
    blinding: ec.EllipticCurvePrivateKey, kem: ec.EllipticCurvePrivateKey, ticket: bytes, context: bytes
) -> ec.EllipticCurvePrivateKey:
    """Return the key that a ticket is for; ValueError for a ticket that was made for another seed or context."""
    sized = bytes([len(context)]) + context
    scheme = b"ARKG-ECDH.ARKG-P256" + b"ARKG-Derive-Key-KEM." + sized
    tag, point = ticket[:TAG_BYTES], ticket[TAG_BYTES:]
    shared = kem.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))
    mac_key = _expanded(shared, b"ARKG-KEM-HMAC-mac." + scheme)
    if not hmac.compare_digest(tag, hmac.digest(mac_key, point, "sha256")[:TAG_BYTES]):
        raise ValueError("a ticket for another key")
    secret = _expanded(shared, b"ARKG-KEM-HMAC-shared." + scheme)
    domain = b"ARKG-BL-EC." + b"ARKG-P256" + b"ARKG-Derive-Key-BL." + sized
    scalar = int.from_bytes(_expand_message(secret, domain, SCALAR_BYTES), "big") % ORDER
    return ec.derive_private_key((blinding.private_numbers().private_value + scalar) % ORDER, ec.SECP256R1())


def _expanded(shared: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=info).derive(shared)


def _expand_message(message: bytes, domain: bytes, length: int) -> bytes:
    """expand_message_xmd with SHA-256 (RFC 9380, section 5.3.1)."""
    domain += bytes([len(domain)])
    first = hashlib.sha256(bytes(64) + message + length.to_bytes(2, "big") + b"\0" + domain).digest()
    block, made = bytes(32), b""
    for number in range(1, -(-length // 32) + 1):
        mixed = bytes(a ^ b for a, b in zip(first, block, strict=True))
        block = hashlib.sha256(mixed + bytes([number]) + domain).digest()
        made += block
    return made[:length]
