from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fakes.sigstore import ISSUER, NOW, SAN, CtLog, Issued, Sigstore, new_key
from signerd.errors import Refusal
from signerd.verification.keyless import LEEWAY, KeylessTrust, Vouched

STACK = Sigstore()
SECOND = timedelta(seconds=1)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def key_pem(log: CtLog) -> bytes:
    return log.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


CHAIN = pem(STACK.ca.certificate, STACK.root.certificate)
TRUST = KeylessTrust.read(CHAIN, [key_pem(STACK.ct)])


def refused(leaf: bytes, trust: KeylessTrust = TRUST) -> str:
    with pytest.raises(Refusal) as caught:
        trust.vouch(leaf, NOW)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


def test_a_leaf_is_vouched_for_up_to_the_anchor() -> None:
    key = new_key()
    leaf = STACK.leaf(key)
    vouched = TRUST.vouch(leaf, NOW)
    assert (vouched.leaf.san, vouched.leaf.issuer) == (SAN, ISSUER)
    assert vouched.chain == (
        leaf,
        STACK.ca.certificate.public_bytes(Encoding.DER),
        STACK.root.certificate.public_bytes(Encoding.DER),
    )
    assert vouched.valid_until == vouched.end == NOW + timedelta(minutes=9)


def test_what_is_vouched_for_ages() -> None:
    vouched: Vouched = TRUST.vouch(STACK.leaf(new_key()), NOW)
    assert vouched.fresh(NOW)
    assert vouched.fresh(vouched.end)
    assert not vouched.fresh(vouched.end + SECOND)
    assert not vouched.fresh(vouched.start - LEEWAY - SECOND)


def test_a_certificate_that_begins_in_a_moment_is_believed_and_one_that_has_ended_is_not() -> None:
    TRUST.vouch(STACK.leaf(new_key(), start=NOW + LEEWAY), NOW)
    assert refused(STACK.leaf(new_key(), start=NOW + LEEWAY + SECOND)) == "certificate_not_yet_valid"
    assert refused(STACK.leaf(new_key(), end=NOW - SECOND)) == "certificate_expired"


def test_what_is_not_of_the_authority_or_in_no_log_is_refused() -> None:
    other = Issued.root("ca root")
    assert refused(STACK.leaf(new_key(), ca=other.intermediate("ca"))) == "authority_unknown"
    assert refused(STACK.leaf(new_key(), scts=[])) == "sct_missing"
    assert refused(STACK.leaf(new_key(), scts=[CtLog()])) == "sct_log_unknown"
    assert refused(STACK.leaf(new_key(), usage=None)) == "certificate_usage"
    assert refused(b"\x30\x00") == "certificate_malformed"


def test_a_certificate_without_an_issuer_of_its_identity_is_refused() -> None:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(STACK.ca.certificate.subject)
        .public_key(new_key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + SECOND)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SAN)]), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    )
    from cryptography.hazmat.primitives.hashes import SHA256

    leaf = builder.sign(STACK.ca.key, SHA256()).public_bytes(Encoding.DER)
    assert refused(leaf, KeylessTrust.read(CHAIN, None)) == "issuer_missing"


def test_without_logs_no_sct_is_asked_for() -> None:
    assert KeylessTrust.read(CHAIN, None).vouch(STACK.leaf(new_key(), scts=[]), NOW)


@pytest.mark.parametrize(
    ("ca", "logs", "said"),
    [
        (b"", None, "no PEM"),
        (key_pem(STACK.ct), None, "no PEM"),
        (pem(STACK.root.certificate, STACK.ca.certificate), None, "not in order"),
        (pem(*[STACK.root.certificate] * 17), None, "1 to 16"),
        (CHAIN, [], "1 to 16"),
        (CHAIN, [CHAIN], "no PEM of a public key"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(ca: bytes, logs: list[bytes] | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        KeylessTrust.read(ca, logs)
