import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from pkcs11 import KeyType, Mechanism

from signerd.errors import SignerdError
from signerd_conformance.vectors.areas import text_of
from signerd_key_pkcs11.algorithms import RSA, scheme_of


@pytest.mark.parametrize(("algorithm", "width"), [("ES256", 32), ("ES384", 48), ("ES512", 66)])
def test_r_and_s_become_der(algorithm: str, width: int) -> None:
    scheme = scheme_of(algorithm)
    assert (scheme.key_type, scheme.mechanism) == (KeyType.EC, Mechanism.ECDSA)
    for r, s in ((1, 2), (1 << (8 * width - 1), 0x80), (0x7F, (1 << 8 * width) - 1)):
        der = scheme.finish(r.to_bytes(width) + s.to_bytes(width))
        assert decode_dss_signature(der) == (r, s)
    for length in (0, 1, 2 * width - 1, 2 * width + 1, 2 * width + 8):
        with pytest.raises(SignerdError) as caught:
            scheme.finish(b"\x01" * length)
        assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "signature_shape")


@pytest.mark.parametrize("vector", json.loads(text_of("ecdsa-der"))["accept"])
def test_der_is_as_the_published_vectors_have_it(vector: dict[str, str]) -> None:
    made = scheme_of(vector["algorithm"]).finish(bytes.fromhex(vector["raw_hex"]))
    assert made.hex() == vector["der_hex"]


def test_what_is_signed_is_the_digest_by_the_algorithms_own_hash() -> None:
    message = b"message"
    digest = hashlib.sha256(message).digest()
    assert scheme_of("ES256").prepare(digest) == digest
    assert scheme_of("ES384").prepare(message) == hashlib.sha384(message).digest()
    assert scheme_of("ES512").prepare(message) == hashlib.sha512(message).digest()
    assert scheme_of("Ed25519").prepare(message) == message
    assert [scheme_of(name).prehash for name in ("ES256", RSA)] == ["sha256"] * 2
    assert [scheme_of(name).prehash for name in ("ES384", "ES512", "Ed25519")] == [None] * 3


@pytest.mark.parametrize("algorithm", ["ES256", RSA])
@pytest.mark.parametrize("length", [0, 31, 33, 100])
def test_a_message_where_a_digest_is_due_is_refused(algorithm: str, length: int) -> None:
    with pytest.raises(SignerdError) as caught:
        scheme_of(algorithm).prepare(bytes(length))
    assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "digest_length")


def test_rsa_is_padded_as_rfc_8017_has_it() -> None:
    key = rsa.generate_private_key(65537, 2048)
    signature = key.sign(b"message", padding.PKCS1v15(), SHA256())
    recovered = key.public_key().recover_data_from_signature(signature, padding.PKCS1v15(), None)
    assert scheme_of(RSA).prepare(hashlib.sha256(b"message").digest()) == recovered
    assert scheme_of(RSA).mechanism is Mechanism.RSA_PKCS


@pytest.mark.parametrize("name", ["", "es256", "RSA", "ML-DSA-65"])
def test_there_are_no_others(name: str) -> None:
    with pytest.raises(SignerdError) as caught:
        scheme_of(name)
    assert (caught.value.code, caught.value.reason) == ("key.algorithm_refused", "unknown_algorithm")
