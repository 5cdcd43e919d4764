"""Whose signature an entry of a Rekor v2 log is about, for who has that signature from nowhere else."""

from typing import NoReturn

import msgspec

from signerd.errors import Refusal
from signerd.verification import rekor2
from signerd.verification.certificates import SigningCertificate
from signerd.verification.keys import PublicKey
from signerd.verification.signed import Signed

__all__ = ["signed_by_body"]


class _Raw(msgspec.Struct, frozen=True):
    rawBytes: bytes  # noqa: N815  # the names are the log's


class _Verifier(msgspec.Struct, frozen=True):
    publicKey: _Raw | None = None  # noqa: N815
    x509Certificate: _Raw | None = None  # noqa: N815


class _Signature(msgspec.Struct, frozen=True):
    content: bytes
    verifier: _Verifier


class _Data(msgspec.Struct, frozen=True):
    digest: bytes


class _Spec(msgspec.Struct, frozen=True):
    data: _Data
    signature: _Signature


class _Specs(msgspec.Struct, frozen=True):
    hashedRekordV002: _Spec  # noqa: N815


class _Body(msgspec.Struct, frozen=True):
    spec: _Specs


def signed_by_body(body: bytes) -> Signed:
    """Return the signature that the body of a ``hashedrekord`` tells of, for who has it from nowhere else.

    A signature by a key that hashes with SHA-256 is verified over the entry's digest; of others the log alone has said
    that it verifies. Refuses as :func:`check_body`, ``verification.failed`` with ``signature_invalid``, and as keys and
    certificates that cannot be read.
    """
    try:
        spec = msgspec.json.decode(body, type=_Body).spec.hashedRekordV002
    except (msgspec.MsgspecError, UnicodeDecodeError):
        _refuse("log_entry_body", "the log entry's body is no hashedrekord of this version")
    given = spec.signature.verifier
    certificate = None if given.x509Certificate is None else SigningCertificate.read(given.x509Certificate.rawBytes)
    if certificate is not None:
        key, der = certificate.key, certificate.der
    elif given.publicKey is not None:
        key, der = PublicKey.from_spki(given.publicKey.rawBytes), None
    else:
        _refuse("log_entry_body", "the log entry names no key")
    signed = Signed.of_digest(spec.signature.content, key, der, spec.data.digest)
    if body not in rekor2.bodies("hashedrekord", signed):
        _refuse("log_entry_body", "the log entry's body is not in the form in which logs write it")
    if key.prehash:
        key.verify_prehashed(signed.signature, spec.data.digest)
    return signed


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public) from None
