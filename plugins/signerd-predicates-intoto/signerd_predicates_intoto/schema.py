"""JSON Schemas compiled at first use, with limits.

The validator is jsonschema-rs. Its import (tens of milliseconds) and each compilation wait for the first document of
that kind, so that a daemon starts fast. Every schema is compiled offline, with ``format`` asserted, and with the
regular expression engine that runs in linear time: no document can make a pattern backtrack (ReDoS).
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Final, Protocol, cast

from signerd_predicates_intoto.refusal import SchemaError, violation

__all__ = ["Check", "Compiled", "compile_schema", "packaged_schema", "refuse_invalid", "schema_check"]

Check = Callable[[dict[str, object]], None]
"""Returns for a document of its type, raises ``Refusal`` otherwise."""
RESOURCES: Final = "signerd_predicates_intoto"


class Compiled(Protocol):
    """What is used of a compiled schema."""

    def is_valid(self, instance: object) -> bool:
        """Say whether ``instance`` satisfies the schema."""

    def validate(self, instance: object) -> None:
        """Raise a ``ValueError`` that is a :class:`SchemaError` for the first rule that ``instance`` breaks."""


def packaged_schema(name: str) -> dict[str, object]:
    """Read ``data/<name>.json`` of this package."""
    text = resources.files(RESOURCES).joinpath("data", f"{name}.json").read_bytes()
    return cast("dict[str, object]", json.loads(text))


def compile_schema(schema: Mapping[str, object], referred: Callable[[str], object] | None = None) -> Compiled:
    """Compile ``schema``; ``referred`` returns what stands under a ``$ref``'s absolute URI, and is never the network.

    Raises ``ValueError`` for a schema that is none, and for a pattern that needs backtracking.
    """
    import jsonschema_rs  # noqa: PLC0415  # slow: waits for the first document

    validator = jsonschema_rs.validator_for(
        dict(schema),
        validate_formats=True,
        retriever=referred or _nothing_else,
        pattern_options=jsonschema_rs.RegexOptions(),
        offline=True,
    )
    return cast("Compiled", validator)


def schema_check(title: str, name: str) -> Check:
    """Return the check against the packaged schema ``name``, compiled when it is first called."""

    @cache
    def compiled() -> Compiled:
        return compile_schema(packaged_schema(name))

    def check(document: dict[str, object]) -> None:
        refuse_invalid(title, compiled(), document)

    return check


def refuse_invalid(title: str, compiled: Compiled, document: object) -> None:
    """Raise ``predicate.invalid``, reason ``schema_violation``, if ``document`` breaks a rule of the schema."""
    if compiled.is_valid(document):
        return
    try:
        compiled.validate(document)
    except ValueError as error:
        raise violation(title, cast("SchemaError", error)) from None
    raise ValueError(f"the validator of {title} contradicts itself")  # fails closed: the guard makes it a fault


def _nothing_else(uri: str) -> object:
    raise ValueError(f"a schema refers to {uri}, outside its package")
