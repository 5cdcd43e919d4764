from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import pytest

from signerd.wire import links

STRUCTS = [
    getattr(links, name)
    for name in links.__all__
    if isinstance(getattr(links, name), type) and issubclass(getattr(links, name), msgspec.Struct)
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


def test_every_message_has_a_type_of_its_own() -> None:
    tags = [cls.__struct_config__.tag for cls in STRUCTS if cls.__struct_config__.tag is not None]
    assert len(set(tags)) == len(tags)
