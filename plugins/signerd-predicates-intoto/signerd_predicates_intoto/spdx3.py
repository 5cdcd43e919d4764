"""SPDX 3.0.1 in JSON-LD, by the model of the official bindings (``spdx-python-model``).

The bindings' own reader takes more than the serialisation that the specification fixes (spdx-spec 3.0.1,
chapter "Model and serializations": expanded IRIs as keys, single values for arrays, numbers for booleans),
recurses once a level, and drops what its caller never sees. So the classes, properties, ranges, cardinalities
and patterns are read from the bindings and become a JSON Schema; the validator judges, never the reader.

Each object names its class in ``type``, and the schema is one table from that name to the class. An ``anyOf``
over the classes would try every class that has the same property at every level: exponential in the depth of
nesting.
"""

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from signerd.contracts.violation import CompiledSchema, invalid, refuse_invalid
from signerd_predicates_intoto.schema import compile_schema

__all__ = ["CONTEXT", "check_spdx3", "model_schema"]

CONTEXT: Final = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
"""The only context that the bindings know: it names the version of the model."""
BINDINGS: Final = "spdx_python_model.bindings.v3_0_1.model"
TITLE: Final = "SPDX 3.0.1 document"

Schema = dict[str, Any]

IRI: Final[Schema] = {"type": "string", "pattern": "^.+:.+", "not": {"pattern": "^_:"}}
BLANK: Final[Schema] = {"type": "string", "pattern": "^_:.+"}
REFERENCE: Final[Schema] = {"anyOf": [IRI, BLANK]}
IDENTIFIERS: Final = {"IRI": IRI, "BlankNode": BLANK, "BlankNodeOrIRI": REFERENCE}
DECIMAL: Final[Schema] = {
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]*)?$"}],
}
"""xsd:decimal, which JSON-LD may write as a string to keep its digits."""
PLAIN: Final[dict[str, Schema]] = {
    "BooleanProp": {"type": "boolean"},
    "IntegerProp": {"type": "integer"},
    "PositiveIntegerProp": {"type": "integer", "minimum": 1},
    "NonNegativeIntegerProp": {"type": "integer", "minimum": 0},
    "FloatProp": DECIMAL,
}
DATE_TIME: Final = r"^\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-6]\d:[0-6]\d(Z|[+-][01]\d:[0-6]\d)$"
"""The lexical form of a time: the official JSON Schema bounds the first digits and knows no calendar."""


def check_spdx3(document: dict[str, object]) -> None:
    """Refuse what is not an SPDX 3.0.1 document: one ``@graph``, or one object beside the ``@context``."""
    if document.get("@context") != CONTEXT:
        text = f"its context is not {CONTEXT}"
        raise invalid("SPDX document", ["@context"], "version_unsupported", text)
    if "@graph" in document:
        refuse_invalid(TITLE, _compiled(), document)
    else:
        element = {name: value for name, value in document.items() if name != "@context"}
        refuse_invalid(TITLE, _compiled(), {"@context": CONTEXT, "@graph": [element]}, skip=2)


@cache
def _compiled() -> CompiledSchema:
    return compile_schema(model_schema())


def model_schema() -> Schema:
    """Return the JSON Schema of an SPDX 3.0.1 document, made from the classes of the bindings."""
    model = importlib.import_module(BINDINGS)
    classes = sorted(set(model.SHACLObject.CLASSES.values()), key=lambda cls: cls.__name__)
    concrete = [cls for cls in classes if not cls.IS_ABSTRACT]
    defs: Schema = {f"class:{cls.__name__}": _object(cls) for cls in concrete}
    for cls in classes:
        below = [one for one in concrete if issubclass(one, cls)]
        node = _extension(concrete) if cls is model.extension_Extension else _by_type(below)
        # A property with a class as its range holds the object itself or the identifier of one elsewhere.
        defs[f"range:{cls.__name__}"] = {"if": {"type": "string"}, "then": REFERENCE, "else": node}
    defs["any"] = _by_type(concrete)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "@context": {"const": CONTEXT},
            "@graph": {"type": "array", "items": {"$ref": "#/$defs/any"}},
        },
        "required": ["@context", "@graph"],
        "additionalProperties": False,
        "$defs": defs,
    }


def _by_type(classes: list[Any]) -> Schema:
    """An object of one of ``classes``, chosen by its ``type`` alone."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": [cls._COMPACT_TYPE for cls in classes]}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": cls._COMPACT_TYPE}}},
                "then": {"$ref": f"#/$defs/class:{cls.__name__}"},
            }
            for cls in classes
        ],
    }


def _extension(classes: list[Any]) -> Schema:
    """An extension: its class is anybody's, so that only ``type`` can be judged."""
    names = [cls._COMPACT_TYPE for cls in classes]
    return {"type": "object", "required": ["type"], "properties": {"type": {"anyOf": [IRI, {"enum": names}]}}}


def _object(cls: Any) -> Schema:
    """An object of exactly this class, its inherited properties included."""
    identifier = cls.ID_ALIAS or "@id"
    properties: Schema = {"type": {"const": cls._COMPACT_TYPE}, identifier: IDENTIFIERS[cls.NODE_KIND.name]}
    required = ["type", identifier] if cls.NODE_KIND.name == "IRI" else ["type"]
    for entry, prop in _properties(cls):
        properties[entry.compact] = _values(entry, prop)
        if entry.min_count:
            required.append(entry.compact)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _properties(cls: Any) -> Iterator[tuple[Any, Any]]:
    for entry in cls._OBJ_PY_PROPS.values():
        if entry.iri != "@id":
            yield entry, entry.prop or entry.reg()


def _values(entry: Any, prop: Any) -> Schema:
    """What a property may hold: one value, or an array where the model sets no upper bound of one."""
    if type(prop).__name__ != "ListProp":
        return _value(prop)
    return {"type": "array", "items": _value(prop.prop), "minItems": entry.min_count or 0}


def _value(prop: Any) -> Schema:
    kind = type(prop).__name__
    if kind == "EnumProp":
        return {"enum": [compact for _, compact in prop.context]}
    if kind == "ObjectProp":
        ranged: Schema = {"$ref": f"#/$defs/range:{prop.cls.__name__}"}
        individuals = [compact for _, compact in prop.context]
        return {"anyOf": [{"enum": individuals}, ranged]} if individuals else ranged
    if kind in PLAIN:
        return PLAIN[kind]
    text: Schema = {"type": "string"}
    if prop.pattern:
        text["pattern"] = prop.pattern
    if kind.startswith("DateTime"):
        text["allOf"] = [{"pattern": DATE_TIME}]
    return text
