"""Asking a check and an oracle for their verdicts on many documents."""

import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import jsonschema_rs

from outside.parts import VECTORS
from signerd.errors import Refusal

Check = Callable[[dict[str, Any]], None]
Oracle = Callable[[Any], bool]


@cache
def oracle(name: str) -> Oracle:
    """The official schema ``name`` of the vectors, ``format`` asserted."""
    schema = json.loads((VECTORS / "schemas" / f"{name}.schema.json").read_bytes())
    return jsonschema_rs.validator_for(schema, validate_formats=True, offline=True).is_valid


def accepts(check: Check, document: dict[str, Any]) -> bool:
    """Say whether the check accepts; anything but a proper refusal is raised."""
    try:
        check(document)
    except Refusal as refusal:
        if refusal.code != "predicate.invalid" or not isinstance(refusal.details["pointer"], str):
            raise
        return False
    return True


def disagreements(
    check: Check, judge: Oracle, documents: Iterable[tuple[str, dict[str, Any]]]
) -> tuple[list[str], int]:
    """Return what the two judge differently, and how many documents both accepted."""
    found, accepted = [], 0
    for what, document in documents:
        ours, theirs = accepts(check, document), judge(document)
        accepted += ours and theirs
        if ours != theirs:
            found.append(f"{'only we accept' if ours else 'only we refuse'}: {what}")
    return found, accepted
