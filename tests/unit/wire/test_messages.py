from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.errors import CODES, Fault, Refusal
from signerd.wire.messages import (
    ID_MAX,
    Cancel,
    Error,
    Goaway,
    Hello,
    Limits,
    Message,
    Request,
    Response,
    error_from_exception,
)

LIMITS = dict.fromkeys(Limits.__struct_fields__, 1)
MINIMAL: dict[str, dict[str, Any]] = {
    "hello": {"versions": [1], "software": "c/1"},
    "request": {"id": 1, "method": "daemon.health", "params": {}},
    "response": {"id": 1, "result": {}},
    "error": {"code": "internal", "message": "m", "retryable": False},
    "cancel": {"id": 1},
    "goaway": {"reason": "stopping"},
}
OPTIONAL: dict[str, dict[str, Any]] = {
    "hello": {
        "inline_max": 0, "version": 1, "limits": LIMITS, "methods": ["daemon.info"], "profiles": ["cosign"],
        "nonce": b"n" * 16,
    },
    "request": {"deadline_ms": 1, "traceparent": "t", "token": "t", "proof": "p"},
    "response": {"nonce": b"n" * 64},
    "error": {
        "id": 1, "retry_after_ms": 5, "details": {"reason": "r", "limit": 1, "n": ["a"]}, "nonce": b"n" * 16,
    },
    "cancel": {},
    "goaway": {},
}  # fmt: skip
DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)

IDS = st.integers(1, ID_MAX)
TEXTS = st.text(max_size=20)
NONCES = st.binary(min_size=16, max_size=64)
RAWS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXTS | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
).map(lambda value: msgspec.Raw(msgspec.msgpack.encode(value)))


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just(msgspec.UNSET) | strategy


MESSAGES = st.one_of(
    st.builds(
        Hello,
        versions=st.lists(st.integers(0, 9), max_size=3).map(tuple),
        software=TEXTS,
        inline_max=optional(st.integers(0, 2**40)),
        version=optional(st.integers(0, 9)),
        limits=optional(
            st.builds(Limits, **{name: st.integers(0, 2**40) for name in Limits.__struct_fields__})
        ),
        methods=optional(st.lists(TEXTS, max_size=3).map(tuple)),
        profiles=optional(st.lists(TEXTS, max_size=3).map(tuple)),
        nonce=optional(NONCES),
    ),
    st.builds(
        Request,
        id=IDS,
        method=TEXTS,
        params=RAWS,
        deadline_ms=optional(st.integers(-5, 2**40)),
        traceparent=optional(TEXTS),
        token=optional(TEXTS),
        proof=optional(TEXTS),
    ),
    st.builds(Response, id=IDS, result=RAWS, nonce=optional(NONCES)),
    st.builds(
        Error,
        code=st.sampled_from(sorted(CODES)),
        message=TEXTS,
        retryable=st.booleans(),
        id=optional(IDS),
        retry_after_ms=optional(st.integers(0, 2**40)),
        details=optional(
            st.dictionaries(TEXTS, TEXTS | st.integers(0, 9) | st.booleans() | st.lists(TEXTS), max_size=3)
        ),
        nonce=optional(NONCES),
    ),
    st.builds(Cancel, id=IDS),
    st.builds(Goaway, reason=TEXTS),
)


def decoded(content: dict[str, Any]) -> Message:
    return DECODER.decode(msgpack.packb(content))


@given(MESSAGES)
def test_encoding_what_was_decoded_is_stable(message: Message) -> None:
    once = msgspec.msgpack.encode(message)
    assert msgspec.msgpack.encode(DECODER.decode(once)) == once


@pytest.mark.parametrize("kind", MINIMAL)
def test_an_independent_encoder_is_understood_and_understands(kind: str) -> None:
    content = {"type": kind, **MINIMAL[kind], **OPTIONAL[kind]}
    assert msgpack.unpackb(msgspec.msgpack.encode(decoded(content))) == content


@pytest.mark.parametrize("kind", MINIMAL)
def test_an_absent_field_is_an_absent_key(kind: str) -> None:
    content = {"type": kind, **MINIMAL[kind]}
    assert msgpack.unpackb(msgspec.msgpack.encode(decoded(content))) == content


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (kind, field)
        for kind in MINIMAL
        for field in (*MINIMAL[kind], *OPTIONAL[kind])
        if field not in ("params", "result")  # undecoded here; the method's type refuses a nil in their place
    ],
)
def test_nil_is_no_absence(kind: str, field: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decoded({"type": kind, **MINIMAL[kind], **OPTIONAL[kind], field: None})


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind in MINIMAL for field in MINIMAL[kind]])
def test_a_required_field_cannot_be_left_out(kind: str, field: str) -> None:
    rest = {name: value for name, value in MINIMAL[kind].items() if name != field}
    with pytest.raises(msgspec.ValidationError, match=field):
        decoded({"type": kind, **rest})


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("request", "id", 0),
        ("request", "id", ID_MAX + 1),
        ("request", "id", 1.0),
        ("request", "id", True),
        ("request", "method", b"daemon.health"),
        ("hello", "nonce", "n" * 16),
        ("hello", "nonce", b"n" * 15),
        ("hello", "nonce", b"n" * 65),
        ("hello", "versions", [1.0]),
        ("hello", "inline_max", -1),
        ("error", "retryable", 1),
        ("error", "details", {"reason": None}),
        ("cancel", "id", "1"),
    ],
)
def test_decoding_is_strict(kind: str, field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        decoded({"type": kind, **MINIMAL[kind], field: value})


def test_an_unknown_key_of_a_message_is_ignored() -> None:
    assert decoded({"type": "cancel", "id": 1, "grease": {"a": [None, 1.5]}}) == Cancel(1)


def test_an_error_tells_the_public_text_and_never_the_operators() -> None:
    refusal = Refusal(
        "quota.rate", "too_fast", "later", operator="/secret/path", retry_after_ms=9, details={"limit": 3}
    )
    assert error_from_exception(refusal, 4) == Error(
        code="quota.rate", message="later", retryable=True, id=4, retry_after_ms=9,
        details={"reason": "too_fast", "limit": 3},
    )  # fmt: skip
    bare = error_from_exception(Fault("internal", "bug", "failed"))
    assert (bare.id, bare.retry_after_ms) == (msgspec.UNSET, msgspec.UNSET)
