import base64
import hashlib
import json
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from signerd.errors import Refusal
from signerd.verification.fido2 import (
    LARGEST,
    Assertion,
    Credential,
    decode_assertion,
    encode_assertion,
    verify_assertion,
)

PAE = hashlib.sha256(b"DSSEv1 4 type 4 body").digest()
RP, ORIGIN = "signer.example", "https://signer.example"
UP, UV, BE, BS, AT, ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80
P256, EDWARDS = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()


def spki(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(key, message):
    return key.sign(message) if key is EDWARDS else key.sign(message, ec.ECDSA(SHA256()))


CREDENTIAL = Credential(spki(P256), RP, ORIGIN, user_verification=False)


def data(flags=UP, counter=5, rp_id=RP, extensions=b""):
    return hashlib.sha256(rp_id.encode()).digest() + struct.pack(">BI", flags, counter) + extensions


def client_data(digest=PAE, **other):
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return json.dumps({"type": "webauthn.get", "challenge": challenge, "origin": ORIGIN, **other}).encode()


def ctap2(authenticator_data=None, digest=PAE, key=P256):
    authenticator_data = authenticator_data or data()
    return encode_assertion("ctap2", authenticator_data, b"", sign(key, authenticator_data + digest))


def webauthn(text=None, authenticator_data=None):
    text, authenticator_data = text or client_data(), authenticator_data or data()
    signature = sign(P256, authenticator_data + hashlib.sha256(text).digest())
    return encode_assertion("webauthn", authenticator_data, text, signature)


def refused(sig, reason, credential=CREDENTIAL, last_counter=0, digest=PAE):
    with pytest.raises(Refusal) as caught:
        verify_assertion(sig, digest, credential, last_counter)
    assert (caught.value.code, caught.value.reason) == ("verification.failed", reason)


@pytest.mark.parametrize("made", [ctap2, webauthn])
def test_an_assertion_over_the_pae_is_accepted(made):
    assertion = verify_assertion(made(), PAE, CREDENTIAL, 4)
    assert (assertion.counter, assertion.user_present, assertion.user_verified) == (5, True, False)
    assert assertion.fmt == made.__name__


def test_an_ed25519_credential_is_accepted():
    credential = replace(CREDENTIAL, spki=spki(EDWARDS))
    assert verify_assertion(ctap2(key=EDWARDS), PAE, credential, 0).user_present


def test_user_verification_is_accepted_where_it_is_demanded():
    credential = replace(CREDENTIAL, user_verification=True)
    assert verify_assertion(ctap2(data(UP | UV)), PAE, credential, 0).user_verified


@pytest.mark.parametrize("made", [ctap2, webauthn])
def test_what_another_relying_party_got_is_refused(made):
    refused(made(authenticator_data=data(rp_id="evil.example")), "rp_id")


@pytest.mark.parametrize("made", [ctap2, webauthn])
def test_what_was_signed_without_a_touch_is_refused(made):
    refused(made(authenticator_data=data(flags=UV)), "no_user_presence")


def test_a_touch_is_not_enough_where_the_user_must_be_verified():
    refused(ctap2(), "no_user_verification", replace(CREDENTIAL, user_verification=True))


@pytest.mark.parametrize(("counter", "last"), [(5, 5), (4, 5), (0, 5)])
def test_a_counter_that_does_not_advance_is_refused(counter, last):
    refused(ctap2(data(counter=counter)), "counter_back", last_counter=last)


def test_an_authenticator_without_a_counter_stays_at_zero():
    assert verify_assertion(ctap2(data(counter=0)), PAE, CREDENTIAL, 0).counter == 0


def test_a_counter_that_nobody_signed_is_no_reason():
    genuine = decode_assertion(ctap2())
    refused(encode_assertion("ctap2", data(counter=1), b"", genuine.signature), "signature_invalid", last_counter=5)


def test_another_credential_of_the_same_relying_party_is_refused():
    refused(ctap2(key=ec.generate_private_key(ec.SECP256R1())), "signature_invalid")
    refused(ctap2(key=EDWARDS), "signature_not_der")


def test_an_assertion_over_another_pae_is_refused():
    other = hashlib.sha256(b"DSSEv1 4 type 5 other").digest()
    refused(ctap2(), "signature_invalid", digest=other)
    refused(webauthn(), "challenge", digest=other)


def test_one_format_is_not_taken_for_the_other():
    genuine = decode_assertion(webauthn())
    refused(encode_assertion("ctap2", genuine.authenticator_data, b"", genuine.signature), "signature_invalid")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (client_data(type="webauthn.create"), "client_data"),
        (client_data(crossOrigin=True), "client_data"),
        (client_data(crossOrigin=0), "client_data"),
        (client_data(topOrigin="https://evil.example"), "client_data"),
        (client_data(origin="https://evil.example"), "origin"),
        (client_data(origin=None), "origin"),
        (client_data(challenge=None), "challenge"),
        (client_data(challenge=base64.urlsafe_b64encode(PAE).decode()), "challenge"),
        (b"[]", "client_data"),
        (b"\xff", "client_data"),
        (b"[" * 5000, "client_data"),
        (client_data()[:-1] + b', "origin": "https://signer.example"}', "client_data"),
    ],
    ids=lambda value: value[-24:] if isinstance(value, bytes) else value,
)
def test_client_data_that_says_something_else_is_refused(text, reason):
    refused(webauthn(text), reason)


