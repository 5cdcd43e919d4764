"""What verifiers outside need of the ring, as files: pure functions from its entries to RFC 8785 bytes.

``jwks.json`` is a JWK set (RFC 7517) of every version whose signatures can be valid, the old ones too; its keys carry
their times as further members, which RFC 7517, section 4, lets others ignore. ``revocations.json`` names every revoked
version. ``trusted_root.json`` is Sigstore's trusted root without authorities: a plain key needs none, but cosign before
3.0.4 wants the file.
"""

import base64
from collections.abc import Iterable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signerd.attestation.algorithms import COSIGN_ALGORITHMS
from signerd.attestation.canonical import canonical_json
from signerd.wire.ring import RingEntry

__all__ = ["publication"]

_TIMES: Final = ("expires_at", "retire_at", "revoked_at", "cause", "invalid_since")
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_TRUSTED_ROOT: Final = {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}


def publication(entries: Iterable[RingEntry], now: int) -> dict[str, bytes]:
    """Return the files to publish by name; ``now`` (Unix milliseconds) is when it was so."""
    versions = sorted(entries, key=lambda entry: (entry.key, entry.version))
    keys = [_jwk(entry) for entry in versions if not (entry.invalid_since and entry.invalid_since <= entry.added_at)]
    revoked = [_revocation(entry) for entry in versions if entry.status == "revoked"]
    return {
        "jwks.json": canonical_json({"keys": keys}),
        "revocations.json": canonical_json({"published_at": now, "revoked": revoked, "v": 1}),
        "trusted_root.json": canonical_json(_TRUSTED_ROOT),
    }


def _jwk(entry: RingEntry) -> dict[str, object]:
    times = {name: value for name in _TIMES if (value := getattr(entry, name))}
    return {
        **_public(entry),
        "added_at": entry.added_at,
        "key": entry.key,
        "kid": entry.keyid,
        "use": "sig",
        "version": entry.version,
        **times,
    }


def _public(entry: RingEntry) -> dict[str, object]:
    """Return the members of a public key: RFC 7518, section 6, and RFC 8037 for Ed25519.

    A key of an algorithm that JOSE has no name for is of a ``kty`` of ours, with its SPKI: who does not know that
    skips it (RFC 7517, section 5).
    """
    if entry.algorithm not in COSIGN_ALGORITHMS:
        return {"alg": entry.algorithm, "kty": "x-spki", "spki": _base64url(entry.spki)}
    key = load_der_public_key(entry.spki)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"alg": "EdDSA", "crv": "Ed25519", "kty": "OKP", "x": _base64url(key.public_bytes_raw())}
    if isinstance(key, ec.EllipticCurvePublicKey):
        numbers, size = key.public_numbers(), (key.key_size + 7) // 8
        x, y = (_base64url(number.to_bytes(size)) for number in (numbers.x, numbers.y))
        return {"alg": entry.algorithm, "crv": _CURVES[key.curve.name], "kty": "EC", "x": x, "y": y}
    assert isinstance(key, rsa.RSAPublicKey)  # the ring has no other
    values = key.public_numbers()
    n, e = (_base64url(number.to_bytes((number.bit_length() + 7) // 8)) for number in (values.n, values.e))
    return {"alg": "RS256", "e": e, "kty": "RSA", "n": n}


def _revocation(entry: RingEntry) -> dict[str, object]:
    since = {"invalid_since": entry.invalid_since} if entry.invalid_since else {}
    return {
        "cause": entry.cause or "unspecified",
        "key": entry.key,
        "keyid": entry.keyid,
        "revoked_at": entry.revoked_at,
        "version": entry.version,
        **since,
    }


def _base64url(value: bytes) -> str:
    """Return base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
