from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.sigstore import ISSUER, NOW, SAN, Issued, Sigstore, der, new_key
from outside.parts import the
from signerd.attestation.bundle import parse_bundle
from signerd.errors import Refusal
from signerd.verification.certificates import (
    CODE_SIGNING,
    TIME_STAMPING,
    Authority,
    Identity,
    SigningCertificate,
    build_chain,
    load_certificate,
    within,
)

STACK = Sigstore()
KEY = new_key()
LEAF = STACK.leaf(KEY)
AUTHORITY = Authority("ca", "", (STACK.ca.certificate, STACK.root.certificate), None, None)
HOUR = timedelta(hours=1)


def refused(der_bytes: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        SigningCertificate.read(der_bytes)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


def chain_refused(leaf: bytes, *authorities: Authority, **changed: Any) -> str:
    with pytest.raises(Refusal) as caught:
        build_chain(
            load_certificate(leaf), authorities, changed.get("at", NOW), changed.get("usage", CODE_SIGNING)
        )
    assert caught.value.code == "verification.failed"
    return caught.value.reason


def test_reads_whom_a_certificate_names() -> None:
    leaf = SigningCertificate.read(LEAF)
    assert (leaf.der, leaf.san, leaf.issuer, leaf.key.algorithm) == (LEAF, SAN, ISSUER, "ES256")
    leaf.require(Identity(SAN, ISSUER))
    for identity, reason in (
        (Identity(SAN.upper(), ISSUER), "identity_mismatch"),
        (Identity(f"{SAN}x", ISSUER), "identity_mismatch"),
        (Identity(SAN, ""), "issuer_mismatch"),
    ):
        with pytest.raises(Refusal, match=reason):
            leaf.require(identity)


def named(*names: x509.GeneralName, extra: Any = None, key: Any = KEY) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(STACK.ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + HOUR)
        .add_extension(x509.ExtendedKeyUsage([CODE_SIGNING]), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    if extra is not None:
        builder = builder.add_extension(extra, critical=False)
    return builder.sign(STACK.ca.key, SHA256()).public_bytes(Encoding.DER)


def test_one_name_of_a_kind_that_fulcio_writes() -> None:
    username = x509.OtherName(ObjectIdentifier("1.3.6.1.4.1.57264.1.7"), der(0x0C, b"me!id"))
    assert SigningCertificate.read(named(username)).san == "me!id"
    mail = x509.RFC822Name("me@example.com")
    assert SigningCertificate.read(named(mail)).san == "me@example.com"
    assert SigningCertificate.read(named(mail)).issuer is None
    for names in ((), (mail, x509.RFC822Name("you@example.com")), (x509.DNSName("example.com"),)):
        assert refused(named(*names)) == "certificate_names"


def test_the_older_issuer_extension_holds_bare_text() -> None:
    older = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), b"https://issuer.example")
    mail = x509.RFC822Name("me@example.com")
    assert SigningCertificate.read(named(mail, extra=older)).issuer == "https://issuer.example"
    not_text = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), b"\xff")
    assert refused(named(mail, extra=not_text)) == "certificate_malformed"


def test_what_is_no_certificate_of_a_signer() -> None:
    pem = load_certificate(LEAF).public_bytes(Encoding.PEM)
    for data in (b"", b"\x30\x00", pem, LEAF[:-1], LEAF + b"\0", LEAF + STACK.leaf(KEY)):
        assert refused(data) == "certificate_malformed"
    assert refused(STACK.ca.certificate.public_bytes(Encoding.DER)) == "certificate_is_ca"
    mail = x509.RFC822Name("me@example.com")
    assert refused(named(mail, key=ec.generate_private_key(ec.SECP256K1()))) == "certificate_key"
    assert refused(STACK.leaf(KEY, usage=TIME_STAMPING)) == "certificate_usage"
    no_digital_signature = x509.KeyUsage(False, *[False] * 4, True, True, False, False)
    assert refused(STACK.leaf(KEY, extra=[(no_digital_signature, True)])) == "certificate_usage"