def test_further_members_of_client_data_are_ignored():
    assert verify_assertion(webauthn(client_data(crossOrigin=False, later=[1])), PAE, CREDENTIAL, 0)


def test_without_an_origin_no_browser_is_believed():
    refused(webauthn(client_data(origin="")), "origin", replace(CREDENTIAL, origin=""))


def test_a_credential_of_another_algorithm_is_refused():
    key = rsa.generate_private_key(65537, 2048)
    refused(ctap2(), "credential_algorithm", replace(CREDENTIAL, spki=spki(key)))


def test_extensions_are_signed_and_decide_nothing():
    extended = data(UP | ED, extensions=b"\xa1\x6bhmac-secret\x41\x00")
    assert verify_assertion(ctap2(extended), PAE, CREDENTIAL, 0).authenticator_data == extended


@pytest.mark.parametrize(
    "authenticator_data",
    [
        data()[:-1],
        data() + b"\0",
        data(UP | ED),
        data(UP | ED) + b"\x80",
        data(UP) + b"\xa0",
        data(UP | AT) + b"\xa0",
        data(UP | AT | ED) + b"\xa0",
        data(UP | BS),
    ],
    ids=bytes.hex,
)
def test_authenticator_data_that_its_flags_do_not_describe_is_malformed(authenticator_data):
    with pytest.raises(Refusal) as caught:
        ctap2(authenticator_data)
    assert caught.value.reason == "assertion_malformed"


def test_backed_up_credentials_are_accepted():
    assert verify_assertion(ctap2(data(UP | BE | BS)), PAE, CREDENTIAL, 0)


MALFORMED = {
    "nothing": b"",
    "no array": b"\x00",
    "three parts": b"\x83" + ctap2()[1:],
    "five parts": b"\x85" + ctap2()[1:] + b"\x40",
    "indefinite array": b"\x9f" + ctap2()[1:] + b"\xff",
    "tagged": b"\xd9\xd9\xf7" + ctap2(),
    "bytes after it": ctap2() + b"\0",
    "cut short": ctap2()[:-1],
    "another format": b"\x84\x66packed" + ctap2()[7:],
    "format as bytes": b"\x84\x45ctap2" + ctap2()[7:],
    "longer head": b"\x84\x78\x05ctap2" + ctap2()[7:],
    "longest head": b"\x84\x7b\0\0\0\0\0\0\0\x05ctap2" + ctap2()[7:],
    "reserved head": b"\x84\x7cctap2" + ctap2()[7:],
    "head without length": b"\x84\x65ctap2\x58",
    "two bytes of length where one does": b"\x84\x65ctap2\x59\0\x25" + ctap2()[9:],
    "no signature": b"\x84\x65ctap2\x58\x25" + data() + b"\x40\x40",
    "ctap2 with client data": b"\x84\x65ctap2\x58\x25" + data() + b"\x42{}\x41\0",
    "webauthn without": b"\x84\x68webauthn\x58\x25" + data() + b"\x40\x41\0",
    "too large": b"\x84\x65ctap2\x58\x25" + data() + b"\x40\x59\x40\x00" + b"\0" * LARGEST,
}


@pytest.mark.parametrize("sig", MALFORMED.values(), ids=MALFORMED)
def test_anything_but_the_one_encoding_is_malformed(sig):
    refused(sig, "assertion_malformed")


@pytest.mark.parametrize("size", [1, 23, 24, 255, 256, 8000])
def test_each_length_has_the_encoding_of_another_implementation(size):
    cbor2 = pytest.importorskip("cbor2")
    parts = ["webauthn", data(), b"{" * size, b"s" * size]
    encoded = encode_assertion(*parts)
    assert encoded == cbor2.dumps(parts, canonical=True)
    assert decode_assertion(encoded) == Assertion(*parts, 5, user_present=True, user_verified=False)


@pytest.mark.parametrize("size", [LARGEST - 48, LARGEST, 2**16])
def test_what_would_be_too_large_is_not_encoded(size):
    with pytest.raises(Refusal, match="assertion_malformed"):
        encode_assertion("ctap2", data(), b"", b"s" * size)


@given(st.binary(max_size=120) | st.binary(max_size=120).map(lambda rest: b"\x84\x65ctap2" + rest))
def test_whatever_the_bytes_are_they_are_refused(sig):
    with pytest.raises(Refusal):
        verify_assertion(sig, PAE, CREDENTIAL, 0)


@given(st.integers(0, len(webauthn()) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(where, change):
    sig = bytearray(SIG)
    sig[where % len(SIG)] ^= change
    with pytest.raises(Refusal):
        verify_assertion(bytes(sig), PAE, CREDENTIAL, 0)


def test_a_digest_of_another_length_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="32 bytes"):
        verify_assertion(ctap2(), b"short", CREDENTIAL, 0)


SIG = webauthn()
