"""A filled message of every type of a module of :mod:`signerd.wire`, and what holds for each."""

from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import pytest

__all__ = ["check_strict", "check_survives", "structs", "with_text"]

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


def structs(module: ModuleType) -> list[type[msgspec.Struct]]:
    """The Structs that the module exports."""
    exported = [getattr(module, name) for name in module.__all__]
    return [each for each in exported if isinstance(each, type) and issubclass(each, msgspec.Struct)]


def with_text(cls: type[msgspec.Struct]) -> bool:
    """Whether a field of ``cls`` is a plain text."""
    return any(field.type is str for field in msgspec.structs.fields(cls))


def check_survives(cls: type[msgspec.Struct]) -> None:
    """Encoded, decoded and encoded again, it is the same; and it is frozen."""
    once = msgspec.msgpack.encode(example(cls))
    assert msgspec.msgpack.encode(msgspec.msgpack.decode(once, type=cls)) == once
    assert cls.__struct_config__.frozen


def check_strict(cls: type[msgspec.Struct]) -> None:
    """What is no text is refused where a text belongs."""
    content = msgspec.msgpack.decode(msgspec.msgpack.encode(example(cls)))
    field = next(field.encode_name for field in msgspec.structs.fields(cls) if field.type is str)
    for value in (None, b"text", 1):
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(msgspec.msgpack.encode({**content, field: value}), type=cls)
