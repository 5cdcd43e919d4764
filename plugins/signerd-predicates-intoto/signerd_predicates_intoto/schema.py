"""JSON Schemas compiled at first use, with limits.

The validator is jsonschema-rs. Its import (tens of milliseconds) and each compilation wait for the first
document of that kind, so that a daemon starts fast. Nothing but the given function resolves a ``$ref``. Every
schema is compiled with ``format`` asserted, and with the regular expression engine that runs in linear time:
no document can make a pattern backtrack (ReDoS).
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any, Final, cast

from signerd.contracts.violation import CompiledSchema, refuse_invalid

__all__ = ["Check", "Referred", "compile_schema", "packaged_schema", "schema_check"]

Check = Callable[[dict[str, object]], None]
"""Returns for a document of its type, raises ``Refusal`` otherwise."""
Referred = Callable[[str], Any]
"""Returns the schema under a URI, raises ``ValueError`` for one that it does not have."""
RESOURCES: Final = "signerd_predicates_intoto"


def packaged_schema(name: str) -> dict[str, object]:
    """Read ``data/<name>.json`` of this package."""
    text = resources.files(RESOURCES).joinpath("data", f"{name}.json").read_bytes()
    return cast("dict[str, object]", json.loads(text))


def compile_schema(schema: Mapping[str, object], referred: Referred | None = None) -> CompiledSchema:
    """Compile ``schema``; ``referred`` returns what stands under the absolute URI of a ``$ref``.

    Without it a schema that refers to another is refused; the network is never asked. Raises ``ValueError``
    for a schema that is none, and for a pattern that needs backtracking.
    """
    import jsonschema_rs  # slow: waits for the first document

    validator = jsonschema_rs.validator_for(
        dict(schema),
        validate_formats=True,
        retriever=referred or _nothing_else,
        pattern_options=jsonschema_rs.RegexOptions(),
        mask="the value",
    )
    return cast("CompiledSchema", validator)


def schema_check(title: str, name: str, definition: str | None = None) -> Check:
    """Return the check against the packaged schema ``name`` or one ``definition`` of it."""

    @cache
    def compiled() -> CompiledSchema:
        schema = packaged_schema(name)
        return compile_schema({**schema, "$ref": f"#/$defs/{definition}"} if definition else schema)

    def check(document: dict[str, object]) -> None:
        refuse_invalid(title, compiled(), document)

    return check


def _nothing_else(uri: str) -> Any:
    raise ValueError(f"a schema refers to {uri}, outside its package")
