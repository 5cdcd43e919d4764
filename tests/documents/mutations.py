"""What can be wrong with a JSON document: a value replaced, dropped, renamed, repeated, wrapped, added to."""

from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]

REPLACEMENTS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    1.5,
    2.0,
    "",
    "x",
    "a:b",
    "_:b",
    "2020-01-01T00:00:00Z",
    "2020-13-41T25:61:61Z",
    [],
    {},
    ["x"],
    [None],
    ["a:b"],
    {"a": 1},
    [[]],
    [{}],
    "1e9",
    10**12,
)
ADDED = (
    "unknown",
    "comment",
    "name",
    "type",
    "@type",
    "@id",
    "id",
    "annotations",
    "relationships",
    "$schema",
    "value",
    "copyrightText",
    "version",
    "supplier",
    "description",
)


def mutations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (what was done, document): one change each, ``document`` itself untouched.

    Of several places of one shape (the same property of the items of an array) only the first is changed.
    """
    seen: set[Path] = set()
    for path, value in _places(document):
        shape = tuple("*" if isinstance(step, int) else step for step in path)
        if shape in seen:
            continue
        seen.add(shape)
        for change, new in _changes(value):
            changed = _with(document, path, new)
            if isinstance(changed, dict):
                yield f"{'/'.join(map(str, path))}: {change}", changed


def _places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, one in inner:
        yield from _places(one, (*path, step))


def _changes(value: Any) -> Iterator[tuple[str, Any]]:
    for new in REPLACEMENTS:
        yield f"= {new!r}", new
    yield "in an array", [value]
    yield "in an object", {"value": value}
    if isinstance(value, str):
        for new in (
            value.lower(),
            value.upper(),
            f"{value} ",
            value[:-1],
            f"{value}é",
            value.replace("_", "-"),
        ):
            yield f"= {new!r}", new
    if isinstance(value, dict):
        for name in value:
            without = {other: one for other, one in value.items() if other != name}
            yield f"without {name}", without
            yield f"{name} renamed", {**without, f"{name}X": value[name]}
        for name in ADDED:
            for new in ("x", [], 1, {}):
                if name not in value:
                    yield f"with {name} = {new!r}", {**value, name: new}
    if isinstance(value, list):
        yield "twice", value + value
        yield "and null", [*value, None]
        yield "mixed", [*value, "x", 1, {}]


def _with(document: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    step, *rest = path
    copied = document.copy()
    copied[step] = _with(document[step], tuple(rest), new)
    return copied
