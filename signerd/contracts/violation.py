"""How a predicate type refuses a document: the text and the pointer of the fault, at a bounded cost.

A validator of JSON Schemas says quickly whether a document is valid, and expensively why not: an error of
jsonschema-rs holds a copy of the value that is wrong and its text, so that one property too many at the top
of a 50 MB document costs gigabytes. :func:`refuse_invalid` therefore asks only about documents that are
small, or made so.

Nothing here trusts the document: names from it are clipped and escaped, and a pointer ends at the last
ancestor whose path can be shown, so that it is always a true pointer (RFC 6901) to a value that holds the
fault.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

from signerd.errors import Refusal

__all__ = ["SHOWN", "CompiledSchema", "invalid", "json_pointer", "refuse_invalid", "shown"]

SHOWN: Final = 80
"""The most characters of a document's own text that a message repeats."""
POINTER_LIMIT: Final = 512
"""The most characters of a pointer: 200 levels of long names would make it larger than it is worth."""
VALUES: Final = 20_000
"""The most JSON values of a document that a validator is asked to explain."""
ITEMS: Final = 64
"""How many items of each array are kept in the excerpts of a larger document."""

PHRASES: Final = {
    "const": "this value is not the one that the specification fixes",
    "enum": "this value is none of those that the specification allows",
    "format": "this value has not the format that the specification asks for",
    "pattern": "this value has not the form that the specification asks for",
    "type": "this value has the wrong JSON type",
    "minItems": "this array has too few items",
    "maxItems": "this array has too many items",
    "uniqueItems": "this array holds an item twice",
    "minimum": "this number is too small",
    "maximum": "this number is too large",
    "minLength": "this string is too short",
    "maxLength": "this string is too long",
    "minProperties": "this object has too few properties",
}

Document = dict[str, object]


class CompiledSchema(Protocol):
    """What is used of a compiled JSON Schema; jsonschema-rs's validators are such."""

    def is_valid(self, instance: object) -> bool:
        """Say whether ``instance`` satisfies the schema."""

    def validate(self, instance: object) -> None:
        """Raise a ``ValueError`` with ``instance_path`` and ``kind`` for a rule that ``instance`` breaks."""


class _SchemaError(Protocol):
    """What is read of a validator's error."""

    instance_path: list[str | int]
    kind: Any


def refuse_invalid(title: str, schema: CompiledSchema, document: Document, skip: int = 0) -> None:
    """Raise ``predicate.invalid``, reason ``schema_violation``, if ``document`` breaks a rule of ``schema``.

    ``title`` names the type in the text. ``skip`` steps at the front of the pointer lead into a frame that
    the caller put around the document, and are left out.
    """
    if schema.is_valid(document):
        return
    excerpt, entered = _excerpt(schema, document)
    if excerpt is None:
        text = "a rule of its schema is broken inside this value"
        raise invalid(title, list(entered)[skip:], "schema_violation", text)
    try:
        schema.validate(excerpt)
    except ValueError as error:
        found = _nearest(cast("_SchemaError", error))
        path = found.instance_path
        if entered and len(path) > 1 and path[0] == entered[0]:
            path = [path[0], int(path[1]) + int(entered[1]), *path[2:]]
        raise invalid(title, path[skip:], "schema_violation", _text(found.kind)) from None
    # Fails closed: the host makes a fault of it.
    raise ValueError(f"the validator of {title} contradicts itself")


def invalid(title: str, path: Sequence[str | int], reason: str, text: str) -> Refusal:
    """Build the refusal ``predicate.invalid`` with ``details.pointer``."""
    pointer = json_pointer(path)
    where = f"at {pointer}" if pointer else "at its top"
    return Refusal(
        "predicate.invalid", reason, f"not a valid {title}: {text}, {where}", details={"pointer": pointer}
    )


def shown(text: str) -> str:
    """Return ``text`` fit for a message: escaped where it does not print, at most 80 characters."""
    head = text[:SHOWN]
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in head)
    return escaped if len(text) <= SHOWN and len(escaped) <= SHOWN else escaped[: SHOWN - 1] + "…"


def json_pointer(path: Sequence[str | int]) -> str:
    """Return the JSON pointer (RFC 6901) of ``path``, up to a name that is too long or does not print."""
    pointer = ""
    for step in path:
        token = str(step)
        longer = f"{pointer}/{token.replace('~', '~0').replace('/', '~1')}"
        if len(token) > SHOWN or len(longer) > POINTER_LIMIT or not token.isprintable():
            break
        pointer = longer
    return pointer


def _text(kind: Any) -> str:
    if kind.name == "required":
        return f"the property '{shown(str(kind.property))}' is missing"
    if kind.name in {"additionalProperties", "unevaluatedProperties"}:
        return f"the property '{shown(str(kind.unexpected[0]))}' is unknown"
    return PHRASES.get(kind.name, f"the rule '{kind.name}' of its schema is broken")


def _nearest(error: _SchemaError) -> _SchemaError:
    """Follow ``anyOf`` and ``oneOf`` into the alternative that came furthest: its error is the useful one."""
    while error.kind.name in {"anyOf", "oneOf"}:
        branches = [branch[0] for branch in getattr(error.kind, "context", ()) if branch]
        furthest = max(branches, key=lambda found: len(found.instance_path), default=error)
        if len(furthest.instance_path) <= len(error.instance_path):
            break
        error = furthest
    return error


def _excerpt(schema: CompiledSchema, document: Document) -> tuple[Document | None, tuple[str | int, ...]]:
    """Return a broken document small enough to be explained, and the array and index at which it was cut out.

    A small document is its own excerpt. Of a larger one, every array is shortened, which breaks no rule that
    the document keeps (no schema asks for so many items); if that hides the fault, the array of the top that
    holds it is halved until it shows. None with the path as far as it is known if no excerpt shows it.
    """
    if _smaller(document):
        return document, ()
    front = cast("Document", _shortened(document))
    if not _smaller(front):
        return None, ()
    if not schema.is_valid(front):
        return front, ()
    for name, value in document.items():
        if isinstance(value, list) and len(value) > ITEMS and not schema.is_valid({**front, name: value}):
            items, start = _halved(schema, front, name, value)
            piece = {**front, name: _shortened(items)}
            if _smaller(piece) and not schema.is_valid(piece):
                return piece, (name, start)
            return None, (name,)
    return None, ()


def _halved(
    schema: CompiledSchema, front: Document, name: str, items: list[object]
) -> tuple[list[object], int]:
    """Return the piece of ``items`` that still breaks a rule, and where it starts.

    Each step asks about half of what the one before did: together no more than two validations of the whole.
    """
    start = 0
    while len(items) > ITEMS:
        middle = len(items) // 2
        if not schema.is_valid({**front, name: items[:middle]}):
            items = items[:middle]
        elif not schema.is_valid({**front, name: items[middle:]}):
            items, start = items[middle:], start + middle
        else:
            break
    return items, start


def _shortened(value: object) -> object:
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value[:ITEMS]]
    return value


def _smaller(document: object) -> bool:
    """Say whether ``document`` has at most :data:`VALUES` values; looks at no more of them."""
    left = VALUES
    stack = [document]
    while stack:
        value = stack.pop()
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        left -= 1 + len(inner)
        if left < 0:
            return False
        stack.extend(one for one in inner if isinstance(one, dict | list))
    return True
