"""Reads tables of a TOML document into Structs, key by key, and names what is wrong in plain words.

``msgspec.convert`` of a whole table would stop at the first fault; an operator wants them all.
"""

import datetime
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, TypeVar, get_args, get_origin

import msgspec

__all__ = ["TableReader", "quoted"]

S = TypeVar("S", bound=msgspec.Struct)


class TableReader:
    """Collects in ``problems`` what is wrong with the tables of one document, each as ``file: key:
    expectation``.
    """

    def __init__(self, file: str) -> None:
        """Read tables of the document that ``file`` names."""
        self.file = file
        self.problems: list[str] = []

    def problem(self, key: str, expectation: str) -> None:
        """Note a problem with ``key``."""
        self.problems.append(f"{self.file}: {key}: {expectation}")

    def table(self, parent: Mapping[str, object], key: str, where: str) -> Mapping[str, object]:
        """Return the table under ``key``, empty where there is none."""
        found = parent.get(key, {})
        if isinstance(found, dict):
            return found
        self.problem(where, "expected a table")
        return {}

    def tables(
        self, parent: Mapping[str, object], section: str
    ) -> Iterator[tuple[str, Mapping[str, object]]]:
        """Yield the named tables of a section, in the file's order."""
        for name in (section_table := self.table(parent, section, section)):
            yield name, self.table(section_table, name, f"{section}.{quoted(name)}")

    def known(self, table: Mapping[str, object], allowed: Sequence[str], where: str) -> None:
        """Note every key that is not ``allowed``."""
        for key in table:
            if key not in allowed:
                path = f"{where}.{quoted(key)}" if where else quoted(key)
                self.problem(path, f"unknown key; expected one of {', '.join(sorted(allowed))}")

    def struct(self, made: type[S], table: Mapping[str, object], where: str, **given: object) -> S | None:
        """Return the Struct that ``table`` holds beside ``given``, or None where it has a problem."""
        before = len(self.problems)
        fields = {field.name: field for field in msgspec.structs.fields(made)}
        self.known(table, [name for name in fields if name not in given], where)
        values: dict[str, object] = {}
        for name, field in fields.items():
            path = f"{where}.{name}" if name in table else where
            if name in given or name in table:
                value = given.get(name, table.get(name))
                try:
                    values[name] = msgspec.convert(value, field.type)
                except msgspec.ValidationError as exc:
                    self.problem(path, _expectation(exc, field.type))
            elif field.required:
                self.problem(f"{where}.{name}", f"missing; expected {_named(field.type)}")
        return made(**values) if len(self.problems) == before else None

    def settings(self, table: Mapping[str, object], where: str) -> dict[str, object]:
        """Return a table of settings as it is, less what no other process could be told: dates and times."""
        for key, value in _leaves(table, where):
            if isinstance(value, datetime.date | datetime.time):
                self.problem(key, "expected a text in quotes, got a TOML date or time")
        return dict(table)


def quoted(key: str) -> str:
    """Return ``key`` as TOML would write it in a path: bare where it may be."""
    bare = key and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in key)
    return key if bare else json.dumps(key)


def _leaves(value: object, where: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{where}.{quoted(key)}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{where}[{index}]")
    else:
        yield where, value


def _expectation(exc: msgspec.ValidationError, kind: object) -> str:
    # "Expected `int`, got `str` - at `$[0]`": its place within the value, then what was expected.
    said, _, place = str(exc).partition(" - at `$")
    sentence = said[:1].lower() + said[1:]
    if " - at `key` in " in str(exc):
        return f"expected keys that are {_named(get_args(kind)[0])}: {sentence.partition(' - at ')[0]}"
    literals = _literals(kind)
    if (literals and "nvalid enum value" in said) or "matching regex" in said:
        sentence = f"expected {_named(kind)}"
    return f"at {place.rstrip('`')}: {sentence}" if place else sentence


def _literals(kind: object) -> tuple[object, ...]:
    if get_origin(kind) is typing.Literal:
        return get_args(kind)
    if isinstance(kind, types.UnionType) or get_origin(kind) is typing.Union:
        return tuple(value for part in get_args(kind) for value in _literals(part))
    return ()


def _named(kind: object) -> str:
    """Return what a value of this type is, in words."""
    values = _literals(kind)
    if values:
        return "one of " + ", ".join(
            f"0o{value:o}" if isinstance(value, int) else str(value) for value in values
        )
    if get_origin(kind) is Annotated:
        base, *metas = get_args(kind)
        said = [meta.description for meta in metas if isinstance(meta, msgspec.Meta) and meta.description]
        if said:
            return said[0]
        patterns = [meta.pattern for meta in metas if isinstance(meta, msgspec.Meta) and meta.pattern]
        return f"{_named(base)} of the form {patterns[0]}" if patterns else _named(base)
    if isinstance(kind, types.UnionType) or get_origin(kind) is typing.Union:
        return " or ".join(_named(part) for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is tuple:
        return f"an array, each {_named(get_args(kind)[0])}"
    return {str: "a text", int: "an integer", float: "a number", bool: "true or false"}.get(kind, "a table")  # type: ignore[call-overload, no-any-return]
