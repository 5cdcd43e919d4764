import tracemalloc

import pytest

from signerd.attestation.cbor import ARRAY, MAP, Tagged, Value, cbor, head
from signerd.attestation.cose import (
    FIRST_BYTE,
    LARGEST_COSE,
    CoseSign1,
    cose_head,
    cose_tail,
    parse_cose,
    protected_header,
    signature_structure,
)
from signerd.errors import Refusal

KEY_ID = bytes(range(32))
PROTECTED = bytes.fromhex("a3012603781c") + b"application/vnd.in-toto+json" + bytes.fromhex("045820") + KEY_ID
HEADER: dict[int | str, Value] = {1: -7, 3: "application/vnd.in-toto+json"}


def message(
    protected: Value = None, unprotected: Value = None, payload: Value = b"{}", signature: Value = b"s", tag: int = 18
) -> bytes:
    header = cbor(HEADER if protected is None else protected)
    return cbor(Tagged(tag, (header, {} if unprotected is None else unprotected, payload, signature)))


def refused(data: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        parse_cose(data)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


@pytest.mark.parametrize(("algorithm", "number"), [("ES256", -7), ("ES384", -35), ("ES512", -36), ("Ed25519", -8)])
def test_the_protected_header_names_algorithm_content_type_and_key(algorithm: str, number: int) -> None:
    header = protected_header(algorithm, KEY_ID)
    assert header == PROTECTED.replace(b"\x01\x26", b"\x01" + cbor(number), 1)


@pytest.mark.parametrize("algorithm", ["RSA-PKCS1-SHA256", "GOST3410-2012-256", "SM2-SM3", ""])
def test_what_cose_has_no_number_for_has_no_header(algorithm: str) -> None:
    with pytest.raises(KeyError):
        protected_header(algorithm, KEY_ID)


def test_what_is_signed_is_the_structure_of_the_rfc() -> None:
    payload = bytes(300)
    assert signature_structure(PROTECTED, len(payload)) + payload == cbor(("Signature1", PROTECTED, b"", payload))


def test_the_message_is_read_as_it_was_written() -> None:
    payload, signature = b"p" * 70_000, b"s" * 64
    written = cose_head(PROTECTED, len(payload)) + payload + cose_tail(signature)
    assert written == cbor(Tagged(18, (PROTECTED, {}, payload, signature)))
    assert written[:3] == b"\xd2\x84\x58"
    assert parse_cose(written) == CoseSign1(PROTECTED, -7, "application/vnd.in-toto+json", payload, signature)
    assert parse_cose(memoryview(written)).payload == payload


def test_other_headers_are_not_looked_at() -> None:
    found = parse_cose(message({**HEADER, 15: {1: "iss"}, "x": None}, {4: b"kid", 33: (b"", b"")}))
    assert (found.algorithm, found.content_type) == (-7, HEADER[3])
    assert parse_cose(message({1: -8})).content_type is None


WRONG = {
    "no tag": (cbor((cbor(HEADER), {}, b"{}", b"s")), "cose_untagged"),
    "another tag": (message(tag=98), "cose_untagged"),
    "JSON": (b'{"payload":""}', "cbor_malformed"),
    "nothing": (b"", "cbor_malformed"),
    "no array": (cbor(Tagged(18, b"")), "cose_malformed"),
    "three parts": (cbor(Tagged(18, (cbor(HEADER), {}, b"{}"))), "cose_malformed"),
    "five parts": (cbor(Tagged(18, (cbor(HEADER), {}, b"{}", b"s", b""))), "cose_malformed"),
    "a protected header that is no bytes": (cbor(Tagged(18, (HEADER, {}, b"{}", b"s"))), "cose_malformed"),
    "an unprotected header that is bytes": (message(unprotected=b""), "cose_malformed"),
    "a signature that is text": (message(signature="s"), "cose_malformed"),
    "no payload": (cbor(Tagged(18, (cbor(HEADER), {}, None, b"s"))), "payload_detached"),
    "a payload that is text": (message(payload="{}"), "cose_malformed"),
    "an empty header": (cbor(Tagged(18, (b"", {}, b"{}", b"s"))), "cose_malformed"),
    "a header that is no map": (message(()), "cose_malformed"),
    "an algorithm by name": (message({1: "ES256"}), "cose_malformed"),
    "an algorithm that is true": (message({1: True}), "cose_malformed"),
    "an algorithm outside": (message({3: "text/plain"}, {1: -7}), "cose_malformed"),
    "a content type by number": (message({1: -7, 3: 50}), "cose_malformed"),
    "a header in both": (message(unprotected={1: -7}), "header_repeated"),
    "critical outside": (message(unprotected={2: (1,)}), "header_critical"),
    "critical and not understood": (message({**HEADER, 2: (15,), 15: {}}), "header_critical"),
    "critical by name": (message({**HEADER, 2: ("x",), "x": 1}), "header_critical"),
    "critical and not there": (message({1: -7, 2: (3,)}), "header_critical"),
    "critical and empty": (message({**HEADER, 2: ()}), "cose_malformed"),
    "critical and no list": (message({**HEADER, 2: 1}), "cose_malformed"),
    "critical and no labels": (message({**HEADER, 2: (None,)}), "cose_malformed"),
    "critical by a truth value": (message({**HEADER, 2: (True,)}), "cose_malformed"),
    "critical lists in it": (message({**HEADER, 2: ((1,),)}), "cose_malformed"),
    "surplus bytes": (message() + b"\0", "cbor_malformed"),
    "cut off": (message()[:-1], "cbor_malformed"),
    "surplus bytes in the header": (cbor(Tagged(18, (cbor(HEADER) + b"\0", {}, b"", b""))), "cbor_malformed"),
    "another encoding": (b"\xd2\x9f" + message()[2:] + b"\xff", "cbor_not_deterministic"),
    "another encoding of the header": (
        cbor(Tagged(18, (bytes.fromhex("a1183801"), {}, b"", b""))).replace(b"\x18\x38", b"\x18\x01"),
        "cbor_not_deterministic",
    ),
}


@pytest.mark.parametrize(("data", "reason"), WRONG.values(), ids=WRONG)
def test_what_is_refused(data: bytes, reason: str) -> None:
    assert refused(data) == reason


def test_what_is_critical_and_understood_is_there() -> None:
    assert parse_cose(message({**HEADER, 2: (1, 3)})).algorithm == -7


def test_a_header_of_many_items_costs_no_memory() -> None:
    """Each byte of it would be an object of a hundred: a file of 192 MiB, and the reader has no memory left."""
    many = 8 * 1024 * 1024
    header = head(MAP, 1) + cbor(99) + head(ARRAY, many) + b"\xf6" * many
    data = FIRST_BYTE + head(ARRAY, 4) + cbor(protected_header("ES256", b"k")) + header + cbor(b"p") + cbor(b"s")
    tracemalloc.start()
    try:
        assert refused(data) == "cbor_malformed"
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def test_nothing_larger_is_parsed() -> None:
    class Large(bytes):
        def __len__(self) -> int:
            return LARGEST_COSE + 1

    assert refused(Large(message())) == "cose_too_large"
