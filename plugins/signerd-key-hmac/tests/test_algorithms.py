"""Each algorithm against its published vectors, and against implementations that are not ours."""

import hashlib
import hmac
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.hmac import HMAC

from signerd.attestation.macs import MACS
from signerd_key_hmac.algorithms import compute

LONG = (
    b"This is a test using a larger than block-size key and a larger than block-size data. "
    b"The key needs to be hashed before being used by the HMAC algorithm."
)
RFC_4231 = [
    (
        bytes([0x0B] * 20), b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
        ("87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
         "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"),
    ),
    (
        b"Jefe", b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        ("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
         "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"),
    ),
    (
        bytes([0xAA] * 20), bytes([0xDD] * 50),
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
        ("fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39"
         "bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb"),
    ),
    (
        bytes(range(1, 26)), bytes([0xCD] * 50),
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        "3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e6801dd23c4a7d679ccf8a386c674cffb",
        ("b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3db"
         "a91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd"),
    ),
    (
        bytes([0xAA] * 131), b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
        ("80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352"
         "6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"),
    ),
    (
        bytes([0xAA] * 131), LONG,
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        "6617178e941f020d351e2f254e8fd32c602420feb0b8fb9adccebb82461e99c5a678cc31e799176d3860e6110c46523e",
        ("e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944"
         "b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58"),
    ),
]  # fmt: skip
"""RFC 4231, 4.2 to 4.8 without 4.6, which cuts its MACs."""
RFC_7836 = {
    "HMAC-GOST3411-2012-256": "a1aa5f7de402d7b3d323f2991c8d4534013137010a83754fd0af6d7cd4922ed9",
    "HMAC-GOST3411-2012-512": "a59bab22ecae19c65fbde6e5f4e9f5d8549d31f037f9df9b905500e171923a77"
    "3d5f1530f2ed7e964cb2eedc29e9ad2f3afe93b2814f79f5000ffc0366c251e6",
}
"""RFC 7836, appendix B, examples of HMAC."""
GM_T_0042 = [
    (
        bytes(range(1, 33)), b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq" * 2,
        "ca05e144ed05d1857840d1f318a4a8669e559fc8391f414485bfdf7bb408963a",
    ),
    (
        bytes(range(1, 38)), bytes([0xCD] * 50),
        "220bf579ded555393f0159f66c99877822a3ecf610d1552154b41d44b94db3ae",
    ),
    (bytes([0x0B] * 32), b"Hi There", "c0ba18c68b90c88bc07de794bfc7d2c8d19ec31ed8773bc2b390c9604e0be11e"),
    (
        b"Jefe", b"what do ya want for nothing?",
        "2e87f1d16862e6d964b50a5200bf2b10b764faa9680a296a2405f24bec39f882",
    ),
]  # fmt: skip
"""GM/T 0042-2015, appendix D.3."""
SHA2 = ("HMAC-SHA256", "HMAC-SHA384", "HMAC-SHA512")


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("vector", RFC_4231, ids=range(6))
def test_sha2_has_the_values_of_rfc_4231(vector: tuple[bytes, bytes, str, str, str], place: int) -> None:
    key, data, *expected = vector
    assert compute(SHA2[place], key, [data]).hex() == expected[place]


@pytest.mark.parametrize("algorithm", RFC_7836)
def test_streebog_has_the_values_of_rfc_7836(algorithm: str) -> None:
    data = bytes.fromhex("0126bdb87800af214341456563780100")
    assert compute(algorithm, bytes(range(32)), [data]).hex() == RFC_7836[algorithm]


@pytest.mark.parametrize(("key", "data", "expected"), GM_T_0042, ids=range(4))
def test_sm3_has_the_values_of_gm_t_0042(key: bytes, data: bytes, expected: str) -> None:
    assert compute("HMAC-SM3", key, [data]).hex() == expected


@pytest.mark.parametrize("algorithm", MACS)
def test_how_a_message_is_cut_changes_nothing(algorithm: str) -> None:
    secret, message = bytes(range(64)), bytes(range(251)) * 3
    whole = compute(algorithm, secret, [message])
    assert len(whole) == MACS[algorithm].mac_bytes
    for size in (1, 63, 64, 65, 1000):
        parts = [memoryview(message)[start : start + size] for start in range(0, len(message), size)]
        assert compute(algorithm, secret, parts) == whole
    assert compute(algorithm, secret, []) == compute(algorithm, secret, [b"", b""])


def test_others_make_the_same() -> None:
    secret, message = bytes(range(64)), bytes(1000)
    for algorithm, name in zip(SHA2, ("sha256", "sha384", "sha512"), strict=True):
        assert compute(algorithm, secret, [message]) == hmac.digest(secret, message, name)
    other = HMAC(secret, SM3())
    other.update(message)
    assert compute("HMAC-SM3", secret, [message]) == other.finalize()


@pytest.mark.parametrize(("algorithm", "name"), [("HMAC-SHA256", "sha256"), ("HMAC-SM3", "sm3")])
def test_openssl_makes_the_same(algorithm: str, name: str, tmp_path: Path) -> None:
    secret = hashlib.sha512(b"secret").digest()
    (tmp_path / "file").write_bytes(bytes(100_000))
    options = ["-mac", "hmac", "-macopt", f"hexkey:{secret.hex()}"]
    command = ["openssl", "dgst", f"-{name}", *options, "-binary", tmp_path / "file"]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    assert compute(algorithm, secret, [bytes(100_000)]) == made


def test_a_name_that_is_none() -> None:
    with pytest.raises(KeyError):
        compute("HMAC-MD5", bytes(32), [])
