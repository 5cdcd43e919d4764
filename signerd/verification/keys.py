"""Public keys: the one algorithm of each type, its three ids, and the verification of one signature.

The algorithm follows from the key alone, never from what a signature says of itself: P-256 with SHA-256,
P-384 with SHA-384, P-521 with SHA-512, Ed25519 pure, RSA of 2048 to 4096 bits with PKCS#1 v1.5 and SHA-256, GOST
R 34.10-2012 with Streebog of the key's size.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from mmap import mmap
from typing import Final, NoReturn, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from signerd.attestation.dsse import decode_base64, encode_base64
from signerd.errors import Refusal

__all__ = ["Message", "PublicKey"]

_RSA_BITS: Final = range(2048, 4097)
_LARGEST_PEM: Final = 16 * 1024
_PEM_HEAD: Final = b"-----BEGIN PUBLIC KEY-----"
_PEM_BODY: Final = re.compile(_PEM_HEAD + rb"\r?\n([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----\s*\Z")
_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = SHA256()
_PREHASHED: Final = Prehashed(_SHA256)
_ECDSA_PREHASHED: Final = ec.ECDSA(_PREHASHED)
_ECDSA: Final = {
    "secp256r1": ("ES256", ec.ECDSA(_SHA256)),
    "secp384r1": ("ES384", ec.ECDSA(SHA384())),
    "secp521r1": ("ES512", ec.ECDSA(SHA512())),
}

Message = bytes | memoryview | mmap
"""Bytes that are signed; a large payload is mapped, not read."""

_Supported = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that signerd verifies with. Two are equal when their SPKI is.

    ``spki``: SubjectPublicKeyInfo, DER. ``algorithm``: ES256, ES384, ES512, Ed25519, RSA-PKCS1-SHA256,
    GOST3410-2012-256 or GOST3410-2012-512.
    ``keyid``: ``sha256:`` and the hex of SHA-256 over ``spki``. ``hint``: base64 of the same 32 bytes.
    ``openssh_fingerprint``: as ``ssh-keygen -l`` shows it; None where SSH has no such key type. ``pem``:
    PEM text of ``spki``. ``own_hash``: of which hash :meth:`verify_prehashed` takes a digest, if of any.
    ``longest_message``: where verifying is Python's own work, and takes milliseconds, the bytes of the longest message
    that is verified; else None.
    """

    spki: bytes
    algorithm: str = field(compare=False)
    keyid: str = field(compare=False)
    hint: str = field(compare=False)
    openssh_fingerprint: str | None = field(compare=False)
    pem: str = field(compare=False, repr=False)
    _check: Callable[[bytes, bytes | memoryview], None] = field(compare=False, repr=False)
    _check_prehashed: Callable[[bytes, bytes | memoryview], None] | None = field(compare=False, repr=False)
    own_hash: str = field(default="SHA-256", compare=False)
    longest_message: int | None = field(default=None, compare=False)

    @classmethod
    def from_spki(cls, der: bytes) -> Self:
        """Read a SubjectPublicKeyInfo.

        Refuses ``request.malformed`` (``key_malformed``) for bytes that are no DER public key or not in its
        one encoding, ``key.algorithm_refused`` (``curve``, ``rsa_size``, ``key_type``) for a key that
        signerd does not use.
        """
        try:
            loaded = load_der_public_key(der)
        except UnsupportedAlgorithm:
            key = cls._from_gost(der)
            return key if key.spki == der else _malformed()
        except (ValueError, TypeError):
            _malformed()
        return cls._from_loaded(loaded, der)

    @classmethod
    def from_pem(cls, text: str | bytes) -> Self:
        """Read the PEM text of one SubjectPublicKeyInfo (``BEGIN PUBLIC KEY``).

        Refuses as :meth:`from_spki` does, and a text with a second PEM block: which one was meant?
        """
        data = b""
        try:
            data = text.encode() if isinstance(text, str) else text
            if len(data) > _LARGEST_PEM or data.count(b"-----BEGIN") != 1 or _PEM_HEAD not in data:
                _malformed()
            loaded = load_pem_public_key(data)
        except UnsupportedAlgorithm:
            body = _PEM_BODY.search(data)
            return cls._from_gost(decode_base64(b"".join(body[1].split()).decode()) or b"" if body else b"")
        except (ValueError, TypeError):
            _malformed()
        return cls._from_loaded(loaded, None)

    @classmethod
    def _from_loaded(cls, loaded: object, der: bytes | None) -> Self:
        if not isinstance(loaded, _Supported):
            raise _algorithm_refused("key_type")
        algorithm, check, prehashed = _algorithm(loaded)
        spki = loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if der is not None and der != spki:
            # Another encoding of the same key would be another keyid for it.
            _malformed()
        wire = loaded.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split(b" ")[1]
        blob = decode_base64(wire.decode()) or b""
        fingerprint = "SHA256:" + encode_base64(hashlib.sha256(blob).digest()).decode().rstrip("=")
        return cls(spki, algorithm, *_names(spki, fingerprint), check, prehashed)

    @classmethod
    def _from_gost(cls, der: bytes) -> Self:
        """Read what cryptography has no name for."""
        # Its tables are made for such a key alone: most processes never see one.
        from signerd.verification.gost import GOST_KEY, LARGEST_MESSAGE, gost_key

        if GOST_KEY not in der[:16]:
            raise _algorithm_refused("key_type")
        key = gost_key(der)

        def check(signature: bytes, message: bytes | memoryview) -> None:
            if not key.verify(signature, message):
                raise InvalidSignature

        def check_digest(signature: bytes, digest: bytes | memoryview) -> None:
            if not key.verify_digest(signature, digest):
                raise InvalidSignature

        names = _names(key.spki, None)
        return cls(
            key.spki, key.parameters.algorithm, *names, check, check_digest, key.hash_name, LARGEST_MESSAGE
        )

    @property
    def envelope_keyid(self) -> str:
        """The keyid in a combined envelope: the OpenSSH fingerprint, as Go computes it, else ``keyid``."""
        return self.openssh_fingerprint or self.keyid

    @property
    def prehash(self) -> bool:
        """Whether :meth:`verify_prehashed` takes a SHA-256: the key's algorithm hashes with that."""
        return self._check_prehashed is not None and self.own_hash == "SHA-256"

    def verify_prehashed(self, signature: bytes, digest: bytes) -> None:
        """Verify over the ``digest`` of a message by ``own_hash``, hashed once elsewhere; refuses as
        :meth:`verify` does.

        Raises ValueError for a key whose algorithm hashes with neither SHA-256 nor Streebog.
        """
        if self._check_prehashed is None:
            raise ValueError(f"{self.algorithm} does not sign a {self.own_hash}")
        try:
            self._check_prehashed(signature, digest)
        except InvalidSignature:
            raise _signature_invalid() from None

    def verify(self, signature: bytes, message: Message) -> None:
        """Verify ``signature`` over ``message``: returns, or refuses with ``verification.failed``.

        Reasons: ``signature_invalid``; ``signature_not_der`` for an ECDSA signature in another form than
        strict DER, which Sigstore's own verifiers let pass; ``gost_payload_too_large`` for a GOST key and a message
        above 1 MiB.
        """
        try:
            if isinstance(message, mmap):
                with memoryview(message) as view:
                    self._check(signature, view)
            else:
                self._check(signature, message)
        except InvalidSignature:
            raise _signature_invalid() from None


