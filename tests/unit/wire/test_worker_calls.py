from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import pytest

from signerd.wire import worker_calls

STRUCTS = [
    getattr(worker_calls, name)
    for name in worker_calls.__all__
    if isinstance(getattr(worker_calls, name), type) and issubclass(getattr(worker_calls, name), msgspec.Struct)
]
PLAIN: dict[Any, Any] = {str: "text", int: 7, bool: True, bytes: b"bytes", float: 0.5, NoneType: None}
PLAIN[msgspec.Raw] = msgspec.Raw(b"\x80")


def example(annotation: Any) -> Any:
    """A value of the annotated type, every field of every Struct filled."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in PLAIN:
        return PLAIN[annotation]
    if origin in (Annotated, Union, UnionType):
        return example(arguments[0])
    if origin is Literal:
        return arguments[0]
    if origin in (tuple, list):
        return origin([example(arguments[0])])
    if origin is dict:
        return {example(arguments[0]): example(arguments[1])}
    return annotation(**{field.name: example(field.type) for field in msgspec.structs.fields(annotation)})


@pytest.mark.parametrize("cls", STRUCTS)
def test_a_message_survives_the_link(cls: type[msgspec.Struct]) -> None:
    once = msgspec.msgpack.encode(example(cls))
    assert msgspec.msgpack.encode(msgspec.msgpack.decode(once, type=cls)) == once
    assert cls.__struct_config__.frozen


@pytest.mark.parametrize("cls", [cls for cls in STRUCTS if any(f.type is str for f in msgspec.structs.fields(cls))])
def test_decoding_is_strict(cls: type[msgspec.Struct]) -> None:
    content = msgspec.msgpack.decode(msgspec.msgpack.encode(example(cls)))
    field = next(field.encode_name for field in msgspec.structs.fields(cls) if field.type is str)
    for value in (None, b"text", 1):
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(msgspec.msgpack.encode({**content, field: value}), type=cls)


def test_an_outcome_without_ok_is_not_one_with_an_empty_ok() -> None:
    decode = msgspec.msgpack.Decoder(worker_calls.CallOutcome).decode
    assert decode(msgspec.msgpack.encode({})).ok is msgspec.UNSET
    empty = decode(msgspec.msgpack.encode({"ok": None})).ok
    assert isinstance(empty, msgspec.Raw)
    assert bytes(empty) == b"\xc0"


def test_what_a_frame_holds_inline_fits_into_it() -> None:
    assert worker_calls.PAYLOAD_INLINE * 8 <= worker_calls.LINK_FRAME_BYTES
