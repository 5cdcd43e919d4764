import msgspec
import pytest

from signerd.errors import Refusal
from signerd.wire.later import LaterBundle, LaterEntries
from signerd.wire.methods import EntryOf, decode_params, decode_result
from signerd.wire.params import Descriptor


def params(**fields: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(fields))


def test_a_record_is_asked_for_by_its_id() -> None:
    assert decode_params("transparency.entry", params(audit_id="id")) == EntryOf("id")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "request.malformed"),
        ({"audit_id": ""}, "request.malformed"),
        ({"audit_id": "x" * 257}, "request.malformed"),
        ({"audit_id": 5}, "request.malformed"),
        ({"audit_id": "id", "tenant": "other"}, "request.unsupported"),
    ],
)
def test_what_is_no_question(fields: dict[str, object], code: str) -> None:
    with pytest.raises(Refusal) as refused:
        decode_params("transparency.entry", params(**fields))
    assert refused.value.code == code


@pytest.mark.parametrize("bundle", [b"{}", Descriptor(0, 5)])
def test_an_answer_may_grow(bundle: bytes | Descriptor) -> None:
    made = LaterEntries("logged", (LaterBundle("k", "logged", "b", "e", (b"{}",), bundle, "c"),))
    grown = {**msgspec.to_builtins(made, builtin_types=(bytes,)), "more": 1}
    assert decode_result("transparency.entry", msgspec.Raw(msgspec.msgpack.encode(grown))) == made
