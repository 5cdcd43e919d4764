import os
from pathlib import Path

import pytest

from outside.gost import Gost
from signerd.errors import SignerdError
from signerd.verification.gost import LARGEST_MESSAGE, PARAMETER_SETS, gost_key
from signerd.verification.keys import PublicKey
from signerd_key_gost.library import library
from signerd_key_gost.private_key import LAYOUT, PARAMETERS, PrivateKey, make_key, read_key

pytestmark = pytest.mark.needs("gost-engine")
SETS = [(algorithm, name) for algorithm, names in PARAMETERS.items() for name in names]


@pytest.fixture
def gost(tmp_path: Path) -> Gost:
    return Gost(tmp_path)


def told(text: bytes, password: bytes | None = None) -> str:
    with pytest.raises(SignerdError) as caught:
        read_key(library(), text, lambda: password)
    return f"{caught.value.code} {caught.value.reason}"


@pytest.mark.parametrize(("algorithm", "name"), SETS)
def test_a_new_key_signs_what_openssl_verifies(gost: Gost, algorithm: str, name: str) -> None:
    made = make_key(library(), algorithm, name)
    assert made.public.algorithm == algorithm
    assert gost_key(made.public.spki).parameters.name == name
    bits, message = int(algorithm[-3:]), os.urandom(500)
    signature = made.sign(message)
    assert len(signature) == bits // 4
    assert gost.verifies(made.public.pem, bits, signature, message)
    assert not gost.verifies(made.public.pem, bits, signature, message + b"\0")
    made.public.verify(signature, message)


def test_every_parameter_set_of_the_issue_can_be_made() -> None:
    assert {name for _, name in SETS} | {"CryptoPro-XchA"} == {one.name for one in PARAMETER_SETS}


def test_a_signature_is_s_and_then_r() -> None:
    """The halves by name: r is the x of a point, s the number that no other r fits."""
    assert LAYOUT == "s || r, each big-endian"
    made = make_key(library(), "GOST3410-2012-256", "TC26-256-A")
    order = gost_key(made.public.spki).parameters.curve.q
    assert order < 1 << 255
    for _ in range(8):
        signature = made.sign(b"m")
        # Below an order of 255 bits each half begins with a small byte, if it is big-endian.
        assert signature[0] < 0x40
        assert signature[32] < 0x40
        made.public.verify(signature, b"m")
        with pytest.raises(SignerdError):
            made.public.verify(signature[32:] + signature[:32], b"m")


@pytest.mark.parametrize("password", [None, b"correct horse", b"\xff" * 1024])
def test_a_written_key_is_read_again_by_us_and_by_openssl(gost: Gost, password: bytes | None) -> None:
    made = make_key(library(), "GOST3410-2012-512", "TC26-512-C")
    text = made.pem(password)
    assert (b"ENCRYPTED" in text) is (password is not None)
    assert read_key(library(), text, lambda: password).public == made.public
    (gost.folder / "key.pem").write_bytes(text)
    secret = gost.folder / "password"
    secret.write_bytes(password or b"none")
    if password != b"\xff" * 1024:  # the command line reads lines of less
        public = gost.openssl("pkey", "-in", gost.folder / "key.pem", "-passin", f"file:{secret}", "-pubout")
        assert PublicKey.from_pem(public) == made.public


def test_keys_of_openssl_s_are_read(gost: Gost) -> None:
    for name in ("CryptoPro-A", "CryptoPro-XchA", "TC26-512-A"):
        path = gost.new_key(name)
        key = read_key(library(), path.read_bytes(), lambda: None)
        assert key.public == PublicKey.from_pem(gost.public(path))
        assert gost.verifies(key.public.pem, int(key.public.algorithm[-3:]), key.sign(b"m"), b"m")


