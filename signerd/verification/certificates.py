"""X.509 certificates: chains to the authorities of a trusted root, and what a signing certificate says.

Source: RFC 5280, section 6.1, as far as it concerns chains of a few certificates whose anchors are given:
validity, signatures, basic constraints, key usage and extended key usage of every certificate. A critical
extension that is not among those is refused, and so are name constraints, which no path here is checked
against. Fulcio's own extensions: ``fulcio/docs/oid-info.md``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, ObjectIdentifier

from signerd.errors import Refusal
from signerd.verification.der import BIT_STRING, INTEGER, SEQUENCE, Reader, context
from signerd.verification.keys import PublicKey

__all__ = [
    "CODE_SIGNING",
    "TIME_STAMPING",
    "Authority",
    "Identity",
    "SigningCertificate",
    "build_chain",
    "load_certificate",
    "within",
]

CODE_SIGNING: Final = ExtendedKeyUsageOID.CODE_SIGNING
TIME_STAMPING: Final = ExtendedKeyUsageOID.TIME_STAMPING

_T = TypeVar("_T", bound=x509.ExtensionType)
_DEEPEST: Final = 8
_ISSUER: Final = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_V1: Final = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_USERNAME: Final = ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_UTF8_STRING: Final = 0x0C
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What ``cryptography`` raises for a certificate whose parts it cannot read; it reads them when asked."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate or timestamp authority of a trusted root: ``chain`` ends in the anchor.

    ``start`` and ``end``: between them, both included, it is trusted; None is open.
    """

    name: str
    uri: str
    chain: tuple[x509.Certificate, ...]
    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who must have signed: the certificate's one subject alternative name and its OIDC issuer, both
    literally."""

    san: str
    issuer: str


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """A leaf that signed: its DER, its key, and whom it names. Read, its chain not yet checked."""

    der: bytes
    certificate: x509.Certificate
    key: PublicKey
    san: str
    issuer: str | None

    @classmethod
    def read(cls, der: bytes) -> "SigningCertificate":
        """Read a Fulcio-style leaf.

        Refuses with ``verification.failed``: ``certificate_malformed``, ``certificate_is_ca``,
        ``certificate_key`` (a key that signerd does not verify with), ``certificate_names`` (not exactly one
        subject alternative name), ``certificate_usage`` (no code signing).
        """
        certificate = load_certificate(der)
        try:
            if _is_ca(certificate):
                _refuse("certificate_is_ca", "the certificate is an authority's, not a signer's")
            _check_usage(certificate, CODE_SIGNING)
            key = PublicKey.from_spki(
                certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            )
            return cls(der, certificate, key, _one_name(certificate), _issuer(certificate))
        except Refusal as refusal:
            if refusal.code == "verification.failed":
                raise
            raise Refusal("verification.failed", "certificate_key", refusal.public) from None
        except _UNREADABLE:
            _malformed()

    def require(self, identity: Identity) -> None:
        """Refuse (``identity_mismatch``, ``issuer_mismatch``) unless it names exactly this identity."""
        if self.san != identity.san:
            _refuse("identity_mismatch", f"the certificate names {self.san}")
        if self.issuer != identity.issuer:
            _refuse("issuer_mismatch", f"the certificate's OIDC issuer is {self.issuer}")


def within(at: datetime, start: datetime | None, end: datetime | None) -> bool:
    """Tell whether ``at`` lies between ``start`` and ``end``, both included; None is open."""
    return (start is None or start <= at) and (end is None or at <= end)


def load_certificate(der: bytes) -> x509.Certificate:
    """Read one DER certificate; refuses ``certificate_malformed``."""
    try:
        _check_form(der)
        return x509.load_der_x509_certificate(der)
    except _UNREADABLE:
        _malformed()


def _check_form(der: bytes) -> None:
    """Refuse what ``cryptography`` lets pass, by which one certificate could be written in two ways: bytes
    after it, bits of its signature that do not count; and a serial number that is not positive (RFC 5280,
    section 4.1.2.2), of which it warns."""
    whole = Reader(der)
    parts = whole.inside()
    whole.end()
    body = parts.inside()
    parts.take(SEQUENCE)
    signature = parts.take(BIT_STRING).content
    parts.end()
    body.maybe(context(0))
    serial = body.take(INTEGER).content
    if signature[:1] != b"\0" or len(serial) > 20 or int.from_bytes(serial, "big", signed=True) <= 0:
        _malformed()


def build_chain(
    leaf: x509.Certificate,
    authorities: Sequence[Authority],
    at: datetime,
    usage: ObjectIdentifier,
) -> tuple[x509.Certificate, ...]:
    """Return the chain from ``leaf`` to the anchor of the first authority that vouches for it at ``at``.

    Every certificate, the anchor included, must be valid at that time and allow ``usage``; the authority's
    own window must hold it too. Refuses with ``verification.failed``: ``certificate_expired``,
    ``certificate_not_yet_valid`` (the leaf), ``certificate_usage``, ``critical_extension``,
    ``authority_window`` (chains only to an authority that is not trusted at that time), ``chain_expired``
    (only through a certificate that is not valid then), ``authority_unknown``.
    """
    try:
        _check_time(leaf, at)
        _check_usage(leaf, usage)
        reason = "authority_unknown"
        for authority in authorities:
            for chain in _chains(leaf, authority):
                if not within(at, authority.start, authority.end):
                    reason = "authority_window"
                elif not all(_valid(certificate, at) for certificate in chain[1:]):
                    reason = "chain_expired"
                else:
                    for certificate in chain[1:]:
                        _check_usage(certificate, usage)
                    return chain
    except _UNREADABLE:
        _malformed()
    raise Refusal(
        "verification.failed",
        reason,
        f"no authority of the trusted root vouches for the certificate at {at.isoformat()}",
    )


def _chains(leaf: x509.Certificate, authority: Authority) -> Iterator[tuple[x509.Certificate, ...]]:
    anchor, between = authority.chain[-1], authority.chain[:-1]
    # Depth first; each certificate of the few stands once in a path, so the search ends.
    paths: list[tuple[x509.Certificate, ...]] = [(leaf,)]
    while paths:
        path = paths.pop()
        if len(path) > _DEEPEST:
            continue
        if path == (anchor,):
            yield path
        elif _issued(path[-1], anchor, len(path) - 1):
            yield (*path, anchor)
        paths.extend(
            (*path, issuer)
            for issuer in between
            if issuer not in path and issuer != anchor and _issued(path[-1], issuer, len(path) - 1)
        )


def _issued(subject: x509.Certificate, issuer: x509.Certificate, below: int) -> bool:
    """Tell whether ``issuer`` may issue, did issue ``subject``, and allows ``below`` authorities under it."""
    if subject.issuer != issuer.subject or not _is_ca(issuer):
        return False
    constraints = _extension(issuer, x509.BasicConstraints)
    if constraints is not None and constraints.path_length is not None and constraints.path_length < below:
        return False
    usage = _extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        return False
    try:
        subject.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_UNREADABLE):
        return False
    return True


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _extension(certificate: x509.Certificate, kind: type[_T]) -> _T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _valid(certificate: x509.Certificate, at: datetime) -> bool:
    return within(at, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _check_time(leaf: x509.Certificate, at: datetime) -> None:
    if at < leaf.not_valid_before_utc:
        _refuse("certificate_not_yet_valid", f"the certificate was not yet valid at {at.isoformat()}")
    if at > leaf.not_valid_after_utc:
        _refuse("certificate_expired", f"the certificate had expired by {at.isoformat()}")


def _check_usage(certificate: x509.Certificate, usage: ObjectIdentifier) -> None:
    """Refuse a certificate that may not be used so, or that demands what is not understood.

    An authority without the extension allows everything, one with it only what it names: as Go nests it.
    """
    for extension in certificate.extensions:
        constrains = extension.oid == ExtensionOID.NAME_CONSTRAINTS
        if constrains or (extension.critical and extension.oid not in _UNDERSTOOD):
            _refuse("critical_extension", f"extension {extension.oid.dotted_string} is not understood")
    allowed = _extension(certificate, x509.ExtendedKeyUsage)
    authority = _is_ca(certificate)
    if allowed is None:
        if authority:
            return
    elif usage in allowed or (authority and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in allowed):
        signs = _extension(certificate, x509.KeyUsage)
        if authority or signs is None or signs.digital_signature:
            return
    _refuse("certificate_usage", "the certificate may not be used for this")


def _one_name(certificate: x509.Certificate) -> str:
    names = _extension(certificate, x509.SubjectAlternativeName)
    found = [] if names is None else list(names)
    name = found[0] if len(found) == 1 else None
    if isinstance(name, x509.RFC822Name | x509.UniformResourceIdentifier):
        return name.value
    if not isinstance(name, x509.OtherName) or name.type_id != _USERNAME:
        _refuse("certificate_names", "a signer's certificate has exactly one e-mail address, URI or user name")
    return _utf8(name.value)


def _issuer(certificate: x509.Certificate) -> str | None:
    found = {extension.oid: extension.value for extension in certificate.extensions}
    newer, older = found.get(_ISSUER), found.get(_ISSUER_V1)
    if isinstance(newer, x509.UnrecognizedExtension):
        return _utf8(newer.value)
    # The first form holds the text itself, without a DER string around it.
    return older.value.decode() if isinstance(older, x509.UnrecognizedExtension) else None


def _utf8(der: bytes) -> str:
    reader = Reader(der)
    text = reader.take(_UTF8_STRING).content.decode()
    reader.end()
    return text


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public)


def _malformed() -> NoReturn:
    raise Refusal(
        "verification.failed", "certificate_malformed", "not a certificate that can be read"
    ) from None
