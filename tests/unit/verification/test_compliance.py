import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.errors import Refusal
from signerd.verification.compliance import check_key, rsa_bits


def spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


RSA = {bits: spki(rsa.generate_private_key(65537, bits).public_key()) for bits in (2048, 3072)}
P256 = spki(ec.generate_private_key(ec.SECP256R1()).public_key())


def refused(profile: str, algorithm: str, key: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        check_key(profile, algorithm, key)
    assert caught.value.code == "key.algorithm_refused"
    return caught.value.reason


@pytest.mark.parametrize("algorithm", ["RSA-PKCS1-SHA256", "RSA-PSS-SHA256"])
def test_the_key_decides_and_not_its_name(algorithm: str) -> None:
    check_key("fips", algorithm, RSA[2048])
    check_key("eidas", algorithm, RSA[3072])
    assert refused("eidas", algorithm, RSA[2048]) == "rsa_too_short"
    assert refused("gost", algorithm, RSA[3072]) == "outside_profile"


@pytest.mark.parametrize("key", [b"", b"\x30\x00", b"no key", P256, RSA[2048][:-1]])
def test_what_is_no_rsa_key_is_none(key: bytes) -> None:
    with pytest.raises(Refusal, match="key_type"):
        rsa_bits(key)
    if key:
        assert refused("world", "RSA-PKCS1-SHA256", key) == "key_type"


def test_other_keys_are_judged_by_their_algorithm() -> None:
    check_key("kcmvp", "ES256", P256)
    assert refused("kcmvp", "ES384", P256) == "outside_profile"
    check_key("eidas", "ES256", b"")  # a keyless key has no SPKI
