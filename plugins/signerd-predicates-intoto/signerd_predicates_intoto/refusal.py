"""How a document that fails its schema is named to the caller.

Nothing here trusts the document: property names are clipped and escaped in texts, and a pointer ends at the last
ancestor whose path can be shown, so that it is always a true pointer (RFC 6901) to a value that holds the fault.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from signerd.errors import Refusal

__all__ = ["SHOWN", "SchemaError", "invalid", "json_pointer", "shown", "violation"]

SHOWN: Final = 80
"""The most characters of a document's own text that a message repeats."""
POINTER_LIMIT: Final = 512
"""The most characters of a pointer: with 200 levels of long names it would be larger than the fault is worth."""

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


class SchemaError(Protocol):
    """What is read of a validator's error."""

    instance_path: list[str | int]
    kind: Any


def shown(text: str) -> str:
    """Return ``text`` fit for a message: control characters escaped, at most :data:`SHOWN` characters."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text[:SHOWN])
    return escaped if len(text) <= SHOWN and len(escaped) <= SHOWN else escaped[: SHOWN - 1] + "…"


def json_pointer(path: Sequence[str | int]) -> str:
    """Return the JSON pointer (RFC 6901) of ``path``, ended early at a name that is too long or not printable."""
    pointer = ""
    for step in path:
        token = str(step)
        longer = f"{pointer}/{token.replace('~', '~0').replace('/', '~1')}"
        if len(token) > SHOWN or len(longer) > POINTER_LIMIT or not token.isprintable():
            break
        pointer = longer
    return pointer


def invalid(title: str, path: Sequence[str | int], reason: str, text: str) -> Refusal:
    """Build the refusal ``predicate.invalid`` with ``details.pointer``."""
    pointer = json_pointer(path)
    where = f"at {pointer}" if pointer else "at its top"
    return Refusal("predicate.invalid", reason, f"not a valid {title}: {text}, {where}", details={"pointer": pointer})


def violation(title: str, error: SchemaError) -> Refusal:
    """Build the refusal for what a JSON Schema validator found, reason ``schema_violation``."""
    found = _nearest(error)
    kind = found.kind
    if kind.name == "required":
        text = f"the property {shown(str(kind.property))!r} is missing"
    elif kind.name in {"additionalProperties", "unevaluatedProperties"}:
        text = f"the property {shown(str(kind.unexpected[0]))!r} is unknown"
    else:
        text = PHRASES.get(kind.name, f"the rule {kind.name!r} of its schema is broken")
    return invalid(title, found.instance_path, "schema_violation", text)


def _nearest(error: SchemaError) -> SchemaError:
    """Follow ``anyOf`` and ``oneOf`` into the alternative that came furthest: its error is the useful one."""
    while error.kind.name in {"anyOf", "oneOfNotValid", "oneOf"}:
        branches = [branch[0] for branch in getattr(error.kind, "context", ()) if branch]
        deepest = max(branches, key=lambda found: len(found.instance_path), default=error)
        if len(deepest.instance_path) <= len(error.instance_path):
            break
        error = deepest
    return error
