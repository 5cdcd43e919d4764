"""Tables of the protocol page, rendered from the types that the wire decodes with.

The text beside a field is the string under it in its class; a field without one fails the rendering, so the
page cannot fall behind.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Raw, UnsetType

from signerd.errors import CODES
from signerd.wire.methods import METHODS

__all__ = ["error_table", "field_table", "field_texts", "method_sections", "method_table", "table"]

_PLAIN = {str: "str", int: "integer", bool: "bool", bytes: "bin", Raw: "any value"}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    names = list(head)
    return "\n".join(["| " + " | ".join(names) + " |", "|---" * len(names) + "|", *lines])


def error_table() -> str:
    """Every stable code with its class, whether trying again can help, and the exit code of commands."""
    rows = (
        (f"`{code}`", info.kind, "yes" if info.retryable else "no", str(info.exit_code))
        for code, info in CODES.items()
    )
    return table(("code", "class", "retryable", "exit code"), sorted(rows))


def method_table() -> str:
    """Every method with its sockets and its scope."""
    rows = (
        (
            f"`{name}`",
            ", ".join(sorted(spec.sockets, reverse=True)),
            f"`{spec.scope}`" if spec.scope else "none",
            "yes" if spec.principal_needed else "no",
        )
        for name, spec in METHODS.items()
    )
    return table(("method", "socket", "scope", "needs a principal"), rows)


def method_sections() -> str:
    """Params and results of every method, and after them the maps that these name."""
    parts, told = [], set[type[msgspec.Struct]]()
    for name, spec in METHODS.items():
        parts.append(f"### {name}")
        for title, root in (("Params", spec.params), ("Result", spec.result)):
            first = root not in told
            told.add(root)
            text = _sentence(root)
            if not msgspec.structs.fields(root):
                parts.append(f"{title}: an empty map.")
            elif first:
                parts.append(f"{title}, `{root.__name__}`. {text}\n\n{field_table(root)}")
            else:
                parts.append(f"{title}: `{root.__name__}`, as above.")
            for inner in _named_by(root):
                if inner not in told and inner.__name__ not in ("Limits", "Descriptor"):
                    told.add(inner)
                    parts.append(f"`{inner.__name__}`. {_sentence(inner)}\n\n{field_table(inner)}")
    return "\n\n".join(parts)


def field_table(cls: type[msgspec.Struct]) -> str:
    """The fields of a message or map: key, type, meaning. A key with `?` may be absent."""
    texts = field_texts(cls)
    rows = (
        (f"`{field.encode_name}{'' if field.required else '?'}`", _type(field.type), texts[field.name])
        for field in msgspec.structs.fields(cls)
    )
    return table(("key", "type", "meaning"), rows)


def _sentence(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").split())


def field_texts(cls: type) -> dict[str, str]:
    """The strings under the fields of a Struct and of those that it extends, by field."""
    found: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if owner in (object, msgspec.Struct) or not issubclass(owner, msgspec.Struct):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
            ):
                found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _named_by(cls: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """The maps that the fields of `cls` name, depth first."""
    for field in msgspec.structs.fields(cls):
        for inner in _structs_in(field.type):
            yield inner
            yield from _named_by(inner)


def _structs_in(annotation: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    for argument in get_args(annotation):
        yield from _structs_in(argument)


def _type(annotation: object) -> str:
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type(arguments[0]) + "".join(
            _bounds(meta) for meta in arguments[1:] if isinstance(meta, Meta)
        )
    if origin in (Union, UnionType):
        return " or ".join(_type(argument) for argument in arguments if argument is not UnsetType)
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (tuple, list):
        return f"array of {_type(arguments[0])}"
    if origin is dict:
        return f"map of {_type(arguments[0])} to {_type(arguments[1])}"
    assert isinstance(annotation, type)
    return _PLAIN.get(annotation) or f"`{annotation.__name__}`"


def _bounds(meta: Meta) -> str:
    parts = []
    if meta.ge is not None or meta.le is not None:
        parts.append(f"{meta.ge if meta.ge is not None else ''}…{meta.le if meta.le is not None else ''}")
    if meta.min_length is not None or meta.max_length is not None:
        least = meta.min_length if meta.min_length is not None else 0
        parts.append(f"length {least}…{meta.max_length if meta.max_length is not None else ''}")
    return f" ({', '.join(parts)})" if parts else ""
