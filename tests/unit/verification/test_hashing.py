import hashlib
import sys

import pytest

from signerd.attestation.hashing import HASHES
from signerd.errors import Fault, Refusal
from signerd.verification.hashing import digest, hasher

ABC_512 = (
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
)
M1_512 = (
    "1b54d01a4af5b9d5cc3d86d68d285462b19abc2475222f35c085122be4ba1ffa"
    "00ad30f8767b3a82384c6574f024c311e2a481332b08ef7f41797891c1646f48"
)
VECTORS = [
    # FIPS 180-4, appendix of examples.
    ("SHA-256", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        "SHA-384",
        b"abc",
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
    ),
    (
        "SHA-512",
        b"abc",
        ABC_512,
    ),
    # GB/T 32905-2016, appendix A.
    ("SM3", b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
    ("SM3", b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
    # BLAKE3, test_vectors.json: the input counts up to 250 and begins again.
    ("BLAKE3-256", b"", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
    ("BLAKE3-256", b"\0", "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
    (
        "BLAKE3-256",
        (bytes(range(251)) * 25)[:6145],
        "f1323a8631446cc50536a9f705ee5cb619424d46887f3c376c695b70e0f0507f",
    ),
    # RFC 6986, section 10.1, read from the end.
    (
        "Streebog-256",
        b"012345678901234567890123456789012345678901234567890123456789012",
        "9d151eefd8590b89daa6ba6cb74af9275dd051026bb149a452fd84e5e57b5500",
    ),
    (
        "Streebog-512",
        b"012345678901234567890123456789012345678901234567890123456789012",
        M1_512,
    ),
]


@pytest.mark.parametrize(("name", "data", "expected"), VECTORS, ids=lambda value: str(value)[:12])
def test_the_published_vectors_whole_and_in_pieces(name: str, data: bytes, expected: str) -> None:
    assert digest(name, data).hex() == expected
    made = hasher(name)
    for at in range(0, len(data), 7):
        made.update(memoryview(data)[at : at + 7])
        made.digest()  # more may follow
    assert made.digest().hex() == expected


def test_every_hash_of_a_profile_is_computed() -> None:
    named = {name for names in HASHES.values() for name in names}
    assert named == {name for name, _, _ in VECTORS}


@pytest.mark.parametrize("name", ["", "sha256", "SHA-1", "MD5", "SHA-256 ", "Streebog"])
def test_what_is_no_hash(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        digest(name, b"")
    assert (caught.value.code, caught.value.reason) == ("request.malformed", "hash_unknown")


def test_without_the_extra_blake3_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blake3", None)
    with pytest.raises(Fault, match=r"signerd\[blake3\]"):
        digest("BLAKE3-256", b"")
    assert digest("SHA-256", b"") == hashlib.sha256(b"").digest()
