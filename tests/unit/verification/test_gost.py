import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outside.gost import PARAMETERS, Gost
from signerd.errors import Refusal
from signerd.verification import gost
from signerd.verification.gost import (
    LARGEST_MESSAGE,
    PARAMETER_SETS,
    GostKey,
    ParameterSet,
    check_signable,
    encode_spki,
    gost_key,
)
from signerd.verification.gost_curves import WORTH_A_TABLE, Curve, Multiples
from signerd.verification.keys import PublicKey
from signerd.verification.streebog import Streebog

# RFC 7091, appendix A.1 and A.2: curves of the examples alone, keys, hashes e, signatures.
A1 = Curve(
    p=0x8000000000000000000000000000000000000000000000000000000000000431,
    a=7,
    b=0x5FBFF498AA938CE739B8E022FBAFEF40563F6E6A3472FC2A514C0CE9DAE23B7E,
    q=0x8000000000000000000000000000000150FE8A1892976154C59CFC193ACCF5B3,
    base=(2, 0x08E2A8A0E65147D4BD6316030E16D19C85C97F0A9CA267122B96ABBCEA7E8FC8),
    cofactor=1,
    size=32,
)
A1_POINT = (
    0x7F2B49E270DB6D90D8595BEC458B50C58585BA1D4E9B788F6689DBD8E56FD80B,
    0x26F1B489D6701DD185C8413A977B3CBBAF64D1C593D26627DFFB101A87FF77DA,
)
A1_E = 0x2DFBC1B372D89A1188C09C52E0EEC61FCE52032AB1022E8E67ECE6672B043EE5
A1_SIGNATURE = bytes.fromhex(
    "01456c64ba4642a1653c235a98a60249bcd6d3f746b631df928014f6c5bf9c40"
    "41aa28d2f1ab148280cd9ed56feda41974053554a42767b83ad043fd39dc0493"
)


def number(text: str) -> int:
    return int(text, 16)


A2 = Curve(
    p=number(
        "4531acd1fe0023c7550d267b6b2fee80922b14b2ffb90f04d4eb7c09b5d2d15d"
        "f1d852741af4704a0458047e80e4546d35b8336fac224dd81664bbf528be6373"
    ),
    a=7,
    b=number(
        "1cff0806a31116da29d8cfa54e57eb748bc5f377e49400fdd788b649eca1ac43"
        "61834013b2ad7322480a89ca58e0cf74bc9e540c2add6897fad0a3084f302adc"
    ),
    q=number(
        "4531acd1fe0023c7550d267b6b2fee80922b14b2ffb90f04d4eb7c09b5d2d15d"
        "a82f2d7ecb1dbac719905c5eecc423f1d86e25edbe23c595d644aaf187e6e6df"
    ),
    base=(
        number(
            "24d19cc64572ee30f396bf6ebbfd7a6c5213b3b3d7057cc825f91093a68cd762"
            "fd60611262cd838dc6b60aa7eee804e28bc849977fac33b4b530f1b120248a9a"
        ),
        number(
            "2bb312a43bd2ce6e0d020613c857acddcfbf061e91e5f2c3f32447c259f39b2c"
            "83ab156d77f1496bf7eb3351e1ee4e43dc1a18b91b24640b6dbb92cb1add371e"
        ),
    ),
    cofactor=1,
    size=64,
)
A2_POINT = (
    number(
        "115dc5bc96760c7b48598d8ab9e740d4c4a85a65be33c1815b5c320c854621dd"
        "5a515856d13314af69bc5b924c8b4ddff75c45415c1d9dd9dd33612cd530efe1"
    ),
    number(
        "37c7c90cd40b0f5621dc3ac1b751cfa0e2634fa0503b3d52639f5d7fb72afd61"
        "ea199441d943ffe7f0c70a2759a3cdb84c114e1f9339fdf27f35eca93677beec"
    ),
)
A2_E = number(
    "3754f3cfacc9e0615c4f4a7c4d8dab531b09b6f9c170c533a71d147035b0c591"
    "7184ee536593f4414339976c647c5d5a407adedb1d560c4fc6777d2972075b8c"
)
A2_SIGNATURE = bytes.fromhex(
    "1081b394696ffe8e6585e7a9362d26b6325f56778aadbc081c0bfbe933d52ff5"
    "823ce288e8c4f362526080df7f70ce406a6eeb1f56919cb92a9853bde73e5b4a"
    "2f86fa60a081091a23dd795e1e3c689ee512a3c82ee0dcc2643c78eea8fcacd3"
    "5492558486b20f1c9ec197c90699850260c93bcbcd9c5c3317e19344e173ae36"
)


