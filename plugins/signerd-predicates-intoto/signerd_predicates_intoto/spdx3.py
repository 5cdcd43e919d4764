"""SPDX 3.0.1 in JSON-LD, by the model of the official bindings (``spdx-python-model``).

The bindings' own reader takes more than the serialisation that the specification fixes (spdx-spec 3.0.1, chapter
"Model and serializations": expanded IRIs as keys, single values for arrays, numbers for booleans), recurses once a
level, and drops what its caller never sees. So the classes, properties, ranges, cardinalities and patterns are read
from the bindings and become a JSON Schema; the validator judges, never the reader.

Each object names its class in ``type``, and the schema is one table from that name to the class. An ``anyOf`` over the
classes would try every class that has the same property at every level: exponential in the depth of nesting.
"""

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from signerd_predicates_intoto.refusal import invalid, violation
from signerd_predicates_intoto.schema import Compiled, compile_schema

__all__ = ["CONTEXT", "check_spdx3", "model_schema"]

CONTEXT: Final = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
"""The only context that the bindings know: it names the version of the model."""
BINDINGS: Final = "spdx_python_model.bindings.v3_0_1.model"
TITLE: Final = "SPDX 3.0.1 document"

Schema = dict[str, Any]

IRI: Final[Schema] = {"type": "string", "pattern": "^.+:.+", "not": {"pattern": "^_:"}}
BLANK: Final[Schema] = {"type": "string", "pattern": "^_:.+"}
IDENTIFIERS: Final[dict[str, Schema]] = {
    "IRI": IRI,
    "BlankNode": BLANK,
    "BlankNodeOrIRI": {"anyOf": [IRI, BLANK]},
}
DECIMAL: Final[Schema] = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]*)?$"}]}
"""xsd:decimal, which JSON-LD may write as a string to keep its digits."""
PLAIN: Final[dict[str, Schema]] = {
    "BooleanProp": {"type": "boolean"},
    "IntegerProp": {"type": "integer"},
    "PositiveIntegerProp": {"type": "integer", "minimum": 1},
    "NonNegativeIntegerProp": {"type": "integer", "minimum": 0},
    "FloatProp": DECIMAL,
}
TEXTS: Final = frozenset({"StringProp", "AnyURIProp", "DateTimeProp", "DateTimeStampProp"})


def check_spdx3(document: dict[str, object]) -> None:
    """Refuse what is not an SPDX 3.0.1 document: one ``@graph``, or one object beside the ``@context``."""
    if document.get("@context") != CONTEXT:
        text = f"its context is not {CONTEXT}"
        raise invalid("SPDX document", ["@context"], "version_unsupported", text)
    alone = "@graph" not in document
    graph: object = document
    if alone:
        graph = {"@context": CONTEXT, "@graph": [{k: v for k, v in document.items() if k != "@context"}]}
    compiled = _compiled()
    if compiled.is_valid(graph):
        return
    try:
        compiled.validate(graph)
    except ValueError as error:
        found: Any = error
        if alone:
            raise invalid_alone(found) from None
        raise violation(TITLE, found) from None
    raise ValueError("the validator of SPDX 3.0.1 contradicts itself")  # fails closed: the guard makes it a fault


@cache
def _compiled() -> Compiled:
    return compile_schema(model_schema())
