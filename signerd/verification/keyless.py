"""What a keyless key is trusted by: the certificate authority and the CT logs that vouch for each certificate.

No public key is pinned where every signature brings a certificate of its own; pinned is who may have issued it. Both
whoever asks for a certificate and whoever releases a signature by it check it with this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.errors import Refusal
from signerd.verification.certificates import (
    CODE_SIGNING,
    Authority,
    SigningCertificate,
    build_chain,
    load_certificate,
)
from signerd.verification.keys import PublicKey
from signerd.verification.sct import verify_embedded_scts
from signerd.verification.trusted_root import Log

__all__ = ["LEEWAY", "KeylessTrust", "Vouched"]

LEEWAY: Final = timedelta(seconds=10)
"""A certificate that begins so soon counts as valid: the authority's clock is not ours. Its end is not moved."""
_MOST: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Vouched:
    """A signer's certificate that was checked: ``chain`` is DER, from the leaf to the anchor. Equal to itself alone.

    ``start`` and ``end`` are the leaf's, ``valid_until`` the earliest end of the chain.
    """

    leaf: SigningCertificate
    chain: tuple[bytes, ...]
    start: datetime
    end: datetime
    valid_until: datetime

    def fresh(self, now: datetime) -> bool:
        """Whether every certificate of the chain is still valid."""
        return self.start - LEEWAY <= now <= self.valid_until


@dataclass(frozen=True, slots=True)
class KeylessTrust:
    """An authority, and the CT logs of which one must have seen each certificate; ``ct_logs`` None asks for no SCT."""

    authority: Authority
    ct_logs: tuple[Log, ...] | None

    @classmethod
    def read(cls, ca: bytes, ct_log_keys: Sequence[bytes] | None) -> "KeylessTrust":
        """Read the authority's certificates in PEM, those between first and the anchor last, and each log's public key.

        Raises ValueError in a plain sentence for what is none of these.
        """
        try:
            found = x509.load_pem_x509_certificates(ca)
            chain = tuple([load_certificate(one.public_bytes(Encoding.DER)) for one in found])
        except (ValueError, Refusal):
            raise ValueError("the authority's chain is no PEM of certificates") from None
        if not 0 < len(chain) <= _MOST:
            raise ValueError(f"an authority has 1 to {_MOST} certificates")
        if any(below.issuer != above.subject for below, above in pairwise(chain)):
            raise ValueError("the authority's certificates are not in order: each is issued by the next")
        return cls(Authority("", "", chain, None, None), None if ct_log_keys is None else _logs(ct_log_keys))

    def vouch(self, der: bytes, now: datetime) -> Vouched:
        """Check a leaf: that it is a signer's, valid now, under the authority, and in a log.

        Refuses with ``verification.failed`` and the reasons of ``SigningCertificate.read``, ``build_chain`` and
        ``verify_embedded_scts``, and with ``issuer_missing`` for a certificate that names no OIDC issuer.
        """
        leaf = SigningCertificate.read(der)
        certificate = leaf.certificate
        begins = certificate.not_valid_before_utc
        at = begins if now < begins <= now + LEEWAY else now
        chain = build_chain(certificate, (self.authority,), at, CODE_SIGNING)
        if self.ct_logs is not None:
            verify_embedded_scts(certificate, chain[min(1, len(chain) - 1)], self.ct_logs)
        if leaf.issuer is None:
            raise Refusal("verification.failed", "issuer_missing", "the certificate names no OIDC issuer")
        return Vouched(
            leaf,
            (der, *[one.public_bytes(Encoding.DER) for one in chain[1:]]),
            begins,
            certificate.not_valid_after_utc,
            min([one.not_valid_after_utc for one in chain]),
        )


def _logs(keys: Sequence[bytes]) -> tuple[Log, ...]:
    if not 0 < len(keys) <= _MOST:
        raise ValueError(f"1 to {_MOST} CT logs are expected")
    logs = []
    for text in keys:
        try:
            key = PublicKey.from_pem(text)
        except Refusal:
            raise ValueError("a CT log's key is no PEM of a public key that is used") from None
        log_id = bytes.fromhex(key.keyid.removeprefix("sha256:"))
        logs.append(Log("", "", log_id, log_id, key, datetime.min.replace(tzinfo=UTC), None))
    return tuple(logs)