def key_on(curve: Curve, point: tuple[int, int]) -> GostKey:
    return GostKey(ParameterSet("example", b"", curve), point, b"", Multiples(curve, point))


@pytest.mark.parametrize(
    ("curve", "point", "e", "signature"),
    [(A1, A1_POINT, A1_E, A1_SIGNATURE), (A2, A2_POINT, A2_E, A2_SIGNATURE)],
    ids=["A.1", "A.2"],
)
def test_the_examples_of_rfc_7091(curve: Curve, point: tuple[int, int], e: int, signature: bytes) -> None:
    assert curve.holds(curve.base)
    assert curve.holds(point)
    key = key_on(curve, point)
    digest, half = e.to_bytes(curve.size, "little"), curve.size
    for _ in range(WORTH_A_TABLE + 1):
        assert key.verify_digest(signature, digest)
    s, r = signature[:half], signature[half:]
    assert not key.verify_digest(r + s, digest)
    assert not key.verify_digest(signature[::-1], digest)
    assert not key.verify_digest(s[::-1] + r[::-1], digest)
    assert not key.verify_digest(signature, digest[::-1])
    assert not key.verify_digest(signature, digest[:-1])


@given(st.integers(0, 511))
@settings(max_examples=40, deadline=None)
def test_a_flipped_bit_is_no_signature(bit: int) -> None:
    key = key_on(A1, A1_POINT)
    flipped = (int.from_bytes(A1_SIGNATURE, "big") ^ 1 << bit).to_bytes(64, "big")
    assert not key.verify_digest(flipped, A1_E.to_bytes(32, "little"))


def test_r_and_s_are_above_zero_and_below_the_order() -> None:
    key, digest = key_on(A1, A1_POINT), A1_E.to_bytes(32, "little")
    s, r = int.from_bytes(A1_SIGNATURE[:32], "big"), int.from_bytes(A1_SIGNATURE[32:], "big")
    # s + q has the same meaning modulo q, and would be a second signature.
    for other in ((0, r), (s, 0), (s + A1.q, r), (A1.q, r), (s, A1.q)):
        signature = other[0].to_bytes(32, "big") + other[1].to_bytes(32, "big")
        assert not key.verify_digest(signature, digest)
    for wrong in (b"", A1_SIGNATURE[:-1], A1_SIGNATURE + b"\0", b"\0" + A1_SIGNATURE):
        assert not key.verify_digest(wrong, digest)


def test_a_hash_of_zero_counts_as_one() -> None:
    """RFC 7091, section 6.1, step 2. With s = r · d + k · 1: k = 1 makes r the base's own x."""
    d, curve = 0x1234567, A1
    r = curve.base[0] % curve.q
    s = (r * d + 1) % curve.q
    point = curve.affine(Multiples(curve, curve.base).times(d))
    assert point is not None
    signature = s.to_bytes(32, "big") + r.to_bytes(32, "big")
    key = key_on(curve, point)
    assert key.verify_digest(signature, bytes(32))
    assert key.verify_digest(signature, curve.q.to_bytes(32, "little"))
    assert key.verify_digest(signature, (1).to_bytes(32, "little"))


def public(parameters: ParameterSet) -> GostKey:
    x, y = parameters.curve.base
    size = parameters.curve.size
    return gost_key(encode_spki(parameters, x.to_bytes(size, "little") + y.to_bytes(size, "little")))


