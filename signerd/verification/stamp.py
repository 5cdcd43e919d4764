"""RFC 3161 timestamps: a time at which an authority that is believed saw a signature.

Source: RFC 3161 with RFC 5816 (the response and what it stamps), RFC 5652 (the CMS around it). The stamp of a Sigstore
bundle is the whole TimeStampResp, over the raw bytes of the signature.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.errors import Refusal
from signerd.verification.certificates import TIME_STAMPING, Authority, build_chain, load_certificate
from signerd.verification.der import INTEGER, OCTET_STRING, OID, SEQUENCE, SET, DerError, Element, Reader, context

__all__ = ["Stamp", "parse_stamp", "verify_stamp"]

_LARGEST: Final = 256 * 1024
_MOST_CERTIFICATES: Final = 16

_SIGNED_DATA: Final = bytes.fromhex("2a864886f70d010702")
_TST_INFO: Final = bytes.fromhex("2a864886f70d0109100104")
_CONTENT_TYPE: Final = bytes.fromhex("2a864886f70d010903")
_MESSAGE_DIGEST: Final = bytes.fromhex("2a864886f70d010904")
_SIGNING_CERTIFICATE: Final = bytes.fromhex("2a864886f70d010910020c")
_SIGNING_CERTIFICATE_V2: Final = bytes.fromhex("2a864886f70d010910022f")
_GENERALIZED_TIME: Final = 0x18
_BOOLEAN: Final = 0x01

_Hash = Callable[[bytes], "hashlib._Hash"]
_HASHES: Final[dict[bytes, tuple[_Hash, hashes.HashAlgorithm]]] = {
    bytes.fromhex("608648016503040201"): (hashlib.sha256, hashes.SHA256()),
    bytes.fromhex("608648016503040202"): (hashlib.sha384, hashes.SHA384()),
    bytes.fromhex("608648016503040203"): (hashlib.sha512, hashes.SHA512()),
}
_SIGNED_WITH: Final[dict[bytes, type[hashes.HashAlgorithm] | None]] = {
    bytes.fromhex("2a8648ce3d040302"): hashes.SHA256,  # ecdsa-with-SHA256 and so on
    bytes.fromhex("2a8648ce3d040303"): hashes.SHA384,
    bytes.fromhex("2a8648ce3d040304"): hashes.SHA512,
    bytes.fromhex("2a864886f70d01010b"): hashes.SHA256,  # sha256WithRSAEncryption and so on
    bytes.fromhex("2a864886f70d01010c"): hashes.SHA384,
    bytes.fromhex("2a864886f70d01010d"): hashes.SHA512,
    bytes.fromhex("2a864886f70d010101"): None,  # rsaEncryption: the digest algorithm says which
    bytes.fromhex("2b6570"): None,  # Ed25519 (RFC 8419)
}


@dataclass(frozen=True, slots=True)
class Stamp:
    """A token, read and not yet verified: when, over which digest, signed by whom."""

    at: datetime
    hash: _Hash
    imprint: bytes
    info: bytes
    certificates: tuple[bytes, ...]
    signer: bytes
    attributes: bytes
    attribute_values: dict[bytes, bytes]
    digest_algorithm: bytes
    signature_algorithm: bytes
    signature: bytes


def parse_stamp(response: bytes) -> Stamp:
    """Read a DER TimeStampResp.

    Refuses with ``verification.failed``: ``stamp_rejected`` (the authority's status is not "granted"),
    ``stamp_malformed`` (also over 256 KiB), ``stamp_algorithm`` (other hashes than SHA-256, 384 and 512).
    """
    try:
        if len(response) > _LARGEST:
            _malformed()
        outer = Reader(response)
        body = outer.inside()
        outer.end()
        # 0 is granted, 1 granted with modifications (RFC 3161, section 2.4.2).
        if body.inside().take(INTEGER).content not in {b"\x00", b"\x01"}:
            _refuse("stamp_rejected", "the timestamp authority did not grant the request")
        content = body.inside()
        body.end()
        _expect(content.take(OID), _SIGNED_DATA)
        wrapped = content.inside(context(0))
        content.end()
        stamp = _signed_data(wrapped.inside())
        wrapped.end()
    except (DerError, UnicodeDecodeError, OverflowError):
        _malformed()
    return stamp


def verify_stamp(response: bytes, message: bytes, authorities: Sequence[Authority]) -> datetime:
    """Return the time at which one of ``authorities`` stamped ``message`` (in Sigstore: the raw signature).

    Refuses with ``verification.failed``: the reasons of :func:`parse_stamp`; ``stamp_imprint`` (over other
    bytes); ``stamp_authority_unknown`` (signed by no certificate of an authority, or embedded by it);
    ``stamp_signature``; ``stamp_signing_certificate`` (does not commit to its certificate, RFC 5816);
    ``stamp_usage`` (extended key usage other than time stamping alone, critical); and those of
    :func:`~signerd.verification.certificates.build_chain` at the stamped time.
    """
    stamp = parse_stamp(response)
    if stamp.hash(message).digest() != stamp.imprint:
        _refuse("stamp_imprint", "the timestamp is over other bytes than this signature")
    embedded = [load_certificate(der) for der in stamp.certificates]
    refusal: Refusal | None = None
    for authority in authorities:
        first = authority.chain[0]
        # A root that names the stamping certificate itself believes no other of that authority.
        for leaf in [first] if _stamps(first) else embedded:
            if not _names(stamp.signer, leaf):
                continue
            try:
                _verify_by(stamp, leaf)
                build_chain(leaf, [authority], stamp.at, TIME_STAMPING)
            except Refusal as refused:
                refusal = refusal or refused
                continue
            return stamp.at
    raise refusal or Refusal(
        "verification.failed", "stamp_authority_unknown", "the timestamp is by no authority of the trusted root"
    )


def _signed_data(data: Reader) -> Stamp:
    data.take(INTEGER)
    data.take(SET)
    encapsulated = data.inside()
    _expect(encapsulated.take(OID), _TST_INFO)
    info = encapsulated.inside(context(0)).take(OCTET_STRING).content
    found = data.maybe(context(0))
    data.maybe(context(1))
    signers = data.inside(SET)
    data.end()
    signer = signers.inside()
    signers.end()
    certificates: list[bytes] = []
    if found is not None:
        reader = Reader(found.content)
        while reader.more:
            certificates.append(reader.take(SEQUENCE).whole)
    if len(certificates) > _MOST_CERTIFICATES:
        _malformed()
    at, hashed, imprint = _info(info)
    signer.take(INTEGER)
    name = signer.take(SEQUENCE).whole
    digest_algorithm = signer.inside().take(OID).content
    attributes = signer.take(context(0))
    signature_algorithm = signer.inside().take(OID).content
    signature = signer.take(OCTET_STRING).content
    signer.maybe(context(1))
    signer.end()
    if digest_algorithm not in _HASHES or signature_algorithm not in _SIGNED_WITH:
        _refuse("stamp_algorithm", "the timestamp is signed with an algorithm that is not used")
    return Stamp(
        at=at,
        hash=hashed,
        imprint=imprint,
        info=info,
        certificates=tuple(certificates),
        signer=name,
        # What is signed is the SET itself, not the [0] that stands in its place (RFC 5652, section 5.4).
        attributes=bytes((SET,)) + attributes.whole[1:],
        attribute_values=_attributes(attributes),
        digest_algorithm=digest_algorithm,
        signature_algorithm=signature_algorithm,
        signature=signature,
    )


def _info(encoded: bytes) -> tuple[datetime, _Hash, bytes]:
    """Read a TSTInfo: its time, and the digest of what it stamps."""
    outer = Reader(encoded)
    info = outer.inside()
    outer.end()
    if info.take(INTEGER).content != b"\x01":
        _malformed()
    info.take(OID)
    imprint = info.inside()
    algorithm = _HASHES.get(imprint.inside().take(OID).content)
    digest = imprint.take(OCTET_STRING).content
    imprint.end()
    info.take(INTEGER)
    at = _generalized_time(info.take(_GENERALIZED_TIME))
    for optional in (SEQUENCE, _BOOLEAN, INTEGER, context(0), context(1)):
        info.maybe(optional)
    info.end()
    if algorithm is None:
        _refuse("stamp_algorithm", "the timestamp is over a hash that is not used")
    return at, algorithm[0], digest


def _generalized_time(element: Element) -> datetime:
    """Read ``YYYYMMDDhhmmss[.s...]Z`` (RFC 3161, section 2.4.2)."""
    text = element.content.decode("ascii")
    whole, _, fraction = text.removesuffix("Z").partition(".")
    if not text.endswith("Z") or len(whole) != 14 or not whole.isdigit() or not (fraction or "0").isdigit():
        _malformed()
    try:
        at = datetime.strptime(whole, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        _malformed()
    return at + timedelta(microseconds=int((fraction + "000000")[:6]))


def _attributes(found: Element) -> dict[bytes, bytes]:
    """Return the one value of each signed attribute, by type; none may stand twice."""
    values: dict[bytes, bytes] = {}
    reader = Reader(found.content)
    while reader.more:
        attribute = reader.inside()
        kind = attribute.take(OID).content
        value = attribute.inside(SET)
        whole = value.take().whole
        value.end()
        attribute.end()
        if kind in values:
            _malformed()
        values[kind] = whole
    return values


def _verify_by(stamp: Stamp, leaf: x509.Certificate) -> None:
    """Refuse unless ``leaf`` may stamp, signed these attributes, and they are of this content and leaf."""
    hashed, algorithm = _HASHES[stamp.digest_algorithm]
    try:
        values = stamp.attribute_values
        _expect(Reader(values.get(_CONTENT_TYPE, b"")).take(OID), _TST_INFO)
        _expect(Reader(values.get(_MESSAGE_DIGEST, b"")).take(OCTET_STRING), hashed(stamp.info).digest())
        _check_signing_certificate(values, leaf)
        if not _stamps(leaf):
            _refuse("stamp_usage", "the certificate may not be used for time stamping alone")
        _check_signature(leaf.public_key(), stamp, algorithm)
    except InvalidSignature:
        _refuse("stamp_signature", "the timestamp is not signed by this authority")
    except (KeyError, TypeError, ValueError, UnsupportedAlgorithm):
        _malformed()


def _check_signature(key: object, stamp: Stamp, algorithm: hashes.HashAlgorithm) -> None:
    named = _SIGNED_WITH[stamp.signature_algorithm]
    if named is not None and not isinstance(algorithm, named):
        _refuse("stamp_algorithm", "the timestamp names two hashes for one signature")
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(stamp.signature, stamp.attributes, ec.ECDSA(algorithm))
    elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        key.verify(stamp.signature, stamp.attributes, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(stamp.signature, stamp.attributes)
    else:
        _refuse("stamp_algorithm", "the timestamp authority's key is of a kind that is not used")


def _check_signing_certificate(values: dict[bytes, bytes], leaf: x509.Certificate) -> None:
    """Refuse unless the attribute of RFC 5816 (or its SHA-1 forerunner of RFC 2634) commits to ``leaf``."""
    newer, older = values.get(_SIGNING_CERTIFICATE_V2), values.get(_SIGNING_CERTIFICATE)
    der = leaf.public_bytes(Encoding.DER)
    if newer is not None:
        identifier = Reader(newer).inside().inside().inside()
        named = identifier.maybe(SEQUENCE)
        hashed = hashlib.sha256 if named is None else _HASHES[Reader(named.content).take(OID).content][0]
        committed = identifier.take(OCTET_STRING).content == hashed(der).digest()
    elif older is not None:
        identifier = Reader(older).inside().inside().inside()
        digest = hashlib.sha1(der, usedforsecurity=False).digest()
        committed = identifier.take(OCTET_STRING).content == digest
    else:
        committed = False
    if not committed:
        _refuse("stamp_signing_certificate", "the timestamp does not commit to its certificate")


def _stamps(certificate: x509.Certificate) -> bool:
    """Tell whether it is for time stamping and nothing else, critically (RFC 3161, section 2.3)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (ValueError, x509.DuplicateExtension, x509.ExtensionNotFound):
        return False
    return usage.critical and list(usage.value) == [TIME_STAMPING]


def _names(signer: bytes, leaf: x509.Certificate) -> bool:
    """Tell whether the IssuerAndSerialNumber is that of ``leaf``."""
    try:
        named = Reader(signer).inside()
        issuer, serial = named.take(SEQUENCE).whole, named.take(INTEGER).content
        named.end()
        return issuer == leaf.issuer.public_bytes() and int.from_bytes(serial, "big", signed=True) == leaf.serial_number
    except ValueError:
        return False


def _expect(element: Element, content: bytes) -> None:
    if element.content != content:
        raise DerError("an element has another value than it must")


def _malformed() -> NoReturn:
    _refuse("stamp_malformed", "not a timestamp that can be read")


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public) from None
