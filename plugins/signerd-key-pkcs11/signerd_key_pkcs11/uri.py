"""PKCS#11 URIs (RFC 7512) as references to private keys.

A reference names its token by label or serial number, because a PIN is sent to what it names, and its key by
label, id or both. A URI that carries a PIN, or says where one lies, is refused: references stand in logs,
records and answers.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from signerd.errors import Refusal
from signerd_key_pkcs11.failures import forbidden, not_found

__all__ = ["KeyUri", "beside", "parse"]

SCHEME: Final = "pkcs11:"

# RFC 7512, section 2.3: pk11-pchar and pk11-qchar. "&" separates in the query and stands for itself in the path.
_IN_PATH: Final = re.compile(r"(?:[A-Za-z0-9._~:\[\]@!$'()*+,=&-]|%[0-9A-Fa-f]{2})+")
_IN_QUERY: Final = re.compile(r"(?:[A-Za-z0-9._~:\[\]@!$'()*+,=/?|-]|%[0-9A-Fa-f]{2})+")
_VERSION: Final = re.compile(r"\.v[0-9]{1,4}\Z")
ID_BYTES: Final = 16
_PIN: Final = {"pin-value", "pin-source"}


@dataclass(frozen=True, slots=True)
class KeyUri:
    """What a reference asks for; None asks for nothing in particular. ``id`` is CKA_ID, ``module`` a name of the
    table ``modules``."""

    token: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    slot_id: int | None = None
    slot_description: str | None = None
    slot_manufacturer: str | None = None
    library_description: str | None = None
    library_manufacturer: str | None = None
    library_version: tuple[int, int] | None = None
    object: str | None = None
    id: bytes | None = None
    module: str | None = None


def parse(reference: str) -> KeyUri:
    """Read a reference.

    Refuses ``key.forbidden`` with reason ``pin_in_uri`` or ``module_path_in_uri`` (a reference loads no code),
    and ``key.not_found``: ``reference`` (another scheme), ``uri_malformed``, ``uri_attribute`` (unknown),
    ``uri_repeated``, ``uri_type`` (not that of a private key), ``token_unnamed``, ``key_unnamed``.
    """
    rest = reference.removeprefix(SCHEME)
    if rest == reference:
        raise not_found("reference", f"{reference[:80]!r} is no pkcs11: URI")
    if any(part.partition("=")[0].strip().lower() in _PIN for part in re.split("[;?&]", rest)):
        # Before anything else is looked at, so that no other refusal repeats it.
        raise forbidden("pin_in_uri", "a key reference must not carry a PIN or the place of one")
    path, _, query = rest.partition("?")
    found: dict[str, object] = {}
    _take(found, path.split(";") if path else [], _PATH, _IN_PATH)
    _take(found, query.split("&") if query else [], _QUERY, _IN_QUERY)
    if found.pop("type", "private") != "private":
        raise not_found("uri_type", "only a private key signs: type=private, or no type")
    uri = KeyUri(**found)  # type: ignore[arg-type]  # the tables below give each field its type
    if uri.token is None and uri.serial is None:
        raise not_found("token_unnamed", "the reference must name its token by token= or serial=")
    if uri.object is None and uri.id is None:
        raise not_found("key_unnamed", "the reference must name its key by object= or id=")
    return uri


def beside(reference: str, number: int) -> str:
    """Return a reference for version ``number`` of the key that ``reference`` names: in the same token, by a label that
    says so and an id of its own, at random. Refuses as :func:`parse` does.
    """
    uri = parse(reference)
    label = _VERSION.sub("", uri.object if uri.object is not None else (uri.id or b"").hex())
    path, mark, query = reference.removeprefix(SCHEME).partition("?")
    kept = [part for part in path.split(";") if part.partition("=")[0] not in ("object", "id")]
    identifier = "".join(f"%{byte:02x}" for byte in secrets.token_bytes(ID_BYTES))
    path = ";".join([*kept, f"object={quote(f'{label}.v{number}', safe='')}", f"id={identifier}"])
    return f"{SCHEME}{path}{mark}{query}"


def _take(
    found: dict[str, object],
    parts: list[str],
    known: Mapping[str, tuple[str, Callable[[bytes], object]]],
    allowed: re.Pattern[str],
) -> None:
    for part in parts:
        name, _, value = part.partition("=")
        if name == "module-path":
            raise forbidden("module_path_in_uri", "a key reference must not name a module's file")
        if name not in known:
            raise not_found("uri_attribute", f"unknown attribute {name[:40]!r}")
        field, read = known[name]
        if field in found:
            raise not_found("uri_repeated", f"{name} stands there twice")
        if allowed.fullmatch(value) is None:
            raise _malformed(name)
        try:
            found[field] = read(unquote_to_bytes(value))
        except ValueError:
            raise _malformed(name) from None


def _malformed(name: str) -> Refusal:
    return not_found(
        "uri_malformed", f"{name}: an RFC 7512 value is expected, what it does not allow as %XX, and not empty"
    )


def _text(value: bytes) -> str:
    if b"\0" in value:
        raise ValueError
    return value.decode()


def _number(value: bytes) -> int:
    if re.fullmatch(rb"[0-9]{1,19}", value) is None:
        raise ValueError
    return int(value)


def _version(value: bytes) -> tuple[int, int]:
    found = re.fullmatch(rb"([0-9]{1,3})(?:\.([0-9]{1,3}))?", value)
    if found is None:
        raise ValueError
    return int(found[1]), int(found[2] or 0)


_PATH: Final[dict[str, tuple[str, Callable[[bytes], object]]]] = {
    "id": ("id", bytes),
    "library-description": ("library_description", _text),
    "library-manufacturer": ("library_manufacturer", _text),
    "library-version": ("library_version", _version),
    "manufacturer": ("manufacturer", _text),
    "model": ("model", _text),
    "object": ("object", _text),
    "serial": ("serial", _text),
    "slot-description": ("slot_description", _text),
    "slot-id": ("slot_id", _number),
    "slot-manufacturer": ("slot_manufacturer", _text),
    "token": ("token", _text),
    "type": ("type", _text),
}
_QUERY: Final[dict[str, tuple[str, Callable[[bytes], object]]]] = {"module-name": ("module", _text)}