def test_one_certificate_has_one_spelling() -> None:
    # A last bit that is 0 could as well be one that does not count.
    even = next(leaf for leaf in iter(lambda: STACK.leaf(KEY), b"") if not leaf[-1] & 1)
    signature = load_certificate(even).signature
    unused = even[: -len(signature) - 1] + b"\1" + signature
    assert x509.load_der_x509_certificate(unused).signature == signature
    assert refused(unused) == "certificate_malformed"
    good = load_certificate(LEAF)
    serial = good.serial_number.to_bytes(good.serial_number.bit_length() // 8 + 1, "big")
    negative = LEAF.replace(serial, b"\xff" + serial[1:], 1)
    assert refused(negative) == "certificate_malformed"


def test_a_chain_ends_in_the_anchor() -> None:
    chain = build_chain(load_certificate(LEAF), [AUTHORITY], NOW, CODE_SIGNING)
    assert chain == (load_certificate(LEAF), STACK.ca.certificate, STACK.root.certificate)
    # The anchor may be the intermediate itself: whoever wrote the root decided so.
    pinned = Authority("", "", (STACK.ca.certificate,), None, None)
    assert len(build_chain(load_certificate(LEAF), [pinned], NOW, CODE_SIGNING)) == 2


def test_the_ends_of_every_window_are_included() -> None:
    leaf = load_certificate(LEAF)
    for at in (leaf.not_valid_before_utc, leaf.not_valid_after_utc):
        build_chain(leaf, [AUTHORITY], at, CODE_SIGNING)
    second = timedelta(seconds=1)
    assert chain_refused(LEAF, AUTHORITY, at=leaf.not_valid_before_utc - second) == "certificate_not_yet_valid"
    assert chain_refused(LEAF, AUTHORITY, at=leaf.not_valid_after_utc + second) == "certificate_expired"
    assert within(NOW, NOW, NOW)
    assert within(NOW, None, None)
    assert not within(NOW, NOW + second, None)
    assert not within(NOW, None, NOW - second)


def test_no_chain() -> None:
    other = Issued.root("ca root")
    assert chain_refused(LEAF) == "authority_unknown"
    assert chain_refused(LEAF, Authority("", "", (STACK.root.certificate,), None, None)) == "authority_unknown"
    mixed = Authority("", "", (STACK.ca.certificate, other.certificate), None, None)
    assert chain_refused(LEAF, mixed) == "authority_unknown"
    assert chain_refused(LEAF, AUTHORITY, usage=TIME_STAMPING) == "certificate_usage"
    closed = Authority("ca", "", AUTHORITY.chain, NOW + HOUR, None)
    assert chain_refused(LEAF, closed) == "authority_window"
    build_chain(load_certificate(LEAF), [closed, AUTHORITY], NOW, CODE_SIGNING)


def test_an_authority_that_may_not_issue() -> None:
    # A signer's certificate that plays authority, and one authority deeper than the path length allows.
    end = STACK.leaf(KEY)
    posing = Issued(load_certificate(end), KEY)
    by_leaf = STACK.leaf(new_key(), ca=posing)
    authority = Authority("", "", (load_certificate(end), *AUTHORITY.chain), None, None)
    assert chain_refused(by_leaf, authority) == "authority_unknown"
    deeper = STACK.ca.intermediate("deeper")
    by_deeper = STACK.leaf(new_key(), ca=deeper)
    authority = Authority("", "", (deeper.certificate, *AUTHORITY.chain), None, None)
    assert chain_refused(by_deeper, authority) == "authority_unknown"


def test_an_authority_with_constraints_that_are_not_checked_is_not_believed() -> None:
    key = new_key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "constrained")])
    constrained = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(STACK.root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - HOUR)
        .not_valid_after(NOW + HOUR)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(x509.NameConstraints([x509.DNSName("example.com")], None), critical=False)
        .sign(STACK.root.key, SHA256())
    )
    leaf = STACK.leaf(KEY, ca=Issued(constrained, key))
    authority = Authority("", "", (constrained, STACK.root.certificate), None, None)
    assert chain_refused(leaf, authority) == "critical_extension"


def test_usage_nests() -> None:
    for usage, reason in ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, None), (TIME_STAMPING, "certificate_usage")):
        ca = STACK.root.intermediate("ca", usage=usage)
        authority = Authority("", "", (ca.certificate, STACK.root.certificate), None, None)
        leaf = STACK.leaf(KEY, ca=ca)
        if reason is None:
            build_chain(load_certificate(leaf), [authority], NOW, CODE_SIGNING)
        else:
            assert chain_refused(leaf, authority) == reason


@settings(deadline=None)
@given(st.integers(0, len(LEAF) - 1), st.integers(1, 255))
def test_a_damaged_certificate_is_read_or_refused(place: int, damage: int) -> None:
    data = bytearray(LEAF)
    data[place] ^= damage
    with pytest.raises(Refusal, match=r"verification\.failed"):
        build_chain(SigningCertificate.read(bytes(data)).certificate, [AUTHORITY], NOW, CODE_SIGNING)


@pytest.mark.needs("vectors")
def test_reads_what_fulcio_wrote() -> None:
    folder = the("vectors") / "sigstore-go/pkg/testing/data/bundles"
    (der_bytes,) = parse_bundle((folder / "othername.sigstore.json").read_bytes()).certificates[:1]
    leaf = SigningCertificate.read(der_bytes)
    assert leaf.san == "foo!oidc.local"
    assert leaf.issuer == "http://oidc.local:8080"
