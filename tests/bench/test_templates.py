import base64
import json
import struct
from typing import Any

import msgspec
import pytest

from bench.peers import RELEASE
from bench.templates import COUNTER_DIGITS, agent_sign, cyclonedx, sign_batch, sign_dsse
from signerd_predicates_intoto.cyclonedx import check_cyclonedx

COUNTER = b"c0ffee000000"


def decoded(request: bytes) -> dict[str, Any]:
    (length,) = struct.unpack(">I", request[:4])
    assert length == len(request) - 4
    message = msgspec.msgpack.decode(request[4:])
    assert isinstance(message, dict)
    return message


@pytest.mark.parametrize("size", [1024, 1025, 1500, 1899, 2048, 100_001])
def test_a_document_has_the_asked_size_and_keeps_the_official_schema(size: int) -> None:
    document = cyclonedx(size)
    assert len(document) == size
    check_cyclonedx(json.loads(document))


def test_a_document_that_cannot_be_so_small_is_refused() -> None:
    with pytest.raises(ValueError, match="no document of 10 bytes"):
        cyclonedx(10)


def test_the_statement_of_a_2_kb_request_has_2048_bytes() -> None:
    params = decoded(sign_dsse(2048, RELEASE).request)["params"]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": params["subject"],
        "predicateType": params["predicate_type"],
        "predicate": json.loads(params["predicate"]),
    }
    assert len(json.dumps(statement, separators=(",", ":"))) == 2048


def test_patching_id_and_counter_changes_these_two_and_nothing_else() -> None:
    template = sign_dsse(2048, RELEASE)
    request = bytearray(template.request)
    assert template.id_offset is not None
    request[template.id_offset : template.id_offset + 4] = struct.pack(">I", 0x01020304)
    for offset in template.counters:
        assert request[offset : offset + COUNTER_DIGITS] == COUNTER
        request[offset : offset + COUNTER_DIGITS] = b"00000000abcd"
    before, after = decoded(template.request), decoded(bytes(request))
    assert (before["id"], after["id"]) == (0x01000000, 0x01020304)
    old, new = before["params"], after["params"]
    digest = old["subject"][0]["digest"]["sha256"]
    assert new["subject"][0]["digest"]["sha256"] == digest[:52] + "00000000abcd"
    assert new["predicate"] == old["predicate"].replace(COUNTER, b"00000000abcd")
    assert new["predicate"] != old["predicate"]


def test_a_batch_has_subjects_of_its_own_and_expects_a_receipt_for_each() -> None:
    template = sign_batch(5, 2048, RELEASE)
    items = decoded(template.request)["params"]["items"]
    assert len({item["subject"][0]["digest"]["sha256"] for item in items}) == 5
    assert template.signatures == 5
    assert len(template.counters) == 10
    assert [expectation.times for expectation in template.expectations] == [1, 5]


def test_an_agent_request_signs_exactly_the_asked_bytes() -> None:
    blob = base64.b64decode("AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=")
    template = agent_sign(blob, 2048)
    body = template.request[4:]
    assert body[0] == 13
    assert body[1:5] == struct.pack(">I", len(blob))
    rest = body[5 + len(blob) :]
    assert struct.unpack(">I", rest[:4]) == (2048,)
    assert rest[4 + 2048 :] == bytes(4)
    assert template.request[template.counters[0] :].startswith(COUNTER)
