"""GOST keys in a token that is not ours to have: the stand-in module signs by OpenSSL's engine, which also verifies."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from pkcs11 import KeyType, Mechanism

from fakes.gost_tokens import PIN, GostToken
from fakes.tokens import Shim
from outside.parts import the
from signerd.errors import SignerdError
from signerd.verification.gost import LARGEST_MESSAGE
from signerd.verification.keys import PublicKey
from signerd_key_pkcs11.backend import Pkcs11Backend
from signerd_key_pkcs11.gost import ALGORITHMS, attribute_mapper, certified_key, public_key, scheme_in
from signerd_key_pkcs11.settings import GostHabits, SignatureOrder

pytestmark = pytest.mark.needs("gost-engine", "gcc")

KEY = "pkcs11:token=gost;object=k"
MESSAGE = b"DSSEv1 \xc3\xa9 message of no special length"
RAW, RAW_512, HASHING, HASHING_512 = 0x1201, 0xD4321006, 0xD4321008, 0xD4321009
OTHER = {"s-r": "reversed", "reversed": "s-r"}


def refused(made: Pkcs11Backend, key: str = KEY) -> str:
    with pytest.raises(SignerdError) as caught:
        made.describe(key)
    return f"{caught.value.code} {caught.value.reason}"


@pytest.mark.parametrize("mechanisms", ["d4321008,d4321009", "1201,d4321006"], ids=["token hashes", "worker hashes"])
@pytest.mark.parametrize("parameters", ["TC26-256-A", "TC26-256-B", "CryptoPro-A", "TC26-512-A", "TC26-512-C"])
def test_each_parameter_set_signs_what_the_engine_verifies(
    gost_token: GostToken, mechanisms: str, parameters: str
) -> None:
    gost_token.add("k", parameters)
    gost_token.environment["STANDIN_MECHANISMS"] = mechanisms
    made = Pkcs11Backend(gost_token.settings(sessions=2))
    described = made.describe(KEY)
    assert described.algorithm == f"GOST3410-2012-{512 if '512' in parameters else 256}"
    assert (described.prehash, described.hardware) == (None, False)
    key = PublicKey.from_spki(described.spki)
    assert key == PublicKey.from_pem(gost_token.public("k").read_bytes()), "one key has one encoding"
    for message in (b"", MESSAGE, bytes(1000)):
        signed = made.sign(KEY, message)
        assert signed.keyid == described.keyid
        key.verify(signed.signature, message)
        assert gost_token.verifies("k", signed.signature, message)


@pytest.mark.parametrize("order", OTHER)
@pytest.mark.parametrize("parameters", ["TC26-256-A", "TC26-512-A"])
def test_a_byte_order_is_a_property_by_name_and_a_wrong_one_is_found_out(
    gost_token: GostToken, order: str, parameters: str
) -> None:
    gost_token.add("k", parameters)
    if order == "reversed":
        gost_token.environment["STANDIN_REVERSED"] = "1"
    made = Pkcs11Backend(gost_token.settings(gost={"signature": order}))
    assert gost_token.verifies("k", made.sign(KEY, MESSAGE).signature, MESSAGE)
    wrong = Pkcs11Backend(gost_token.settings(gost={"signature": OTHER[order]}))
    assert refused(wrong) == "key.backend_fault byte_order"


def test_a_token_that_wants_the_digests_identifier_is_given_it(gost_token: GostToken) -> None:
    gost_token.environment["STANDIN_WANTS_OID"] = "1"
    gost_token.add("k")
    gost_token.add("l", "TC26-512-A")
    for name in ("k", "l"):
        key = f"pkcs11:token=gost;object={name}"
        made = Pkcs11Backend(gost_token.settings(gost={"digest_parameter": True}))
        assert gost_token.verifies(name, made.sign(key, MESSAGE).signature, MESSAGE)
        assert refused(Pkcs11Backend(gost_token.settings()), key) == "key.algorithm_refused mechanism_refused"


@pytest.mark.parametrize("mechanisms", ["1041", "d4321009", "d4321006,d4321009"])
def test_a_token_without_the_mechanism(gost_token: GostToken, mechanisms: str) -> None:
    gost_token.add("k")
    gost_token.environment["STANDIN_MECHANISMS"] = mechanisms
    assert refused(Pkcs11Backend(gost_token.settings())) == "key.algorithm_refused mechanism_missing"


def test_a_token_that_lists_a_mechanism_and_refuses_it(gost_token: GostToken) -> None:
    gost_token.add("k")
    gost_token.environment["STANDIN_REFUSES"] = "1"
    assert refused(Pkcs11Backend(gost_token.settings())) == "key.algorithm_refused mechanism_refused"


def test_a_public_key_in_an_octet_string_is_read(gost_token: GostToken) -> None:
    gost_token.environment["STANDIN_WRAPS"] = "1"
    gost_token.add("k")
    gost_token.add("l", "TC26-512-A")
    for name in ("k", "l"):
        described = Pkcs11Backend(gost_token.settings()).describe(f"pkcs11:token=gost;object={name}")
        assert PublicKey.from_spki(described.spki) == PublicKey.from_pem(gost_token.public(name).read_bytes())


@pytest.mark.parametrize(
    ("algorithm", "options", "reason"),
    [
        ("gost2001", "paramset:A", "key_type"),
        ("RSA", "rsa_keygen_bits:2048", "key_type"),
        ("gost2012_256", "paramset:B", "curve"),
    ],
)
def test_keys_of_another_type(gost_token: GostToken, algorithm: str, options: str, reason: str) -> None:
    path = gost_token.keys / "k.pem"
    gost_token.openssl.openssl("genpkey", "-algorithm", algorithm, "-pkeyopt", options, "-out", path)
    assert refused(Pkcs11Backend(gost_token.settings())) == f"key.algorithm_refused {reason}"


def test_a_certificate_is_a_chain_and_shows_the_same_key(gost_token: GostToken) -> None:
    gost_token.add("k", "TC26-512-A")
    made = Pkcs11Backend(gost_token.settings())
    bare = made.describe(KEY)
    der = gost_token.certify("k")
    again = GostToken(gost_token.base, gost_token.module)  # a module reads its folder once
    described = Pkcs11Backend(again.settings()).describe(KEY)
    assert (described.spki, described.chain) == (bare.spki, (der,))
    assert certified_key(x509.load_der_x509_certificate(der)) == bare.spki


def test_a_certificate_of_another_kind_of_key_has_none_of_these(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout k -subj /CN=k -outform DER -out c"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    assert certified_key(x509.load_der_x509_certificate((tmp_path / "c").read_bytes())) is None


def test_a_message_that_nobody_could_verify_is_not_hashed_here(gost_token: GostToken) -> None:
    prepare = scheme_in({RAW}, "GOST3410-2012-256", GostHabits()).prepare
    with pytest.raises(SignerdError) as caught:
        prepare(bytes(LARGEST_MESSAGE + 1))
    assert (caught.value.code, caught.value.reason) == ("key.forbidden", "gost_payload_too_large")


def test_a_token_that_hashes_is_preferred() -> None:
    for offered, number, number_512 in (
        ({RAW, RAW_512, HASHING, HASHING_512}, HASHING, HASHING_512),
        ({RAW, RAW_512}, RAW, RAW_512),
    ):
        chosen = [scheme_in(offered, name, GostHabits()).mechanism for name in ALGORITHMS]
        assert chosen == [number, number_512]
        assert all(isinstance(each, Mechanism) for each in chosen)
    assert list(ALGORITHMS) == ["GOST3410-2012-256", "GOST3410-2012-512"]


@pytest.mark.parametrize("order", list(SignatureOrder))
def test_a_signature_of_another_length_is_none(order: SignatureOrder) -> None:
    finish = scheme_in({RAW}, "GOST3410-2012-256", GostHabits(order)).finish
    whole = bytes(range(64))
    assert finish(whole) == (whole if order is SignatureOrder.S_R else whole[::-1])
    for length in (0, 63, 65, 128):
        with pytest.raises(SignerdError) as caught:
            finish(bytes(length))
        assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "signature_shape")


def test_key_types_of_tc26_are_read_and_others_stay_unknown() -> None:
    unpack = attribute_mapper().unpack_attributes
    key_type = 0x100
    assert unpack(key_type, (0x30).to_bytes(8, "little")) is KeyType.GOSTR3410
    assert unpack(key_type, (0xD4321003).to_bytes(8, "little")) == 0xD4321003
    with pytest.raises(ValueError, match="is not a valid KeyType"):
        unpack(key_type, (0xD4321004).to_bytes(8, "little"))


def test_a_public_key_of_another_length_is_none() -> None:
    parameters = bytes.fromhex("06092a8503070102010101")
    for length in (0, 63, 65, 66, 128):
        with pytest.raises(ValueError):
            public_key(KeyType.GOSTR3410, parameters, None, bytes(length))


@pytest.mark.needs("pkcs11-tool")
def test_a_second_reader_knows_these_numbers(gost_token: GostToken) -> None:
    gost_token.add("k")
    gost_token.add("l", "TC26-512-A")
    command = [the("pkcs11-tool"), "--module", gost_token.module, "--login", "--pin", PIN, "-O", "-M"]
    shown = subprocess.run(
        command, env={**os.environ, **gost_token.environment}, check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert {"GOSTR3410", "GOSTR3410_512", "GOSTR3410-WITH-GOSTR3411-12-256", "GOSTR3410-WITH-GOSTR3411-12-512"} <= set(
        shown.split()
    )
    assert len(re.findall("Private Key Object; GOSTR3410-2012-(256|512)", shown)) == 2


def test_pairs_are_made_by_the_vendors_tools(gost_token: GostToken) -> None:
    gost_token.add("k")
    made = Pkcs11Backend(gost_token.settings())
    for call in (lambda: made.generate(f"{KEY}2", "GOST3410-2012-256"), lambda: made.rotate(KEY, "")):
        with pytest.raises(SignerdError) as caught:
            call()
        assert (caught.value.code, caught.value.reason) == ("key.algorithm_refused", "unknown_algorithm")


def test_a_loss_is_made_good_once(gost_token: GostToken, shim_file: Path) -> None:
    gost_token.add("k")
    shim = Shim(gost_token, shim_file)
    made = Pkcs11Backend(shim.settings())
    described = made.describe(KEY)
    for loss in ("0xb3", "0x30", "0x82"):
        shim.fail("C_Sign", loss)
        assert gost_token.verifies("k", made.sign(KEY, MESSAGE).signature, MESSAGE)
    assert made.describe(KEY) == described