_Check = Callable[[bytes, bytes | memoryview], None]


def _names(spki: bytes, fingerprint: str | None) -> tuple[str, str, str | None, str]:
    """Return keyid, hint, OpenSSH fingerprint and PEM of a key."""
    digest = hashlib.sha256(spki)
    text = encode_base64(spki).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    pem = "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
    return f"sha256:{digest.hexdigest()}", encode_base64(digest.digest()).decode(), fingerprint, pem


def _algorithm(key: _Supported) -> tuple[str, _Check, _Check | None]:
    """Return the algorithm, its check of a signature over a message, and over a SHA-256 where it hashes
    with that."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519", key.verify, None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in _RSA_BITS:
            raise _algorithm_refused("rsa_size")
        rsa_key = key
        return (
            "RSA-PKCS1-SHA256",
            lambda signature, message: rsa_key.verify(signature, message, _PKCS1, _SHA256),
            lambda signature, digest: rsa_key.verify(signature, digest, _PKCS1, _PREHASHED),
        )
    named = _ECDSA.get(key.curve.name)
    if named is None:
        raise _algorithm_refused("curve")
    algorithm, scheme = named
    ec_key = key

    def check(signature: bytes, message: bytes | memoryview) -> None:
        _require_der(signature)
        ec_key.verify(signature, message, scheme)

    def check_prehashed(signature: bytes, digest: bytes | memoryview) -> None:
        _require_der(signature)
        ec_key.verify(signature, digest, _ECDSA_PREHASHED)

    return algorithm, check, check_prehashed if algorithm == "ES256" else None


def _require_der(signature: bytes) -> None:
    """Demand the one DER encoding of an Ecdsa-Sig-Value (RFC 3279, section 2.2.3)."""
    try:
        if encode_dss_signature(*decode_dss_signature(signature)) == signature:
            return
    except ValueError:
        pass
    raise Refusal("verification.failed", "signature_not_der", "an ECDSA signature must be in DER")


def _signature_invalid() -> Refusal:
    return Refusal(
        "verification.failed", "signature_invalid", "the signature is not by this key over these bytes"
    )


def _algorithm_refused(reason: str) -> Refusal:
    return Refusal(
        "key.algorithm_refused",
        reason,
        "only P-256, P-384, P-521, Ed25519, RSA of 2048 to 4096 bits and GOST R 34.10-2012 are used",
    )


def _malformed() -> NoReturn:
    raise Refusal(
        "request.malformed", "key_malformed", "not the public key of a SubjectPublicKeyInfo"
    ) from None
