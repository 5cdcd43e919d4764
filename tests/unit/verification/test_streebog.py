import hmac
import random
from pathlib import Path

import pytest

from outside.gost import Gost
from signerd.verification.streebog import Streebog, streebog256, streebog512

# RFC 6986, section 10: messages and hashes in the order of a file, so reversed against the vectors there.
M1 = b"012345678901234567890123456789012345678901234567890123456789012"
M2 = bytes.fromhex(
    "d1e520e2e5f2f0e82c20d1f2f0e8e1eee6e820e2edf3f6e82c20e2e5fef2fa20f120eceef0ff20f1f2f0e5ebe0ece820"
    "ede020f5f0e0e1f0fbff20efebfaeafb20c8e3eef0e5e2fb"
)


@pytest.mark.parametrize(
    ("message", "short", "long"),
    [
        (
            M1,
            "9d151eefd8590b89daa6ba6cb74af9275dd051026bb149a452fd84e5e57b5500",
            (
                "1b54d01a4af5b9d5cc3d86d68d285462b19abc2475222f35c085122be4ba1ffa"
                "00ad30f8767b3a82384c6574f024c311e2a481332b08ef7f41797891c1646f48"
            ),
        ),
        (
            M2,
            "9dd2fe4e90409e5da87f53976d7405b0c0cac628fc669a741d50063c557e8f50",
            (
                "1e88e62226bfca6f9994f1f2d51569e0daf8475a3b0fe61a5300eee46d961376"
                "035fe83549ada2b8620fcd7c496ce5b33f0cb9dddc2b6460143b03dabac9fb28"
            ),
        ),
    ],
)
def test_the_examples_of_rfc_6986(message: bytes, short: str, long: str) -> None:
    assert streebog256(message).hexdigest() == short
    assert streebog512(message).hexdigest() == long


def test_a_message_that_comes_in_parts_has_the_same_hash() -> None:
    message = bytes(range(256)) * 2
    whole = streebog512(message).digest()
    for cut in (1, 63, 64, 65, 128, 300):
        parts = streebog512()
        for at in range(0, len(message), cut):
            parts.update(memoryview(message)[at : at + cut])
        assert parts.digest() == whole


def test_a_digest_ends_nothing_and_a_copy_goes_its_own_way() -> None:
    first = streebog256(b"a")
    assert first.digest() == streebog256(b"a").digest()
    second = first.copy()
    first.update(b"b")
    second.update(b"c")
    assert first.digest() == streebog256(b"ab").digest()
    assert second.digest() == streebog256(b"ac").digest()


def test_its_attributes_are_those_of_a_hash() -> None:
    assert (streebog256().name, streebog256().digest_size, streebog256().block_size) == ("Streebog-256", 32, 64)
    assert (streebog512().name, streebog512().digest_size) == ("Streebog-512", 64)
    with pytest.raises(ValueError, match="48 bytes"):
        Streebog(48)


# R 50.1.113-2016, appendix A: HMAC_GOSTR3411_2012_256.
def test_it_serves_hmac() -> None:
    mac = hmac.new(bytes(range(32)), bytes.fromhex("0126bdb87800af214341456563780100"), streebog256)
    assert mac.hexdigest() == "a1aa5f7de402d7b3d323f2991c8d4534013137010a83754fd0af6d7cd4922ed9"


@pytest.mark.needs("gost-engine")
def test_openssl_hashes_alike_at_every_kind_of_length(tmp_path: Path) -> None:
    gost = Gost(tmp_path)
    dice = random.Random(6986)
    lengths = [0, 1, 63, 64, 65, 127, 128, 129, *(dice.randrange(20_000) for _ in range(8))]
    for length in lengths:
        message = dice.randbytes(length)
        assert streebog256(message).digest() == gost.digest(256, message), length
        assert streebog512(message).digest() == gost.digest(512, message), length
