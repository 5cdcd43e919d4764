"""Certificate authorities of the tests: the chain that Fulcio issues under, and the one of the timestamp server."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "code_signing_authority", "private_pem", "timestamp_authority"]

PASSWORD = "of the tests"
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A root and the one certificate under it, with that one's key; the files are as the servers read them.

    ``chain`` is PEM, ``certificate`` first, then ``root``; ``key`` is PKCS#8, encrypted with ``password``.
    """

    root: x509.Certificate
    certificate: x509.Certificate
    private: ec.EllipticCurvePrivateKey
    chain: Path
    key: Path
    password: str = PASSWORD


def private_pem(private: ec.EllipticCurvePrivateKey, password: str = PASSWORD) -> bytes:
    """PKCS#8, PBES2, as both servers read it."""
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))


def code_signing_authority(folder: Path, name: str = "code signing") -> Authority:
    """For Fulcio: the intermediate is a CA and has the code signing EKU, without which Fulcio refuses it."""
    return _authority(folder, name, ExtendedKeyUsageOID.CODE_SIGNING, ca=True)


def timestamp_authority(folder: Path, name: str = "timestamping") -> Authority:
    """For the timestamp server: a leaf whose one purpose, marked critical, is time stamping (RFC 3161, 2.3)."""
    return _authority(folder, name, ExtendedKeyUsageOID.TIME_STAMPING, ca=False)


def _authority(folder: Path, name: str, purpose: x509.ObjectIdentifier, *, ca: bool) -> Authority:
    folder.mkdir(parents=True, exist_ok=True)
    root_private, private = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = _name(f"signerd tests: {name} root")
    root = (
        _builder(root_name, root_name, root_private, root_private)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .sign(root_private, SHA256())
    )
    builder = _builder(_name(f"signerd tests: {name}"), root_name, private, root_private)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(_usage(ca=ca), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=not ca)
        .sign(root_private, SHA256())
    )
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in (certificate, root)))
    key.touch(0o600)
    key.write_bytes(private_pem(private))
    return Authority(root, certificate, private, chain, key)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "signerd tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    private: ec.EllipticCurvePrivateKey,
    issuer_private: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_private.public_key())
    return (
        x509.CertificateBuilder(issuer, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + 365 * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(identifier, critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