def test_files_that_are_no_key(gost: Gost) -> None:
    good = gost.new_key("TC26-256-A").read_bytes()
    assert told(b"") == "key.backend_fault file_format"
    assert told(good + good) == "key.backend_fault file_format"
    assert told(good.replace(b"PRIVATE", b"PUBLIC")) == "key.backend_fault file_format"
    assert told(b"-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n") == "key.backend_fault file_format"
    lines = good.splitlines(keepends=True)
    body = b"".join(lines[1:-1]).replace(b"\n", b"")
    for cut in range(0, len(body), 4):
        text = lines[0] + body[:cut] + b"\n" + lines[-1]
        assert told(text) == "key.backend_fault file_format"
    dice = bytearray(body)
    dice[20:24] = b"////"
    assert told(lines[0] + bytes(dice) + b"\n" + lines[-1]).startswith("key.")


def test_keys_of_other_kinds(gost: Gost) -> None:
    for arguments in (
        ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
        ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        ("-algorithm", "ED25519"),
        ("-algorithm", "X25519"),
        ("-algorithm", "gost2001", "-pkeyopt", "paramset:A"),
        # The parameters of the standards' examples, and two that only agree on keys or that nobody asked for.
        ("-algorithm", "gost2012_256", "-pkeyopt", "paramset:0"),
        ("-algorithm", "gost2012_256", "-pkeyopt", "paramset:B"),
    ):
        text = gost.openssl("genpkey", *arguments)
        assert told(text).startswith("key.algorithm_refused"), arguments


def der(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content if len(content) < 128 else bytes([tag, 0x81, len(content)]) + content


def test_a_private_number_of_another_size(gost: Gost) -> None:
    for name, size, number in (("TC26-256-A", 32, b"\1"), ("TC26-512-C", 64, b"\2")):
        good = gost.openssl("pkey", "-in", gost.new_key(name), "-outform", "DER")
        identifier = good[good.index(b"\x30", 3) : -size - 2]
        assert identifier[10:12] == b"\x01" + number
        below = gost_key(make_key(library(), f"GOST3410-2012-{8 * size}", name).public.spki).parameters.curve.q - 1
        cases = {
            b"": "file_format",
            b"\1": "file_format",
            b"\1" * (size - 1): "file_format",
            b"\1" * (size + 1): "file_format",
            b"\1" * 2 * size: "file_format",
            bytes(size): "file_format",
            (below + 1).to_bytes(size, "little"): "file_format",
            b"\xff" * size: "file_format",
            below.to_bytes(size, "little"): "",
            b"\1" + bytes(size - 1): "",
        }
        for octets, reason in cases.items():
            private = der(0x30, b"\x02\x01\x00" + identifier + der(0x04, octets))
            text = gost.openssl("base64", stdin=private)
            block = b"-----BEGIN PRIVATE KEY-----\n" + text + b"-----END PRIVATE KEY-----\n"
            if reason:
                assert told(block) == f"key.backend_fault {reason}", octets
            else:
                read_key(library(), block, lambda: None).sign(b"m")


def test_passwords(gost: Gost) -> None:
    text = make_key(library(), "GOST3410-2012-256", "TC26-256-A").pem(b"right")
    assert told(text) == "key.backend_fault password_missing"
    assert told(text, b"") == "key.backend_fault password_missing"
    assert told(text, b"wrong") == "key.backend_fault password_wrong"
    lines = text.splitlines(keepends=True)
    assert told(b"".join(lines[:2] + lines[3:]), b"right") == "key.backend_fault file_format"


def test_what_no_verifier_takes_is_not_signed() -> None:
    made = make_key(library(), "GOST3410-2012-256", "TC26-256-A")
    with pytest.raises(SignerdError) as caught:
        made.sign(bytes(LARGEST_MESSAGE + 1))
    assert (caught.value.code, caught.value.reason) == ("key.forbidden", "gost_payload_too_large")


def test_an_algorithm_that_is_not_made() -> None:
    with pytest.raises(SignerdError) as caught:
        make_key(library(), "ES256", "TC26-256-A")
    assert (caught.value.code, caught.value.reason) == ("key.algorithm_refused", "unknown_algorithm")


def test_an_engine_that_signs_otherwise_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """With halves swapped, say, as other libraries have it."""
    sign = PrivateKey.sign
    monkeypatch.setattr(PrivateKey, "sign", lambda self, message: (s := sign(self, message))[32:] + s[:32])
    with pytest.raises(SignerdError) as caught:
        make_key(library(), "GOST3410-2012-256", "TC26-256-A")
    assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "public_key_mismatch")
