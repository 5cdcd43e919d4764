import contextlib

import hypothesis
import pytest
from hypothesis import strategies

from signerd.attestation.cbor import TAG, Tagged, Value, cbor, head, read_cbor
from signerd.errors import Refusal

# RFC 8949, Appendix A: what of it is read.
VECTORS: list[tuple[Value, str]] = [
    (0, "00"),
    (1, "01"),
    (10, "0a"),
    (23, "17"),
    (24, "1818"),
    (25, "1819"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-18446744073709551616, "3bffffffffffffffff"),
    (-1, "20"),
    (-10, "29"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("", "60"),
    ("IETF", "6449455446"),
    ('"\\', "62225c"),
    ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"),
    ("\U00010151", "64f0908591"),
    ((), "80"),
    ((1, 2, 3), "83010203"),
    ((1, (2, 3), (4, 5)), "8301820203820405"),
    (tuple(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
    ({}, "a0"),
    ({1: 2, 3: 4}, "a201020304"),
    ({"a": 1, "b": (2, 3)}, "a26161016162820203"),
    (("a", {"b": "c"}), "826161a161626163"),
]
MALFORMED = {
    "nothing": "",
    "cut off in a head": "19",
    "cut off in a string": "4401",
    "cut off in an array": "8301",
    "cut off in a map": "a101",
    "an array of more than there is": "9b7fffffffffffffff01",
    "a string of more than there is": "5b7fffffffffffffff01",
    "surplus bytes": "0000",
    "a float": "f93c00",
    "undefined": "f7",
    "a simple value": "f8ff",
    "a break": "ff",
    "reserved": "1c",
    "no UTF-8": "61ff",
    "a key of bytes": "a1410000",
    "a key that is true": "a1f500",
    "an array as key": "a18000",
    "too deep": "81" * 17 + "00",
    "far too deep": "81" * 100_000 + "00",
    "tags too deep": "c0" * 17 + "00",
}
NOT_DETERMINISTIC = {
    "0 in two bytes": "1800",
    "23 in two bytes": "1817",
    "255 in three bytes": "1900ff",
    "65535 in five bytes": "1a0000ffff",
    "2^32-1 in nine bytes": "1b00000000ffffffff",
    "a long length": "580101",
    "a long tag": "d81200",
    "bytes of indefinite length": "5f4101ff",
    "text of indefinite length": "7f6161ff",
    "an array of indefinite length": "9f01ff",
    "a map of indefinite length": "bf0102ff",
    "keys out of order": "a203040102",
    "a key twice": "a201020103",
    "text before number": "a2616101" + "0102",
    "shorter first, as RFC 7049 had it": "a22000186400",
}


def refused(data: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        read_cbor(data)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


@pytest.mark.parametrize(("value", "text"), VECTORS)
def test_the_vectors_of_the_rfc_both_ways(value: Value, text: str) -> None:
    assert cbor(value).hex() == text
    found = read_cbor(bytes.fromhex(text))
    assert found == value
    assert type(found) is type(value)


def test_a_tag_stands_before_what_it_tags() -> None:
    assert cbor(Tagged(18, (b"", 1))).hex() == "d2824001"
    found = read_cbor(bytes.fromhex("d2824001"))
    assert isinstance(found, Tagged)
    assert (found.number, found.value) == (18, (b"", 1))
    assert head(TAG, 55799).hex() == "d9d9f7"


def test_keys_are_ordered_by_their_bytes() -> None:
    # RFC 8949, section 4.2.1: its own example, less what is no key here.
    assert cbor({"aa": 0, 100: 0, "z": 0, -1: 0, 10: 0}).hex() == "a50a00186400200061" + "7a0062616100"


@pytest.mark.parametrize("value", [1 << 64, -(1 << 64) - 1])
def test_an_integer_of_more_than_64_bits_has_no_encoding(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        cbor(value)


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_read(text: str) -> None:
    assert refused(bytes.fromhex(text)) == "cbor_malformed"


@pytest.mark.parametrize("text", NOT_DETERMINISTIC.values(), ids=NOT_DETERMINISTIC)
def test_another_encoding_of_the_same_is_refused(text: str) -> None:
    assert refused(bytes.fromhex(text)) == "cbor_not_deterministic"


@hypothesis.given(strategies.binary(max_size=64))
def test_what_is_read_is_written_the_same_again(data: bytes) -> None:
    with contextlib.suppress(Refusal):
        assert cbor(read_cbor(data)) == data
