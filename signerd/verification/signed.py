"""What was signed, in the form in which a log entry and a stamp are compared with it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from signerd.attestation.dsse import Envelope, pae
from signerd.errors import Refusal
from signerd.verification.keys import Message, PublicKey

__all__ = ["KEY_DETAILS", "Signed", "own_digest", "own_hash", "verify_message"]

_HASHES: Final[dict[str, tuple[str, Callable[[bytes | memoryview], "hashlib._Hash"]]]] = {
    "ES256": ("SHA2_256", hashlib.sha256),
    "ES384": ("SHA2_384", hashlib.sha384),
    "ES512": ("SHA2_512", hashlib.sha512),
    "RSA-PKCS1-SHA256": ("SHA2_256", hashlib.sha256),
}

KEY_DETAILS: Final = {
    "ES256": frozenset({"PKIX_ECDSA_P256_SHA_256"}),
    "ES384": frozenset({"PKIX_ECDSA_P384_SHA_384"}),
    "ES512": frozenset({"PKIX_ECDSA_P521_SHA_512"}),
    "Ed25519": frozenset({"PKIX_ED25519"}),
    "RSA-PKCS1-SHA256": frozenset(
        {
            "PKIX_RSA_PKCS1V15_2048_SHA256",
            "PKIX_RSA_PKCS1V15_3072_SHA256",
            "PKIX_RSA_PKCS1V15_4096_SHA256",
        }
    ),
}
"""The names in ``protobuf-specs`` of what a key of each algorithm signs with."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that verified, and over what.

    ``certificate`` is the leaf's DER where a certificate and not a bare key signed. Either ``envelope`` is
    set, or the artefact itself was signed. ``digest`` is that of the signed bytes with the key's own hash,
    whose name is ``algorithm``; both are None for a key that signs without hashing first.
    """

    signature: bytes
    key: PublicKey
    certificate: bytes | None
    envelope: Envelope | None
    algorithm: str | None
    digest: bytes | None

    @classmethod
    def over_envelope(cls, envelope: Envelope, key: PublicKey, certificate: bytes | None) -> "Signed":
        """Verify the one signature of ``envelope`` and return what it signed; refuses as
        ``PublicKey.verify`` does."""
        (signature,) = envelope.signatures
        message = pae(envelope.payload_type, envelope.payload)
        name, digest = _digest(key, message)
        if digest is not None and key.prehash:
            key.verify_prehashed(signature.sig, digest)
        else:
            key.verify(signature.sig, message)
        return cls(signature.sig, key, certificate, envelope, name, digest)

    @classmethod
    def of_digest(cls, signature: bytes, key: PublicKey, certificate: bytes | None, digest: bytes) -> "Signed":
        """Return what a signature that verified before signed, by the digest of the key's own hash; refuses
        ``key.algorithm_refused`` (``no_digest``) for a key that signs without hashing first."""
        named = _HASHES.get(key.algorithm)
        if named is None:
            raise Refusal("key.algorithm_refused", "no_digest", "a key of this type signs without hashing first")
        return cls(signature, key, certificate, None, named[0], digest)


def own_hash(algorithm: str) -> "Callable[[bytes | memoryview], hashlib._Hash] | None":
    """Return the hash of a key's algorithm; None for one that signs without hashing first, and for an unknown one."""
    named = _HASHES.get(algorithm)
    return None if named is None else named[1]


def own_digest(key: PublicKey, message: bytes | memoryview) -> bytes | None:
    """Return the digest of ``message`` by the key's own hash; None for a key that signs without hashing first."""
    return _digest(key, message)[1]


def verify_message(
    signature: bytes,
    key: PublicKey,
    certificate: bytes | None,
    *,
    sha256: str | None,
    content: Message | None,
) -> Signed:
    """Verify a signature over an artefact and return what it signed.

    ``sha256`` (lowercase hex) alone serves a key that hashes with SHA-256; the others need ``content``.
    Refuses as ``PublicKey.verify`` does, and ``artifact_needed``.
    """
    if key.prehash and sha256 is not None:
        digest = bytes.fromhex(sha256)
        key.verify_prehashed(signature, digest)
        return Signed(signature, key, certificate, None, "SHA2_256", digest)
    if content is None:
        raise Refusal(
            "verification.failed",
            "artifact_needed",
            f"a signature by {key.algorithm} is verified over the artefact itself, not over its SHA-256",
        )
    key.verify(signature, content)
    with memoryview(content) as view:
        return Signed(signature, key, certificate, None, *_digest(key, view))


def _digest(key: PublicKey, message: bytes | memoryview) -> tuple[str | None, bytes | None]:
    named = _HASHES.get(key.algorithm)
    return (None, None) if named is None else (named[0], named[1](message).digest())
