import json
import os
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fido2.cose import ES256, ES384, CoseKey, EdDSA
from fido2.webauthn import Aaguid, AttestedCredentialData

from signerd.errors import SignerdError
from signerd_key_fido2.credentials import Enrolled, Raw, Store, Wrapped, kind_of, p256, spki_of
from signerd_key_fido2.folder import Folder

KEYS = {
    "FIDO2-ES256": (ES256, ec.generate_private_key(ec.SECP256R1())),
    "FIDO2-Ed25519": (EdDSA, ed25519.Ed25519PrivateKey.generate()),
}


def spki(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


P256 = spki(KEYS["FIDO2-ES256"][1])
ENROLLED = Enrolled(
    b"id", P256, "signer.example", "", user_verification=True, counter=3, aaguid="a", transports=("usb",),
    attestation="packed", statement=b"\xa0",
)  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return Store(Folder(str(tmp_path / "state")))


def refused(code, reason, method, *args):
    with pytest.raises(SignerdError) as caught:
        method(*args)
    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_what_is_kept_is_loaded(store):
    assert store.is_free("fido2:alice")
    path = store.keep("fido2:alice", ENROLLED)
    assert path.endswith("/state/credential-alice.json")
    assert not store.is_free("fido2:alice")
    assert store.load("fido2:alice") == ENROLLED
    assert (ENROLLED.algorithm, ENROLLED.credential.user_verification) == ("FIDO2-ES256", True)


def test_a_wrapped_key_is_another_file_and_has_its_own_public_half(store):
    other = spki(ec.generate_private_key(ec.SECP256R1()))
    held = Enrolled(
        **{name: getattr(ENROLLED, name) for name in ENROLLED.__struct_fields__ if name != "wrapped"},
        wrapped=Wrapped(other, b"salt", b"nonce", b"sealed", verified=False),
    )
    store.keep("fido2:unwrap/alice", held)
    store.keep("fido2:alice", ENROLLED)
    assert store.load("fido2:unwrap/alice").public.spki == other
    assert store.load("fido2:unwrap/alice").algorithm == "ES256"
    assert [kind_of(f"fido2:{name}") for name in ("unwrap/alice", "alice", "raw/alice")] == [
        "unwrap", "credential", "raw",
    ]  # fmt: skip


def test_a_raw_key_is_another_file_and_has_its_own_public_half(store):
    other = spki(ec.generate_private_key(ec.SECP256R1()))
    held = msgspec.structs.replace(ENROLLED, raw=Raw(other, b"handle", b"", -300, b"object"))
    assert store.keep("fido2:raw/alice", held).endswith("/state/raw-alice.json")
    assert store.is_free("fido2:alice")
    loaded = store.load("fido2:raw/alice")
    assert (loaded, loaded.public.spki, loaded.algorithm) == (held, other, "ES256")
    assert loaded.credential.spki == P256


def test_no_key_is_unwrapped_and_raw(store):
    wrapped, raw = Wrapped(P256, b"", b"", b"", verified=False), Raw(P256, b"", b"", -300, b"")
    for key in ("fido2:alice", "fido2:unwrap/alice", "fido2:raw/alice"):
        store.keep(key, msgspec.structs.replace(ENROLLED, wrapped=wrapped, raw=raw))
        refused("key.backend_fault", "credential_malformed", store.load, key)


def test_nothing_is_overwritten(store):
    store.keep("fido2:alice", ENROLLED)
    refused("key.forbidden", "exists", store.keep, "fido2:alice", ENROLLED)


@pytest.mark.parametrize(
    "key",
    ["", "fido2:", "fido2:.", "fido2:../alice", "fido2:a/b", "fido2:unwrap/", "fido2:unwrap/../a", "file:alice",
     "fido2:raw/", "fido2:raw/unwrap/a",
     "fido2:a\n", "fido2:" + "a" * 65, "fido2:é", "fido2:a\0"],
)  # fmt: skip
def test_what_is_no_reference_leads_to_no_file(store, key):
    for method in (store.load, store.is_free):
        refused("key.not_found", "reference", method, key)


def test_what_is_not_enrolled_is_not_found(store):
    refused("key.not_found", "no_such_key", store.load, "fido2:alice")


@pytest.mark.parametrize(
    "change",
    [{"spki": "AAAA"}, {"counter": "3"}, {"later": 1}, {"rp_id": None}, {"wrapped": {}}, {"raw": {}}, None],
    ids=str,
)
def test_a_file_that_was_changed_is_no_credential(store, tmp_path, change):
    path = store.keep("fido2:alice", ENROLLED)
    held = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps({**held, **change}) if change is not None else "{")
    refused("key.backend_fault", "credential_malformed", store.load, "fido2:alice")


def test_a_credential_is_no_wrapped_key(store, tmp_path):
    path = store.keep("fido2:alice", ENROLLED)
    for kind in ("unwrap", "raw"):
        os.link(path, path.replace("credential-", f"{kind}-"))
        refused("key.backend_fault", "credential_malformed", store.load, f"fido2:{kind}/alice")


@pytest.mark.parametrize("algorithm", KEYS)
def test_the_key_of_a_credential_is_read(algorithm):
    kind, private = KEYS[algorithm]
    cose = kind.from_cryptography_key(private.public_key())
    assert spki_of(AttestedCredentialData.create(Aaguid.NONE, b"id", cose)) == spki(private)


@pytest.mark.parametrize(
    "cose",
    [
        ES384.from_cryptography_key(ec.generate_private_key(ec.SECP384R1()).public_key()),
        CoseKey({1: 2, 3: -7, -1: 1, -2: b"x" * 32, -3: b"y" * 32}),
        CoseKey({1: 2, 3: -7, -1: 1, -2: 7, -3: b"y" * 32}),
        CoseKey({1: 1, 3: -8, -1: 6, -2: b"short"}),
        CoseKey({1: 1, 3: -8, -1: 6}),
        CoseKey({1: 1, 3: -7}),
    ],
    ids=range(6),
)
def test_another_key_is_refused(cose):
    data = AttestedCredentialData.create(Aaguid.NONE, b"id", cose)
    refused("key.backend_fault", "device_protocol", spki_of, data)


@pytest.mark.parametrize(
    "cose", [{}, {1: 2, -1: 2}, {1: 1, -1: 1}, {1: 2, -1: 1, -2: b"x"}, {1: 2, -1: 1, -2: 1, -3: 2}], ids=str
)
def test_what_is_not_on_p256_is_no_key(cose):
    with pytest.raises((ValueError, KeyError, TypeError)):
        p256(cose)
