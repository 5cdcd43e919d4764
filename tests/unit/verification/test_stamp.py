import hashlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.sigstore import NOW, Sigstore, der, new_key, oid
from outside.parts import the
from signerd.attestation.bundle import MessageSignature, parse_bundle
from signerd.errors import Refusal
from signerd.verification.stamp import parse_stamp, verify_stamp
from signerd.verification.trusted_root import parse_trusted_root

STACK = Sigstore()
AUTHORITIES = parse_trusted_root(STACK.trusted_root()).timestamp_authorities
MESSAGE = b"signature"
GOOD = STACK.stamp(MESSAGE, embed=True)


def refused(response: bytes, message: bytes = MESSAGE) -> str:
    with pytest.raises(Refusal) as caught:
        verify_stamp(response, message, AUTHORITIES)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


def test_a_good_stamp() -> None:
    assert verify_stamp(GOOD, MESSAGE, AUTHORITIES) == NOW
    assert verify_stamp(STACK.stamp(MESSAGE), MESSAGE, AUTHORITIES) == NOW
    assert verify_stamp(STACK.stamp(MESSAGE, status=1), MESSAGE, AUTHORITIES) == NOW
    assert parse_stamp(GOOD).imprint == hashlib.sha256(MESSAGE).digest()
    assert len(parse_stamp(GOOD).certificates) == 1


def test_what_is_not() -> None:
    assert refused(GOOD, b"other") == "stamp_imprint"
    assert refused(STACK.stamp(MESSAGE, key=new_key())) == "stamp_signature"
    assert refused(STACK.stamp(MESSAGE, status=2)) == "stamp_rejected"
    assert refused(STACK.stamp(MESSAGE, NOW + timedelta(days=60))) == "certificate_expired"
    assert refused(STACK.stamp(MESSAGE, certificate=STACK.root.certificate)) == "stamp_authority_unknown"
    assert refused(STACK.stamp(MESSAGE, commits_to=STACK.root.certificate)) == "stamp_signing_certificate"
    with pytest.raises(Refusal, match="stamp_authority_unknown"):
        verify_stamp(GOOD, MESSAGE, [])
    for data in (b"", b"<html>", GOOD[:-1], GOOD + b"\0", bytes(300_000), der(0x30)):
        assert refused(data) == "stamp_malformed"


def resigned(replace: Callable[[bytes], bytes]) -> bytes:
    """The good stamp with its signed attributes changed, and signed again by the same key."""
    stamp = parse_stamp(GOOD)
    changed = replace(stamp.attributes)
    signature = STACK.tsa_key.sign(changed, ec.ECDSA(SHA256()))
    assert len(changed) == len(stamp.attributes)
    # The signature's own length varies: try until it is the same, so that no length around it changes.
    while len(signature) != len(stamp.signature):
        signature = STACK.tsa_key.sign(changed, ec.ECDSA(SHA256()))
    return GOOD.replace(stamp.attributes[1:], changed[1:]).replace(stamp.signature, signature)


def test_attributes_must_be_of_this_content() -> None:
    assert verify_stamp(resigned(lambda attributes: attributes), MESSAGE, AUTHORITIES) == NOW
    digest = hashlib.sha256(parse_stamp(GOOD).info).digest()
    assert refused(resigned(lambda attributes: attributes.replace(digest, bytes(32)))) == "stamp_malformed"
    kind, other = oid("1.2.840.113549.1.9.16.1.4"), oid("1.2.840.113549.1.9.16.1.5")
    assert refused(resigned(lambda attributes: attributes.replace(kind, other))) == "stamp_malformed"
    commits, unknown = oid("1.2.840.113549.1.9.16.2.47"), oid("1.2.840.113549.1.9.16.2.48")
    assert refused(resigned(lambda attributes: attributes.replace(commits, unknown))) == "stamp_signing_certificate"
    twice = resigned(lambda attributes: attributes.replace(oid("1.2.840.113549.1.9.4"), oid("1.2.840.113549.1.9.3")))
    assert refused(twice) == "stamp_malformed"


def test_algorithms_that_are_not_used() -> None:
    sha256, sha1 = oid("2.16.840.1.101.3.4.2.1"), oid("2.16.840.1.101.3.4.2.9")
    assert refused(GOOD.replace(sha256, sha1)) == "stamp_algorithm"
    with_sha384 = GOOD.replace(oid("1.2.840.10045.4.3.2"), oid("1.2.840.10045.4.3.3"))
    assert refused(with_sha384) == "stamp_algorithm"


@settings(deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_damaged_stamp_says_the_same_time_or_nothing(place: int, damage: int) -> None:
    data = bytearray(GOOD)
    data[place] ^= damage
    try:
        at = verify_stamp(bytes(data), MESSAGE, AUTHORITIES)
    except Refusal:
        return
    # A few bytes around the token are signed by nobody and mean nothing.
    assert at == NOW


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert refused(data).startswith("stamp_")


@pytest.mark.needs("vectors")
def test_stamps_of_the_public_staging_authority() -> None:
    folder = the("vectors") / "sigstore-conformance/bundle-verify"
    for name in ("rekor2-timestamp-with-embedded-cert", "rekor2-timestamp-without-embedded-cert"):
        bundle = parse_bundle((folder / name / "bundle.sigstore.json").read_bytes())
        root = parse_trusted_root((folder / name / "trusted_root.json").read_bytes())
        assert isinstance(bundle.content, MessageSignature)
        at = verify_stamp(bundle.timestamps[0], bundle.content.signature, root.timestamp_authorities)
        assert at.year == 2025