@pytest.mark.parametrize("parameters", PARAMETER_SETS, ids=lambda one: one.name)
def test_an_spki_reads_as_it_was_written(parameters: ParameterSet) -> None:
    key = public(parameters)
    assert key.parameters is parameters
    assert key.point == parameters.curve.base
    assert key.hash_name == f"Streebog-{parameters.bits}"
    # The hash is named or left out: one key, and one encoding of it (RFC 9215, section 4.2).
    digest = bytes.fromhex("06082a850307010102") + bytes([parameters.bits // 256 + 1])
    assert (digest in key.spki) is parameters.with_digest
    other = with_parameters(key, parameters.oid + (b"" if parameters.with_digest else digest))
    assert gost_key(other).spki == key.spki


def with_parameters(key: GostKey, parameters: bytes) -> bytes:
    """The SPKI of ``key`` with other parameters of its algorithm."""
    identifier = bytes.fromhex("06082a850307010101") + bytes([key.parameters.bits // 256])
    algorithm = identifier + bytes([0x30, len(parameters)]) + parameters
    at = key.spki.index(b"\x03\x81\x84" if key.parameters.bits == 512 else b"\x03\x43")
    inner = bytes([0x30, len(algorithm)]) + algorithm + key.spki[at:]
    return (bytes([0x30, len(inner)]) if len(inner) < 128 else bytes([0x30, 0x81, len(inner)])) + inner


def reason(der: bytes) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        gost_key(der)
    return caught.value.code, caught.value.reason


MALFORMED = ("request.malformed", "key_malformed")


def test_keys_that_are_refused() -> None:
    by_name = {one.name: one for one in PARAMETER_SETS}
    key = public(by_name["TC26-256-A"])
    oid, wrong = key.parameters.oid, bytes.fromhex("06082a85030701010203")
    assert reason(with_parameters(key, by_name["TC26-512-A"].oid)) == MALFORMED
    assert reason(with_parameters(key, oid + wrong)) == MALFORMED
    assert reason(with_parameters(key, oid + oid)) == MALFORMED
    assert reason(with_parameters(key, b"")) == MALFORMED
    assert reason(with_parameters(key, oid + b"\x05\x00")) == MALFORMED
    # The examples' own curve (RFC 4357, test parameters) is known to everybody and used by nobody.
    example = bytes.fromhex("06072a850302022300")
    assert reason(with_parameters(key, example)) == ("key.algorithm_refused", "curve")
    # A point of another curve, infinity's place, a coordinate that is not reduced.
    assert reason(with_parameters(key, by_name["TC26-256-C"].oid)) == MALFORMED
    assert reason(key.spki[:-64] + bytes(64)) == MALFORMED
    x, y = key.point
    raised = (x + key.parameters.curve.p) % (1 << 256)
    assert reason(key.spki[:-64] + raised.to_bytes(32, "little") + y.to_bytes(32, "little")) == MALFORMED
    # Bits unused, an identifier of the other size, bytes after the end, bytes cut off.
    at = key.spki.index(b"\x03\x43\x00")
    assert reason(key.spki[: at + 2] + b"\x01" + key.spki[at + 3 :]) == MALFORMED
    assert reason(key.spki.replace(bytes.fromhex("2a85030701010101"), bytes.fromhex("2a85030701010102"))) == MALFORMED
    assert reason(key.spki + b"\0") == MALFORMED
    for length in range(len(key.spki)):
        assert reason(key.spki[:length]) == MALFORMED


@given(st.integers(0, 95), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_is_refused_or_another_key(at: int, value: int) -> None:
    spki = public(PARAMETER_SETS[0]).spki
    changed = spki[:at] + bytes([value]) + spki[at + 1 :]
    try:
        key = gost_key(changed)
    except Refusal:
        return
    assert (key.spki == spki) is (changed == spki)


def test_a_message_that_is_too_long_is_refused_before_it_is_hashed() -> None:
    key = public(PARAMETER_SETS[0])
    with pytest.raises(Refusal) as caught:
        key.verify(b"\1" * 64, bytes(LARGEST_MESSAGE + 1))
    assert (caught.value.code, caught.value.reason) == ("verification.failed", "gost_payload_too_large")
    assert not key.verify(b"\1" * 63, bytes(LARGEST_MESSAGE + 1))


def test_what_could_not_be_verified_is_not_signed() -> None:
    check_signable(bytes(LARGEST_MESSAGE))
    with pytest.raises(Refusal) as caught:
        check_signable(bytes(LARGEST_MESSAGE + 1))
    assert (caught.value.code, caught.value.reason) == ("key.forbidden", "gost_payload_too_large")


@pytest.mark.needs("gost-engine")
@pytest.mark.parametrize("name", PARAMETERS)
def test_the_engine_s_signatures(tmp_path: Path, name: str) -> None:
    engine, message = Gost(tmp_path), os.urandom(200)
    private = engine.new_key(name)
    public = PublicKey.from_pem(engine.public(private))
    bits = int(public.algorithm[-3:])
    key = gost_key(public.spki)
    assert key.parameters.name == name
    signature = engine.sign(private, bits, message)
    public.verify(signature, message)
    # The engine reads our encoding of the key too.
    assert engine.verifies(public.pem, bits, signature, message)
    half = len(signature) // 2
    for other in (
        signature[::-1],
        signature[half:] + signature[:half],
        signature[:half][::-1] + signature[half:][::-1],
        signature[:-1],
        signature + b"\0",
        engine.sign(engine.new_key(name), bits, message),
    ):
        with pytest.raises(Refusal) as caught:
            public.verify(other, message)
        assert (caught.value.code, caught.value.reason) == ("verification.failed", "signature_invalid")
    with pytest.raises(Refusal):
        public.verify(signature, message + b"\0")


@pytest.mark.needs("gost-engine")
def test_a_signature_over_another_hash_or_by_another_parameter_set(tmp_path: Path) -> None:
    engine, message = Gost(tmp_path), b"m" * 100
    private = engine.new_key("TC26-256-B")
    public = PublicKey.from_pem(engine.public(private))
    # The curve of CryptoPro-A is that of TC26-256-B: the same point is another key, which signs alike.
    other = next(one for one in PARAMETER_SETS if one.name == "CryptoPro-A")
    twin = PublicKey.from_spki(encode_spki(other, public.spki[-64:]))
    assert twin != public
    assert twin.keyid != public.keyid
    over_sha256 = tmp_path / "sha256"
    over_sha256.write_bytes(hashlib.sha256(message).digest())
    signed = engine.openssl("pkeyutl", "-sign", "-inkey", private, "-in", over_sha256)
    public.verify_prehashed(signed, over_sha256.read_bytes())
    with pytest.raises(Refusal) as caught:
        public.verify(signed, message)
    assert caught.value.reason == "signature_invalid"
    for name in ("TC26-256-A", "TC26-256-C", "TC26-256-D"):
        key = PublicKey.from_pem(engine.public(engine.new_key(name)))
        with pytest.raises(Refusal) as caught:
            key.verify(engine.sign(private, 256, message), message)
        assert caught.value.reason == "signature_invalid"


def test_a_message_is_hashed_once_for_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []

    class Counting(Streebog):
        def __init__(self, size: int, data: bytes | memoryview = b"") -> None:
            hashed.append(size)
            super().__init__(size, data)

    monkeypatch.setattr(gost, "Streebog", Counting)
    message = os.urandom(100)
    for parameters in PARAMETER_SETS:
        for data in (message, memoryview(message)):
            public(parameters).verify(b"\1" * (2 * parameters.curve.size), data)
    assert sorted(hashed) == [32, 64]


def test_a_digest_of_the_key_s_own_hash_verifies_too() -> None:
    key = public(PARAMETER_SETS[0])
    assert key.digest(b"m") == Streebog(32, b"m").digest()
