"""Software keys that rest encrypted under a secret which only an authenticator can compute (hmac-secret).

The secret is HMAC-SHA-256 over a salt with a key of the credential's own (CTAP 2.1, section 12.5). From it comes the
AES-256-GCM key by HKDF (RFC 5869) with the credential id as info. Each wrapped key has a salt of its own, so no two
share a key, and the public key is authenticated beside the private one. Once unwrapped, the key is in this process's
memory until it ends.
"""

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from signerd_key_fido2.credentials import Wrapped
from signerd_key_fido2.failures import fault

__all__ = ["SALT_BYTES", "unwrapped", "wrapped"]

SALT_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_INFO: Final = b"signerd-key-fido2 unwrap v1\0"


def wrapped(secret: bytes, credential_id: bytes, salt: bytes, *, verified: bool) -> Wrapped:
    """Make a P-256 key and wrap it under ``secret``, which the credential has for ``salt``."""
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return Wrapped(spki, salt, nonce, _cipher(secret, credential_id).encrypt(nonce, plain, spki), verified)


def unwrapped(secret: bytes, credential_id: bytes, held: Wrapped) -> ec.EllipticCurvePrivateKey:
    """Return the key; ``key.backend_fault``, ``unwrap_failed``, where ``secret`` is not the one or the file was
    changed."""
    try:
        plain = _cipher(secret, credential_id).decrypt(held.nonce, held.sealed, held.spki)
        key = load_der_private_key(plain, None)
    except (InvalidTag, ValueError) as exc:
        raise fault("unwrap_failed", "the authenticator's secret does not open the key") from exc
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _cipher(secret: bytes, credential_id: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=_INFO + credential_id).derive(secret))
