import hashlib
import os
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from fido2 import cbor
from fido2.cose import ES256, EdDSA
from fido2.webauthn import Aaguid, AttestedCredentialData, AuthenticatorData

from fakes.arkg import derive_private_key
from fakes.preview_sign import SigningKey
from signerd.errors import Fault
from signerd.verification.keys import PublicKey
from signerd_key_fido2.raw import (
    ESP256_SPLIT,
    ESP256_SPLIT_ARKG,
    EXTENSION,
    generated,
    generating,
    signature_of,
    signing,
)

DIGEST = hashlib.sha256(b"PAE").digest()


def made(number=ESP256_SPLIT):
    key = SigningKey(generating(verified=False), (number,))
    return key, *key.told("signer.example")


def response(signed, unsigned):
    return SimpleNamespace(
        auth_data=SimpleNamespace(extensions={EXTENSION: signed}), unsigned_extension_outputs={EXTENSION: unsigned}
    )


def told(public, handle=b"handle"):
    """The attestation object of a signing key that is this one."""
    data = AttestedCredentialData.create(Aaguid.NONE, handle, public)
    held = AuthenticatorData.create(bytes(32), 0x41, 0, bytes(data), None)
    return {7: cbor.encode({1: "none", 2: bytes(held), 3: {}})}


@pytest.mark.parametrize("number", [ESP256_SPLIT, ESP256_SPLIT_ARKG])
def test_what_is_read_is_what_signs(number):
    key, signed, unsigned = made(number)
    held = generated(response(signed, unsigned))
    asked = cbor.decode(cbor.encode(signing(held, DIGEST)))
    assert asked.keys() == ({2, 6} if number == ESP256_SPLIT else {2, 6, 7})
    signature = key.signed(asked, 0x01, ())[6]
    PublicKey.from_spki(held.spki).verify(signature, b"PAE")
    assert (held.algorithm, held.attestation) == (number, unsigned[7])


def test_each_enrolment_derives_another_key():
    _, signed, unsigned = made(ESP256_SPLIT_ARKG)
    one, two = (generated(response(signed, unsigned)) for _ in range(2))
    assert one.handle == two.handle
    assert one.spki != two.spki


def test_a_ticket_is_for_one_seed_and_one_context():
    key, signed, unsigned = made(ESP256_SPLIT_ARKG)
    arguments = cbor.decode(generated(response(signed, unsigned)).arguments)
    ticket, context = arguments[-1], arguments[-2]
    assert derive_private_key(key.private, key.kem, ticket, context)
    with pytest.raises(ValueError, match="another key"):
        derive_private_key(key.private, key.private, ticket, context)
    with pytest.raises(ValueError, match="another key"):
        derive_private_key(key.private, key.kem, ticket, context + b"!")


def test_what_is_asked_for():
    assert generating(verified=False) == {3: [ESP256_SPLIT, ESP256_SPLIT_ARKG], 4: 0b001}
    assert generating(verified=True)[4] == 0b101


P256 = ES256.from_cryptography_key(ec.generate_private_key(ec.SECP256R1()).public_key())
ED25519 = EdDSA.from_cryptography_key(ed25519.Ed25519PrivateKey.generate().public_key())


def seed(changes=None):
    _, _, unsigned = made(ESP256_SPLIT_ARKG)
    held = AuthenticatorData(cbor.decode(unsigned[7])[2])
    return {**held.credential_data.public_key, **(changes or {})}


@pytest.mark.parametrize(
    ("signed", "unsigned"),
    [
        ({}, told(P256)),
        ({3: ESP256_SPLIT}, {}),
        ({3: ESP256_SPLIT}, {7: b""}),
        ({3: ESP256_SPLIT}, {7: b"\xa0"}),
        ({3: ESP256_SPLIT}, {7: 7}),
        ({3: ESP256_SPLIT}, {7: cbor.encode({1: "none", 2: bytes(37), 3: {}})}),
        ({3: ESP256_SPLIT}, told(P256, b"")),
        ({3: ESP256_SPLIT}, told(P256, os.urandom(1024))),
        ({3: ESP256_SPLIT}, told(ED25519)),
        ({3: ESP256_SPLIT}, told({**P256, -2: bytes(32)})),
        ({3: ESP256_SPLIT}, told({**P256, 3: -35})),
        ({3: ESP256_SPLIT}, told(seed())),
        ({3: -9}, told(P256)),
        ({3: None}, told(P256)),
        ({3: ESP256_SPLIT_ARKG}, told(P256)),
        ({3: ESP256_SPLIT_ARKG}, told(seed({-3: -7}))),
        ({3: ESP256_SPLIT_ARKG}, told(seed({-1: {1: 2, 3: -9, -1: 1, -2: bytes(32), -3: bytes(32)}}))),
        ({3: ESP256_SPLIT_ARKG}, told(seed({-2: b""}))),
        ({3: ESP256_SPLIT_ARKG}, told(seed({-2: {}}))),
    ],
    ids=range(19),
)
def test_what_is_no_signing_key_is_said(signed, unsigned):
    with pytest.raises(Fault) as caught:
        generated(response(signed, unsigned))
    assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "device_protocol")


@pytest.mark.parametrize(
    "extensions", [None, {}, {EXTENSION: {}}, {EXTENSION: {6: 6}}, {EXTENSION: 6}, {EXTENSION: {6: ""}}], ids=str
)
def test_what_is_no_signature_is_said(extensions):
    with pytest.raises((KeyError, TypeError)):
        signature_of(SimpleNamespace(auth_data=SimpleNamespace(extensions=extensions)))
