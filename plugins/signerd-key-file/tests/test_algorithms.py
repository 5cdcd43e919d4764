import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from signerd.errors import Refusal
from signerd.verification.keys import PublicKey
from signerd_key_file.algorithms import RSA_NEW_BITS, make_key, signing_key


@pytest.mark.parametrize(
    ("algorithm", "prehash"), [("ES256", "sha256"), ("ES384", None), ("ES512", None), ("Ed25519", None)]
)
def test_a_new_key_has_the_algorithm_that_was_asked_for(algorithm: str, prehash: str | None) -> None:
    key = signing_key(make_key(algorithm))
    assert (key.algorithm, key.prehash) == (algorithm, prehash)
    assert PublicKey.from_spki(key.spki).algorithm == algorithm


def test_a_new_rsa_key_is_long_enough() -> None:
    made = make_key("RSA-PKCS1-SHA256")
    assert isinstance(made, rsa.RSAPrivateKey)
    assert made.key_size == RSA_NEW_BITS


@pytest.mark.parametrize(("bits", "taken"), [(2040, False), (2048, True), (4096, True), (4104, False)])
def test_rsa_sizes_at_the_limits(bits: int, taken: bool) -> None:  # a column of the table
    key = rsa.generate_private_key(65537, bits)
    if taken:
        assert signing_key(key).prehash == "sha256"
        return
    with pytest.raises(Refusal) as caught:
        signing_key(key)
    assert caught.value.reason == "rsa_size"


def test_a_signing_key_shows_no_secret() -> None:
    text = repr(signing_key(make_key("ES256")))
    assert "sign=" not in text
    assert "Private" not in text
