"""Strict decoding of what a peer sent, and the reason of a refusal in words that stay the same.

msgspec says in a sentence what is wrong; here the sentence becomes a stable reason and a field. Three of its
ways to fail are no DecodeError: bad UTF-8 is a UnicodeDecodeError, deep nesting a RecursionError, and a key
that comes twice is no failure at all (the last one wins), so it is looked for here.
"""

import re
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from signerd.errors import Refusal
from signerd.wire.frames import ENCODER

__all__ = ["BROKEN", "KEYS_MAX", "check_keys", "decode_strict", "malformed", "refusal_from"]

T = TypeVar("T", bound=msgspec.Struct)

BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Everything that decoding a peer's bytes may raise."""

NAME_MAX: Final = 64
"""Characters of a peer's own text that an answer repeats."""

KEYS_MAX: Final = 64
"""Keys of one map whose unknown keys are ignored: room for a later version, none for a flood."""

_PATH: Final = re.compile(r" - at (?:`key` in )?`\$\.?(?P<field>.*)`\Z", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`\Z", re.DOTALL)
_VALUE: Final = re.compile(r"Invalid enum value '?(?P<name>.*?)'?\Z", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`\Z", re.DOTALL)

_TOO_LONG: Final = ("Expected `array` of length <=", "Expected `object` of length <=")

_MAP_FIX: Final = 0x80
_MAP_16: Final = 0xDE
_ENTRIES: Final = msgspec.msgpack.Decoder(dict[str, Raw])
_ELEMENTS: Final = msgspec.msgpack.Decoder(list[Raw])


def malformed(reason: str, field: str = "") -> Refusal:
    """A ``request.malformed`` that names the field, where it is a field."""
    details = {"field": field[:NAME_MAX]} if field else None
    return Refusal(
        "request.malformed", reason, "the request has another shape than its method asks for", details=details
    )


def decode_strict(decoder: msgspec.msgpack.Decoder[T], raw: Raw, *, unique_keys: bool = True) -> T:
    """Decode ``raw``; a key that comes twice in a map is refused where ``unique_keys``.

    Raises :class:`~signerd.errors.Refusal` and nothing else, whatever the bytes are.
    """
    try:
        decoded = decoder.decode(raw)
        if unique_keys:
            check_keys(decoded, raw)
    except BROKEN as exc:
        raise refusal_from(exc) from None
    return decoded


def refusal_from(exc: Exception) -> Refusal:
    """The refusal that a failure of decoding is."""
    if isinstance(exc, msgspec.ValidationError):
        text, field = str(exc), ""
        if path := _PATH.search(text):
            text, field = text[: path.start()], path["field"]
        return _refusal_of_shape(text, field)
    if isinstance(exc, UnicodeDecodeError):
        return malformed("bad_utf8")
    return malformed("too_deep" if isinstance(exc, RecursionError) else "not_msgpack")


def _refusal_of_shape(text: str, field: str) -> Refusal:
    if unknown := _UNKNOWN.match(text):
        return _unsupported("unknown_key", unknown["name"], field)
    if value := _VALUE.match(text):
        return _unsupported("unknown_value", value["name"], field)
    if missing := _MISSING.match(text):
        return malformed("missing_field", f"{field}.{missing['name']}" if field else missing["name"])
    if text.startswith(_TOO_LONG):
        details = {"field": field[:NAME_MAX]}
        return Refusal(
            "request.too_large", "too_many", "an array or a map of the request is too long", details=details
        )
    return malformed("wrong_type" if ", got `" in text else "out_of_range", field)


def _unsupported(reason: str, name: str, field: str) -> Refusal:
    details = {"name": name[:NAME_MAX]} | ({"field": field[:NAME_MAX]} if field else {})
    return Refusal(
        "request.unsupported", reason, "the request names something that is not served here", details=details
    )


def check_keys(decoded: msgspec.Struct, raw: Raw | bytes | memoryview) -> None:
    """Refuse ``raw``, from which ``decoded`` was made, where one of its maps names a key twice.

    ``decoded`` written again in the shortest form is as long as ``raw`` only if ``raw`` was written so and
    nothing was dropped: then there is nothing to look for, and that is the common case. It holds only while
    no field has another default than UNSET. Otherwise the entries of each map that was decoded are counted;
    what was ignored stays unopened, so a peer cannot make this dear.

    Raises Refusal ``request.malformed``: ``repeated_key``, or ``too_many_keys`` where a map in which unknown
    keys are ignored has more of them than :data:`KEYS_MAX`.
    """
    view = memoryview(raw)
    if len(ENCODER.encode(decoded)) != len(view):
        _check(decoded, view)


def _check(value: object, raw: memoryview) -> None:
    if isinstance(value, msgspec.Struct):
        _check_struct(value, raw)
    elif isinstance(value, dict):
        if _count(raw) != len(value):
            raise malformed("repeated_key")
    elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
        for element, part in zip(value, _ELEMENTS.decode(raw), strict=True):
            _check(element, memoryview(part))


def _check_struct(value: msgspec.Struct, raw: memoryview) -> None:
    count = _count(raw)
    if value.__struct_config__.forbid_unknown_fields:
        if count > len(value.__struct_fields__):
            raise malformed("repeated_key")
    elif count > KEYS_MAX:
        raise malformed("too_many_keys")
    entries = _ENTRIES.decode(raw)
    if len(entries) != count:
        raise malformed("repeated_key")
    for name in value.__struct_fields__:
        if name in entries:
            _check(getattr(value, name), memoryview(entries[name]))


def _count(raw: memoryview) -> int:
    first = raw[0]
    if first & 0xF0 == _MAP_FIX:
        return first & 0x0F
    return int.from_bytes(raw[1 : 3 if first == _MAP_16 else 5], "big")
