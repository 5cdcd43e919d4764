"""What a CT log signs about a certificate (RFC 6962, 3.2 to 3.4), made from the DER itself: a precertificate too."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["POISON", "Entry", "certificate_entry", "issuer_key_hash", "precertificate_entry", "sct_input", "without"]

POISON = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.3")
SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
PRECERTIFICATE_SIGNING = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.4")
SEQUENCE, OBJECT_IDENTIFIER, EXTENSIONS = 0x30, 0x06, 0xA3


@dataclass(frozen=True, slots=True)
class Entry:
    """``signed_entry`` with its LogEntryType before it: 0 a certificate, 1 a precertificate."""

    encoded: bytes


def _elements(data: bytes) -> list[bytes]:
    """The DER elements that lie side by side in ``data``, whole. ValueError where one is cut short."""
    found = []
    while data:
        length, start = data[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start])
        if len(data) < start + length:
            raise ValueError("DER is cut short")
        found.append(data[: start + length])
        data = data[start + length :]
    return found


def _content(element: bytes) -> bytes:
    return element[2 + (element[1] & 0x7F) if element[1] & 0x80 else 2 :]


def _wrap(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    encoded = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(encoded)]) + encoded + content


def _oid(oid: x509.ObjectIdentifier) -> bytes:
    first, second, *rest = map(int, oid.dotted_string.split("."))
    body = bytearray([first * 40 + second])
    for arc in rest:
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(0x80 | arc & 0x7F)
        body += bytes(reversed(digits))
    return _wrap(OBJECT_IDENTIFIER, bytes(body))


def without(tbs: bytes, oid: x509.ObjectIdentifier) -> bytes:
    """A TBSCertificate less one extension; ValueError if it is not there just once.

    All else keeps its bytes and order (RFC 6962, 3.2: the CA puts the SCT list where the poison was).
    """
    fields = _elements(_content(tbs))
    if not fields or fields[-1][0] != EXTENSIONS:
        raise ValueError("no extensions")
    extensions = _elements(_content(_content(fields[-1])))
    kept = [each for each in extensions if not _content(each).startswith(_oid(oid))]
    if len(extensions) - len(kept) != 1:
        raise ValueError(f"not one extension {oid.dotted_string}")
    rest = [_wrap(EXTENSIONS, _wrap(SEQUENCE, b"".join(kept)))] if kept else []
    return _wrap(SEQUENCE, b"".join([*fields[:-1], *rest]))


def issuer_key_hash(issuer: x509.Certificate) -> bytes:
    """SHA-256 over the issuer's SubjectPublicKeyInfo."""
    digest = Hash(SHA256())
    digest.update(issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(3) + data


def certificate_entry(certificate: x509.Certificate) -> Entry:
    """Of a final certificate as it is."""
    return Entry(b"\0\0" + _sized(certificate.public_bytes(Encoding.DER)))


def precertificate_entry(certificate: x509.Certificate, issuer: x509.Certificate) -> Entry:
    """Of a precertificate (poisoned) or of the final one with embedded SCTs: both make the same entry.

    ValueError for a certificate that is neither, and for a Precertificate Signing Certificate as the issuer, whose
    names would have to be replaced: Fulcio has none.
    """
    with_purpose = _purposes(issuer)
    if PRECERTIFICATE_SIGNING in with_purpose:
        raise ValueError("a Precertificate Signing Certificate is not supported")
    known = {extension.oid for extension in certificate.extensions}
    if len(known & {POISON, SCT_LIST}) != 1:
        raise ValueError("neither a precertificate nor one with SCTs")
    tbs = without(certificate.tbs_certificate_bytes, POISON if POISON in known else SCT_LIST)
    return Entry(b"\0\1" + issuer_key_hash(issuer) + _sized(tbs))


def _purposes(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


def sct_input(timestamp_ms: int, entry: Entry) -> bytes:
    """What an SCT of version 1 without extensions signs: ``digitally-signed`` of RFC 6962, 3.2."""
    return b"\0\0" + timestamp_ms.to_bytes(8) + entry.encoded + b"\0\0"
