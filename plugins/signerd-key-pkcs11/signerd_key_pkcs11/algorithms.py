"""How each kind of key signs through a token: what is handed in, by which mechanism, and what comes out.

Hashes are made here and the mechanism is always named: python-pkcs11's defaults are SHA-512, and tokens differ
in what combined mechanisms they have. ECDSA comes out of a token as r || s (PKCS#11 v2.40, section 2.3.1) and
leaves here in DER.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import KeyType, Mechanism, Token

from signerd.errors import Refusal
from signerd_key_pkcs11.failures import fault

__all__ = ["CURVES", "RSA", "Scheme", "mechanism_missing", "require", "scheme_of"]

RSA: Final = "RSA-PKCS1-SHA256"
CURVES: Final = {
    "ES256": bytes.fromhex("06082a8648ce3d030107"),
    "ES384": bytes.fromhex("06052b81040022"),
    "ES512": bytes.fromhex("06052b81040023"),
    "Ed25519": bytes.fromhex("06032b6570"),
}
"""CKA_EC_PARAMS by algorithm: the curve's object identifier in DER (RFC 5480, 2.1.1.1; RFC 8410, 3)."""

_DIGEST_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")
"""What EMSA-PKCS1-v1_5 puts before a SHA-256 (RFC 8017, section 9.2, note 1)."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One algorithm. ``prehash`` is ``sha256`` where :attr:`prepare` takes the digest and not the message.

    ``prepare`` gives what the token signs; ``finish`` turns the token's signature into signerd's. ``parameter`` is the
    mechanism's.
    """

    key_type: KeyType
    mechanism: Mechanism
    prehash: str | None
    prepare: Callable[[bytes], bytes]
    finish: Callable[[bytes], bytes]
    parameter: bytes | None = None


def scheme_of(algorithm: str) -> Scheme:
    """Return how ``algorithm`` is signed; ``key.algorithm_refused``, ``unknown_algorithm`` for another than the
    five."""
    found = _SCHEMES.get(algorithm)
    if found is None:
        raise Refusal("key.algorithm_refused", "unknown_algorithm", "the algorithm is not one that signerd signs with")
    return found


def require(scheme: Scheme, token: Token) -> None:
    """Refuse ``key.algorithm_refused``, ``mechanism_missing``, where the token cannot sign so. Raises PKCS11Error."""
    if scheme.mechanism not in token.slot.get_mechanisms():
        raise mechanism_missing(scheme.mechanism.name)


def mechanism_missing(name: str) -> Refusal:
    """Build the refusal of a key whose token does not offer what is needed."""
    return Refusal(
        "key.algorithm_refused",
        "mechanism_missing",
        "the key's token cannot sign as signerd does",
        operator=f"the token does not offer {name}",
    )


def _sha256(digest: bytes) -> bytes:
    if len(digest) != hashlib.sha256().digest_size:
        raise fault("digest_length", "this key signs the SHA-256 digest of a message, which has 32 bytes")
    return digest


def _der(width: int) -> Callable[[bytes], bytes]:
    def finish(raw: bytes) -> bytes:
        if len(raw) != 2 * width:
            raise fault("signature_shape", f"the token gave {len(raw)} bytes where r || s has {2 * width}")
        return encode_dss_signature(int.from_bytes(raw[:width]), int.from_bytes(raw[width:]))

    return finish


def _ecdsa(width: int, prepare: Callable[[bytes], bytes], prehash: str | None = None) -> Scheme:
    return Scheme(KeyType.EC, Mechanism.ECDSA, prehash, prepare, _der(width))


_SCHEMES: Final = {
    "ES256": _ecdsa(32, _sha256, "sha256"),
    "ES384": _ecdsa(48, lambda message: hashlib.sha384(message).digest()),
    "ES512": _ecdsa(66, lambda message: hashlib.sha512(message).digest()),
    "Ed25519": Scheme(KeyType.EC_EDWARDS, Mechanism.EDDSA, None, bytes, bytes),
    RSA: Scheme(KeyType.RSA, Mechanism.RSA_PKCS, "sha256", lambda digest: _DIGEST_INFO + _sha256(digest), bytes),
}
