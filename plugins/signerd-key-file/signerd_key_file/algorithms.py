"""Private keys: the one algorithm of each, and how it signs.

P-256 with SHA-256, P-384 with SHA-384, P-521 with SHA-512, Ed25519 pure, RSA of 2048 to 4096 bits with PKCS#1
v1.5 and SHA-256: what a stock verifier expects of the key, and nothing that a caller could choose. ECDSA
takes its nonce by RFC 6979.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.errors import Refusal
from signerd.secret_files.key_files import fault

__all__ = ["SigningKey", "make_key", "signing_key"]

RSA: Final = "RSA-PKCS1-SHA256"
RSA_BITS: Final = range(2048, 4097)
RSA_NEW_BITS: Final = 3072
"""Bits of a new RSA key: NIST SP 800-57 part 1, 128 bits of strength."""

_SHA256: Final = SHA256()
_ES256: Final = ec.ECDSA(Prehashed(_SHA256), deterministic_signing=True)
_LONGER: Final = {
    "secp384r1": ("ES384", ec.ECDSA(SHA384(), deterministic_signing=True)),
    "secp521r1": ("ES512", ec.ECDSA(SHA512(), deterministic_signing=True)),
}
_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key ready to sign: SPKI in DER, and ``prehash`` where :meth:`sign` takes the digest."""

    algorithm: str
    spki: bytes
    prehash: str | None
    _sign: Callable[[bytes], bytes] = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """Return the signature; ``key.backend_fault``, ``digest_length`` where a digest was due and none
        came."""
        if self.prehash is not None and len(message) != _SHA256.digest_size:
            raise fault("digest_length", "this key signs the SHA-256 digest of a message, which has 32 bytes")
        return self._sign(message)


def signing_key(private: PrivateKeyTypes) -> SigningKey:
    """Return the signer of ``private``; ``key.algorithm_refused``: ``curve``, ``rsa_size``, ``key_type``."""
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return _ecdsa(private)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return SigningKey("Ed25519", _spki(private), None, private.sign)
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size not in RSA_BITS:
            raise _refused("rsa_size")
        scheme, prehashed = padding.PKCS1v15(), Prehashed(_SHA256)
        return SigningKey(
            RSA, _spki(private), "sha256", lambda digest: private.sign(digest, scheme, prehashed)
        )
    raise _refused("key_type")


def make_key(algorithm: str) -> PrivateKeyTypes:
    """Make a new key; ``key.algorithm_refused`` with reason ``unknown_algorithm`` for any other name than the
    five."""
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    if algorithm == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == RSA:
        return rsa.generate_private_key(65537, RSA_NEW_BITS)
    raise _refused("unknown_algorithm")


def _ecdsa(private: ec.EllipticCurvePrivateKey) -> SigningKey:
    if private.curve.name == "secp256r1":
        return SigningKey("ES256", _spki(private), "sha256", lambda digest: private.sign(digest, _ES256))
    if private.curve.name not in _LONGER:
        raise _refused("curve")
    algorithm, scheme = _LONGER[private.curve.name]
    return SigningKey(algorithm, _spki(private), None, lambda message: private.sign(message, scheme))


def _spki(private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _refused(reason: str) -> Refusal:
    return Refusal("key.algorithm_refused", reason, "the key's algorithm is not one that signerd signs with")
