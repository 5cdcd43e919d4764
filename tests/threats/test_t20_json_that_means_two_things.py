"""T20: a caller sends JSON that two readers read differently: what was checked is not what is used."""

import json
import tracemalloc

import pytest

from signerd.attestation.bundle import parse_bundle
from signerd.attestation.canonical import canonicalise
from signerd.attestation.dsse import parse_envelope
from signerd.attestation.statement import parse_statement
from signerd.errors import Refusal

# The value that the standard library's reader takes, to show that the trick works on others.
TRICKS = [
    pytest.param(b'{"approved":false,"approved":true}', "duplicate_key", {"approved": True}, id="same key twice"),
    pytest.param(b'{"a":1,"\\u0061":2}', "duplicate_key", {"a": 2}, id="same key, once escaped"),
    pytest.param(b'{"x":"\\u003a","k":{"a":1,"a":"\\u003a"}}', "duplicate_key", None, id="hidden by escaped colons"),
    pytest.param(b'{"a":"\\ud800"}', "lone_surrogate", {"a": "\ud800"}, id="half a surrogate pair"),
    pytest.param(b'{"n":9007199254740993}', "integer_range", {"n": 2**53 + 1}, id="2^53+1"),
    pytest.param(b'{"n":9007199254740993.0}', "integer_range", {"n": 9007199254740992.0}, id="2^53+1 as a float"),
    pytest.param(b'{"n":-1e20}', "integer_range", {"n": -1e20}, id="an integer by exponent"),
    pytest.param(b'{"n":NaN}', "not_finite", None, id="NaN"),
    pytest.param(b'{"n":-Infinity}', "not_finite", {"n": float("-inf")}, id="Infinity"),
    pytest.param(b'{"n":1e999}', "not_finite", {"n": float("inf")}, id="overflow"),
    pytest.param(b'\xef\xbb\xbf{"a":1}', "byte_order_mark", {"a": 1}, id="byte order mark"),
    pytest.param('{"a":1}'.encode("utf-16"), "not_utf8", {"a": 1}, id="UTF-16"),
    pytest.param(b'{"a":"\xed\xa0\x80"}', "not_utf8", {"a": "\ud800"}, id="half a pair in bytes"),
    pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep", None, id="10^5 objects deep"),
    pytest.param(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep", None, id="10^5 arrays deep"),
]


@pytest.mark.parametrize(("text", "reason", "elsewhere"), TRICKS)
def test_refused_before_anything_is_signed(text: bytes, reason: str, elsewhere: object) -> None:
    if elsewhere is not None:
        assert json.loads(text) == elsewhere
    with pytest.raises(Refusal) as caught:
        canonicalise(text)
    assert (caught.value.code, caught.value.reason) == ("predicate.invalid", reason)


@pytest.mark.parametrize(("text", "reason", "elsewhere"), TRICKS)
def test_refused_by_every_reader(text: bytes, reason: str, elsewhere: object) -> None:
    for reader, code in (
        (parse_statement, "statement.invalid"),
        (parse_envelope, "verification.failed"),
        (parse_bundle, "verification.failed"),
    ):
        with pytest.raises(Refusal) as caught:
            reader(text)
        assert (caught.value.code, caught.value.reason) == (code, reason)


def test_depth_costs_no_memory() -> None:
    text = b'{"a":' + b"[" * 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match="too_deep"):
            canonicalise(text)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
