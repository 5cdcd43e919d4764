import json

import pytest

from fakes.sigstore import Sigstore, b64, jcs
from signerd.attestation.log_entry import log_entry_json, parse_log_entry
from signerd.errors import Refusal

STACK = Sigstore()
BODY = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {}}


def told() -> dict[str, object]:
    return {**STACK.entry2(BODY), "integratedTime": "0", "inclusionPromise": None}


def test_an_entry_comes_back_as_it_was_without_what_is_null() -> None:
    entry = parse_log_entry(json.dumps(told()).encode())
    written = log_entry_json(entry)
    assert parse_log_entry(written) == entry
    expected = STACK.entry2(BODY)
    assert json.loads(written) == expected
    assert written == jcs(expected)


def test_an_entry_of_an_older_log_keeps_promise_and_time() -> None:
    entry = parse_log_entry(json.dumps(STACK.entry1(BODY)).encode())
    assert entry.promise is not None
    assert parse_log_entry(log_entry_json(entry)) == entry


def test_the_first_entry_of_a_log_says_its_index() -> None:
    first = {**told(), "logIndex": "0"}
    assert json.loads(log_entry_json(parse_log_entry(json.dumps(first).encode())))["logIndex"] == "0"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"logIndex": 2}, "log_entry_malformed"),
        ({"logIndex": "9" * 19}, "int64_range"),
        ({"more": 1}, "log_entry_malformed"),
        ({"canonicalizedBody": "e30"}, "base64_malformed"),
        ({"canonicalizedBody": None}, "log_entry_malformed"),
        ({"inclusionProof": {"rootHash": b64(bytes(32))}}, "log_entry_malformed"),
    ],
)
def test_what_is_no_entry_is_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(Refusal) as raised:
        parse_log_entry(json.dumps({**told(), **change}).encode())
    assert (raised.value.code, raised.value.reason) == ("verification.failed", reason)


@pytest.mark.parametrize("text", [b"", b"[]", b"<html>", b'{"a":1,"a":1}', b"\xff"])
def test_what_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(Refusal):
        parse_log_entry(text)
