"""SPDX 3.0.1 documents: an object of each class with every property that the bindings know."""

import importlib
from collections.abc import Iterator
from typing import Any

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"


def graph(*elements: Any) -> dict[str, Any]:
    """A document with these objects."""
    return {"@context": CONTEXT, "@graph": list(elements)}


def elements() -> Iterator[dict[str, Any]]:
    """Yield an object of each class that is not abstract."""
    model = importlib.import_module("spdx_python_model.bindings.v3_0_1.model")
    for cls in sorted(set(model.SHACLObject.CLASSES.values()), key=lambda one: one.__name__):
        if not cls.IS_ABSTRACT:
            yield _element(cls, inline=True)


def element(name: str) -> dict[str, Any]:
    """The object of one class."""
    return next(one for one in elements() if one["type"] == name)


def _element(cls: Any, *, inline: bool) -> dict[str, Any]:
    identifier = "https://example.com/i" if cls.NODE_KIND.name == "IRI" else "_:b"
    made: dict[str, Any] = {"type": cls._COMPACT_TYPE, cls.ID_ALIAS or "@id": identifier}
    for entry in cls._OBJ_PY_PROPS.values():
        if entry.iri == "@id":
            continue
        prop = entry.prop or entry.reg()
        inner = getattr(prop, "prop", None)
        if inner is None:
            made[entry.compact] = _value(prop, inline=inline)
        elif type(inner).__name__ == "EnumProp":
            made[entry.compact] = [compact for _, compact in inner.context]
        else:
            made[entry.compact] = [_value(inner, inline=inline)] * (entry.min_count or 1)
    return made


def _value(prop: Any, *, inline: bool) -> Any:
    kind = type(prop).__name__
    if kind == "EnumProp":
        return prop.context[0][1]
    if kind == "ObjectProp":
        below = [
            cls for cls in prop.cls.CLASSES.values() if issubclass(cls, prop.cls) and not cls.IS_ABSTRACT
        ]
        if inline and prop.cls.NODE_KIND.name != "IRI":
            return _element(min(below, key=lambda cls: cls.__name__), inline=False)
        return "https://example.com/x"
    if kind == "DateTimeStampProp":
        return "2020-01-01T00:00:00Z"
    if kind in {"StringProp", "AnyURIProp"}:
        return "a:b" if not prop.pattern else "a/b" if "/" in prop.pattern else "3.0.1"
    return {"BooleanProp": True, "FloatProp": 1.5}.get(kind, 3)
