"""What lies on a token, put there by pkcs11-tool: keys twice, public keys and certificates of the right and the wrong
key."""

import datetime
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)
from pkcs11 import KeyType, Mechanism, MechanismFlag, SlotFlag

from fakes.tokens import PIN, SoftHsm
from signerd.errors import SignerdError
from signerd_key_pkcs11.backend import Pkcs11Backend
from signerd_key_pkcs11.library import LockingLibrary
from signerd_key_pkcs11.objects import find_private, made_in_hardware
from signerd_key_pkcs11.uri import parse

pytestmark = pytest.mark.needs("softhsm2", "pkcs11-tool")

KEY = "pkcs11:token=demo;object=k"
SHORT = 1024
FROM = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
CA = ec.generate_private_key(ec.SECP256R1())
ROOT = ec.generate_private_key(ec.SECP256R1())


def spki(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def write(hsm: SoftHsm, kind: str, data: bytes, label: str = "k", identifier: str = "01", *more: str) -> None:
    path = hsm.base / "object.der"
    path.write_bytes(data)
    arguments = ["--write-object", str(path), "--type", kind, "--label", label]
    hsm.tool(*arguments, *(["--id", identifier] if identifier else []), *more)


def private(hsm: SoftHsm, key: PrivateKeyTypes, label: str = "k", identifier: str = "01", *more: str) -> None:
    data = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    write(hsm, "privkey", data, label, identifier, "--usage-sign", *more)


def certificate(subject: PublicKeyTypes, name: str, issuer: str = "ca", signer: object = CA, days: int = 0) -> bytes:
    def called(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    begin = FROM + datetime.timedelta(days=days)
    built = x509.CertificateBuilder().subject_name(called(name)).issuer_name(called(issuer))
    built = built.public_key(subject).serial_number(x509.random_serial_number())  # type: ignore[arg-type]  # any key
    built = built.not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=3650))
    return built.sign(signer, SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]  # a private key


def backend(hsm: SoftHsm) -> Pkcs11Backend:
    return Pkcs11Backend(hsm.settings())


def refused(hsm: SoftHsm, key: str = KEY) -> str:
    with pytest.raises(SignerdError) as caught:
        backend(hsm).describe(key)
    return f"{caught.value.code} {caught.value.reason}"


def test_two_keys_of_one_label_are_told_apart_by_their_id(hsm: SoftHsm) -> None:
    first, second = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
    for key, identifier in ((first, "01"), (second, "02")):
        private(hsm, key, "k", identifier)
        write(hsm, "pubkey", spki(key), "k", identifier)
    assert refused(hsm) == "key.forbidden ambiguous"
    assert backend(hsm).describe(f"{KEY};id=%01").spki == spki(first)
    assert backend(hsm).describe(f"{KEY};id=%02").spki == spki(second)
    assert refused(hsm, f"{KEY};id=%03") == "key.not_found no_such_key"
    assert refused(hsm, "pkcs11:token=demo;object=K") == "key.not_found no_such_key"


def test_the_public_key_is_the_one_that_the_private_key_proves(hsm: SoftHsm) -> None:
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    private(hsm, key)
    assert refused(hsm) == "key.backend_fault public_key_missing"
    write(hsm, "pubkey", spki(other))
    assert refused(hsm) == "key.backend_fault public_key_mismatch"
    write(hsm, "pubkey", spki(key), "k", "07")
    assert backend(hsm).describe(KEY).spki == spki(key), "found by its label, and proved"


def test_a_private_rsa_key_has_its_public_half_in_it(hsm: SoftHsm) -> None:
    key = rsa.generate_private_key(65537, 2048)
    private(hsm, key)
    assert backend(hsm).describe(KEY).spki == spki(key)


def test_its_certificate_may_be_all_that_shows_the_public_key(hsm: SoftHsm) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private(hsm, key)
    write(hsm, "cert", certificate(key.public_key(), "leaf"), "other label")
    assert backend(hsm).describe(KEY).spki == spki(key)


def test_a_chain_is_the_youngest_own_certificate_and_its_issuers_without_the_root(hsm: SoftHsm) -> None:
    made = backend(hsm).generate(f"{KEY};id=%01", "ES256")
    assert made.chain == ()
    public = load_der_public_key(made.spki)
    old, new = certificate(public, "old"), certificate(public, "new", days=30)
    authority = certificate(CA.public_key(), "ca", "root", ROOT)
    root = certificate(ROOT.public_key(), "root", "root", ROOT)
    for data, label, identifier in ((old, "k", "01"), (new, "k", ""), (authority, "ca", "0a"), (root, "root", "0b")):
        write(hsm, "cert", data, label, identifier)
    described = backend(hsm).describe(KEY)
    assert described.chain == (new, authority)
    assert described.keyid == made.keyid


