"""Signed certificate timestamps: that a certificate stands, or will, in a log of certificates.

Source: RFC 6962, sections 3.2 and 3.3: the log signed the certificate as it was before the SCTs were put into it,
together with the hash of the key of its issuer.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.certificate_transparency import (
    SignatureAlgorithm,
    SignedCertificateTimestamp,
)

from signerd.errors import Refusal
from signerd.verification.trusted_root import Log

__all__ = ["verify_embedded_scts"]

_ALGORITHMS: Final = {
    "ES256": SignatureAlgorithm.ECDSA,
    "RSA-PKCS1-SHA256": SignatureAlgorithm.RSA,
}
_MOST: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def verify_embedded_scts(leaf: x509.Certificate, issuer: x509.Certificate, logs: Sequence[Log]) -> int:
    """Return how many SCTs in ``leaf``, which ``issuer`` issued, are by a known log within its window.

    Refuses with ``verification.failed``: ``sct_missing``, ``sct_malformed``, ``sct_log_unknown`` (none is by
    a log of the trusted root), ``sct_window`` (at a time at which its log is not believed),
    ``sct_signature``, ``sct_algorithm``. SCTs of unknown logs are ignored beside a good one.
    """
    try:
        found = list(
            leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
        )
        prefix = _precertificate(leaf, issuer)
    except x509.ExtensionNotFound:
        _refuse("sct_missing", "the certificate has no SCT")
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension):
        _refuse("sct_malformed", "the certificate's SCTs cannot be read")
    if not 0 < len(found) <= _MOST:
        _refuse("sct_missing", f"the certificate has {len(found)} SCTs")
    good = 0
    for sct in found:
        for log in logs:
            if log.log_id == sct.log_id:
                _verify(sct, log, prefix)
                good += 1
                break
    if not good:
        _refuse("sct_log_unknown", "the certificate's SCTs are by no log of the trusted root")
    return good


def _precertificate(leaf: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """Give the ``PreCert`` structure: the issuer's key hash and the certificate without its SCTs."""
    spki = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    body = leaf.tbs_precertificate_bytes
    return hashlib.sha256(spki).digest() + len(body).to_bytes(3, "big") + body


def _verify(sct: SignedCertificateTimestamp, log: Log, precertificate: bytes) -> None:
    try:
        at = sct.timestamp.replace(tzinfo=UTC)
        milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
        agreed = (
            isinstance(sct.signature_hash_algorithm, SHA256)
            and _ALGORITHMS.get(log.key.algorithm) is sct.signature_algorithm
        )
    except (ValueError, OverflowError):
        _refuse("sct_malformed", "an SCT cannot be read")
    if not agreed:
        _refuse("sct_algorithm", "an SCT is not signed as its log signs")
    if not log.believed(at):
        _refuse("sct_window", f"an SCT is of {at.isoformat()}, when its log is not believed")
    extensions = sct.extension_bytes
    message = b"".join(
        (
            b"\x00\x00",  # version 1, certificate_timestamp
            milliseconds.to_bytes(8, "big"),
            b"\x00\x01",  # precert_entry
            precertificate,
            len(extensions).to_bytes(2, "big"),
            extensions,
        )
    )
    try:
        log.key.verify(sct.signature, message)
    except Refusal:
        _refuse("sct_signature", "an SCT is not by its log over this certificate")


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public) from None
