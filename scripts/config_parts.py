"""What fills the places of scripts/config-page.md: a table for each section, from the Struct that it is read into."""

import ast
import inspect
from collections.abc import Iterable
from itertools import pairwise
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta

from protocol_tables import field_texts, table
from signerd.contracts.providers import PredicateType
from signerd.host import config_keyless, config_limits, config_trust, config_types
from signerd.host.config_approvals import Approvals, Approver, GatedOperation
from signerd.host.config_keyless import Keyless
from signerd.host.config_limits import Limits
from signerd.host.config_model import AdminSocket, Backend, Conformance, Daemon, Key, Plugin, Publisher, Socket, Tenant
from signerd.host.config_trust import Trust, TrustedAuthority, TrustedLog, TrustedRekor, TrustedService, Verification
from signerd_predicates_intoto import catalogue as intoto
from signerd_predicates_stella import catalogue as stella

__all__ = ["parts"]

_PLAIN: dict[object, str] = {str: "text", int: "integer", float: "seconds", bool: "true or false"}
_ALIASES: dict[object, str] = {
    config_types.Name: "name",
    config_types.KeyReference: "key reference",
    config_types.Uid: "uid",
    config_keyless.AbsolutePath: "absolute path",
    config_keyless.Keyless: "[table](#keysrefkeyless)",
    config_types.Uri: "URI",
    config_types.Certificate: "`none` or absolute path",
    config_trust.Time: "time",
    config_trust.Url: "URL",
}
_KIB = 1024


def parts() -> dict[str, str]:
    """The text of each place by its name."""
    sections: dict[str, type[msgspec.Struct]]
    sections = {
        "daemon": Daemon,
        "socket": Socket,
        "admin_socket": AdminSocket,
        "conformance": Conformance,
        "plugin": Plugin,
        "backend": Backend,
        "publisher": Publisher,
        "tenant": Tenant,
        "key": Key,
        "keyless": Keyless,
        "approvals": Approvals,
        "approver": Approver,
        "trust": Trust,
        "trusted_authority": TrustedAuthority,
        "trusted_log": TrustedLog,
        "trusted_rekor": TrustedRekor,
        "trusted_service": TrustedService,
        "verification": Verification,
    }
    return {
        **{name: _section(cls) for name, cls in sections.items()},
        "limits": _limits(),
        "gated": ", ".join(f"`{name}`" for name in get_args(GatedOperation)),
        "intoto": _catalogue(intoto.predicate_types()),
        "stella": _catalogue(stella.predicate_types("uri")),
    }


def _catalogue(types: Iterable[PredicateType]) -> str:
    """URIs, short names, and whether the tool's digest must be on the list."""
    rows = (
        (f"`{each.uri}`", ", ".join(f"`{name}`" for name in each.names), "yes" if each.needs_release else "no")
        for each in types
    )
    return table(("predicate type", "short names", "needs a release"), rows)


def _section(cls: type[msgspec.Struct]) -> str:
    """Keys, types, defaults and meanings."""
    meanings = field_texts(cls)
    rows = (
        (f"`{field.name}`", _type(field.type), _default(field), meanings[field.name])
        for field in msgspec.structs.fields(cls)
        if (cls, field.name) not in _NO_KEYS
    )
    return table(("key", "type", "default", "meaning"), rows)


_NO_KEYS = {
    (Plugin, "name"),
    (Plugin, "settings"),
    (Backend, "name"),
    (Publisher, "name"),
    (Tenant, "name"),
    (Key, "key"),
    (Approvals, "approvers"),
}
"""What the table's header says, and what is all that is left of a table."""


def _limits() -> str:
    """Each limit with its default and the reason for it, which stands under the constant of its name."""
    reasons = _reasons()
    rows = (
        (f"`{field.name}`", _type(field.type), _default(field), reasons[field.name.upper()])
        for field in msgspec.structs.fields(Limits)
    )
    return table(("key", "type", "default", "why so much"), rows)


def _reasons() -> dict[str, str]:
    body = ast.parse(inspect.getsource(config_limits)).body
    return {
        constant.target.id: " ".join(str(ast.literal_eval(text.value)).split())
        for constant, text in pairwise(body)
        if isinstance(constant, ast.AnnAssign) and isinstance(constant.target, ast.Name) and isinstance(text, ast.Expr)
    }


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.name == "state":
        return "of the environment"  # filled in before the Struct is made
    value = field.default
    if value is NODEFAULT:
        return "required" if field.default_factory is NODEFAULT else "empty"
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(field, value)
    if isinstance(value, float):
        return f"{value:g}"
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return f"`{value}`" if value else "empty"


def _number(field: msgspec.structs.FieldInfo, value: int) -> str:
    if _octal(field.type):
        return f"0o{value:o}"
    return _size(value) if "bytes" in field.name.split("_") else f"{value:,}"


def _size(value: int) -> str:
    for unit, size in (("MiB", _KIB * _KIB), ("KiB", _KIB)):
        if value % size == 0:
            return f"{value:,} ({value // size} {unit})"
    return f"{value:,}"


def _octal(annotation: object) -> bool:
    return get_origin(annotation) is Literal and all(isinstance(value, int) for value in get_args(annotation))


def _type(annotation: object) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _ALIASES or isinstance(annotation, type):
        return {**_ALIASES, **_PLAIN}[annotation]
    if origin is Annotated:
        base, *metas = arguments
        return _type(base) + "".join(_bounds(meta) for meta in metas if isinstance(meta, Meta))
    if origin in (Union, UnionType):
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
    if origin is Literal:
        return ", ".join(f"`0o{value:o}`" if isinstance(value, int) else f"`{value}`" for value in arguments)
    if origin is tuple and isinstance(arguments[0], type) and issubclass(arguments[0], msgspec.Struct):
        return "array of tables"
    return f"array of {_type(arguments[0])}" if origin is tuple else "table"


def _bounds(meta: Meta) -> str:
    if meta.pattern == r"^[0-9a-f]{64}\Z":
        return ", 64 hex digits"
    if meta.gt is not None and meta.le is not None:
        return f", above {meta.gt:g}, at most {meta.le:g}"
    if meta.ge is not None and meta.le is not None:
        return f", {meta.ge:,} to {meta.le:,}"
    return ", not empty" if meta.min_length else ""