def test_a_certificate_for_another_key_is_told_and_left_out(hsm: SoftHsm, caplog: pytest.LogCaptureFixture) -> None:
    made = backend(hsm).generate(f"{KEY};id=%01", "ES256")
    write(hsm, "cert", certificate(CA.public_key(), "stranger"))
    assert backend(hsm).describe(KEY) == made
    assert "another key's" in caplog.text


def test_an_issuer_of_the_right_name_that_did_not_sign_is_no_issuer(hsm: SoftHsm) -> None:
    made = backend(hsm).generate(f"{KEY};id=%01", "ES256")
    leaf = certificate(load_der_public_key(made.spki), "leaf")
    write(hsm, "cert", leaf)
    write(hsm, "cert", certificate(ROOT.public_key(), "ca", "root", ROOT), "ca", "0a")
    assert backend(hsm).describe(KEY).chain == (leaf,)


def test_rubbish_where_a_certificate_should_be_is_left_out(hsm: SoftHsm, tmp_path: Path) -> None:
    made = backend(hsm).generate(f"{KEY};id=%01", "ES256")
    good = certificate(load_der_public_key(made.spki), "leaf")
    write(hsm, "cert", good)
    stored = [path for path in hsm.tokens.rglob("*.object") if good in path.read_bytes()]
    for path in stored:
        path.write_bytes(path.read_bytes().replace(good, bytes(len(good))))
    assert len(stored) == 1
    assert backend(hsm).describe(KEY) == made


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (lambda: ec.generate_private_key(ec.SECP256K1()), "curve"),
        (lambda: ec.generate_private_key(ec.SECP224R1()), "curve"),
        (lambda: rsa.generate_private_key(65537, SHORT), "rsa_size"),
    ],
)
def test_keys_that_signerd_does_not_sign_with(hsm: SoftHsm, key: object, reason: str) -> None:
    assert callable(key)
    made = key()
    private(hsm, made)
    write(hsm, "pubkey", spki(made))
    assert refused(hsm) == f"key.algorithm_refused {reason}"


def test_a_key_that_wants_its_pin_each_time(hsm: SoftHsm) -> None:
    private(hsm, ec.generate_private_key(ec.SECP256R1()), "k", "01", "--always-auth")
    assert refused(hsm) == "key.forbidden always_authenticate"


def test_a_key_that_is_not_for_signatures(hsm: SoftHsm) -> None:
    os.environ.update(hsm.environment)
    token = next(LockingLibrary(str(hsm.module)).get_tokens(token_label="demo"))
    with token.open(rw=True, user_pin=PIN) as session:
        session.generate_keypair(
            KeyType.RSA, 2048, label="k", store=True, mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN,
            capabilities=MechanismFlag.DECRYPT | MechanismFlag.ENCRYPT,
        )  # fmt: skip
    assert refused(hsm) == "key.forbidden not_for_signing"


class Slot:
    """A slot that says what a test wants of itself; the keys in it are real."""

    def __init__(self, *flags: SlotFlag) -> None:
        self.slot = self
        self.flags = frozenset(flags)


def test_hardware_is_what_the_slot_and_the_key_itself_say(hsm: SoftHsm) -> None:
    own = backend(hsm)
    assert "attest" in own.capabilities
    assert own.generate("pkcs11:token=demo;object=made", "ES256").hardware is False, "a token in files"
    imported = ec.generate_private_key(ec.SECP256R1())
    private(hsm, imported, "imported", "77")
    write(hsm, "pubkey", spki(imported), "imported", "77")
    token = own._tokens.get(parse("pkcs11:token=demo;object=made"))
    made, brought = (
        find_private(token.sessions[0], parse(f"pkcs11:token=demo;object={name}")) for name in ("made", "imported")
    )
    hardware, software = Slot(SlotFlag.HW_SLOT, SlotFlag.TOKEN_PRESENT), Slot(SlotFlag.TOKEN_PRESENT)
    assert made_in_hardware(hardware, made)  # type: ignore[arg-type]  # flags are all that is asked for
    assert not made_in_hardware(software, made)  # type: ignore[arg-type]
    assert not made_in_hardware(hardware, brought)  # type: ignore[arg-type]
