"""RFC 8785: the one byte form of a JSON document, and the refusal of JSON that means two things.

A document is decoded and encoded again by msgspec, whose sorted output differs from RFC 8785 in three
places. Each is dealt with here: numbers with a fraction or an exponent are written as ECMAScript writes
them; integers beyond ±(2^53-1) are refused; keys are put in the order of UTF-16 code units where that is
not the order of code points. What msgspec accepts in silence is found from the bytes: a key that stands
twice (the encoded text has lost a colon) and nesting beyond the limit. All of it takes time linear in the
document and never recurses in Python.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, NoReturn

import msgspec

from signerd.errors import Detail, Refusal

__all__ = ["DEEPEST", "LARGEST_INTEGER", "Canonical", "canonical_json", "canonicalise"]

DEEPEST: Final = 200
"""How many objects and arrays may stand in one another; the outermost counts as one."""

LARGEST_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader reads alike (RFC 7493, section 2.2)."""

_POINTER_BYTES: Final = 256 * 1024
_POINTER_LENGTH: Final = 256
_SLICE: Final = 1 << 20
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SIXTEEN_DIGITS: Final = b"0" * 16
_DIGIT_RUN: Final = re.compile(rb"0{16,}")
_BEFORE_NUMBER: Final = b" \t\n\r:,["
_RUNS_LOOKED_AT: Final = 64
"""After so many the strings are taken out once for all: a document full of digits must not be slower than others."""
_ANY_DIGIT_TO_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
_NUMBER: Final = re.compile(rb"[-+.0-9eE]{16,}")
_NOT_FINITE: Final = re.compile(rb"NaN|Infinity")
_PRIVATE_TO_BMP_END: Final = re.compile(rb"[\xee\xef]")
_BEYOND_BMP: Final = re.compile(rb"[\xf0-\xf4]")
_BRACKETS: Final = b"{}[]"
_ALL_BUT_BRACKETS: Final = bytes(sorted(set(range(256)) - set(_BRACKETS)))
_STEP: Final = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}

_TEXTS: Final = {
    "not_json": "the document is not JSON",
    "not_object": "the document is not a JSON object",
    "byte_order_mark": "the document starts with a byte order mark",
    "not_utf8": "the document is not UTF-8",
    "duplicate_key": "an object of the document has the same key twice",
    "too_deep": "the document nests too deep",
    "integer_range": "the document holds an integer beyond ±(2^53-1)",
    "not_finite": "the document holds a number that is not finite",
    "lone_surrogate": "a string of the document holds half a surrogate pair",
}

_encoder: Final = msgspec.json.Encoder(order="sorted")
_as_it_stands: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder()


class Canonical(NamedTuple):
    """A document in its canonical form: ``text`` is the RFC 8785 bytes, ``value`` what those bytes decode
    to."""

    text: bytes
    value: dict[str, object]


def canonicalise(text: bytes | memoryview, *, deepest: int = DEEPEST) -> Canonical:
    """Bring the UTF-8 JSON text of one object into the form of RFC 8785.

    Refuses, with ``predicate.invalid`` and one of these reasons, what two readers may read differently:
    ``not_json``, ``not_object``, ``byte_order_mark``, ``not_utf8``, ``duplicate_key``, ``too_deep`` (more
    than ``deepest`` levels), ``integer_range`` (an integer beyond ±(2^53-1), also where a float would be
    written as one), ``not_finite`` and ``lone_surrogate``. ``details.pointer`` (RFC 6901) says where, when
    it is known. Raises nothing else, whatever the bytes are.
    """
    data = text if type(text) is bytes else bytes(text)
    try:
        return _canonicalise(data, deepest)
    except RecursionError:
        raise _refusal("too_deep") from None


def canonical_json(value: object) -> bytes:
    """Write a value that signerd itself built in the form of RFC 8785.

    The value holds str, int within ±(2^53-1), bool, list and dict with str keys, or Structs of these; a
    float is the caller's mistake and is not looked for.
    """
    encoded = _encoder.encode(value)
    if encoded.isascii() or not _orders_differ(encoded):
        return encoded
    return _as_it_stands.encode(_in_utf16_order(_decoder.decode(encoded)))


class _Fractions:
    """What becomes of numbers with a fraction or an exponent while a document is decoded.

    Each is replaced by its ECMAScript form (RFC 8785, section 3.2.2.3). One that must be refused stays in
    the decoded document as a float that is not finite or an integer out of range, to be found there with
    its place.
    """

    __slots__ = ("refused", "seen")

    def __init__(self) -> None:
        self.seen = False
        self.refused = False

    def __call__(self, literal: str) -> object:
        self.seen = True
        number = float(literal)
        if not math.isfinite(number):
            self.refused = True
            return number
        written = _ecmascript(number)
        if len(written) > 15 and written.lstrip("-").isdigit() and abs(number) > LARGEST_INTEGER:
            self.refused = True
            return int(number)
        return msgspec.Raw(written.encode())


def _canonicalise(data: bytes, deepest: int) -> Canonical:
    fractions = _Fractions()
    value = _decode(data, fractions)
    if type(value) is not dict:
        raise _refusal("not_object")
    outside: bytes | None = None
    if fractions.refused:
        _refuse_number(value)
    if _may_hold_large_integer(data):
        outside = _outside_strings(data)
        if _has_large_integer(outside):
            _refuse_number(value)
    if data.count(b"{") + data.count(b"[") > deepest:
        outside = outside or _outside_strings(data)
        if _depth_exceeds(outside, deepest):
            raise _refusal("too_deep")
    encoded = _encoder.encode(value)
    # A colon within a string stands in both texts, unless the source wrote it as an escape.
    if b"\\u003" in data:
        before, after = (outside or _outside_strings(data)).count(b":"), _outside_strings(encoded).count(b":")
    else:
        before, after = data.count(b":"), encoded.count(b":")
    if before != after:
        raise _refusal("duplicate_key", _pointer_to_duplicate(data))
    if not encoded.isascii() and _orders_differ(encoded):
        encoded = _as_it_stands.encode(_in_utf16_order(value))
    if fractions.seen:
        # The first tree holds raw literals; it goes before the second comes, so that only one is held.
        del value
        value = _decoder.decode(encoded)
    return Canonical(encoded, value)


def _decode(data: bytes, fractions: _Fractions) -> object:
    try:
        return msgspec.json.Decoder(float_hook=fractions).decode(data)
    except UnicodeDecodeError:
        raise _refusal("not_utf8") from None
    except msgspec.ValidationError:
        # An integer so long that the interpreter refuses to read it.
        raise _refusal("integer_range") from None
    except msgspec.DecodeError:
        _refuse_syntax(data)


def _refuse_syntax(data: bytes) -> NoReturn:
    """Say which kind of no-JSON the bytes are."""
    if data.startswith(_BYTE_ORDER_MARK):
        raise _refusal("byte_order_mark")
    try:
        data.decode()
    except UnicodeDecodeError:
        raise _refusal("not_utf8") from None
    if b"\\u" in data:
        try:
            # Behind padding, half a pair at the very end is not mistaken for a text that was cut off.
            _decoder.decode(data + b" " * 16)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            if "surrogate" in str(exc):
                raise _refusal("lone_surrogate", _pointer_by_reading(data, _is_lone_surrogate)) from None
    if _NOT_FINITE.search(_outside_strings(data)):
        raise _refusal("not_finite", _pointer_by_reading(data, _is_not_finite))
    raise _refusal("not_json")


def _refusal(reason: str, pointer: str | None = None) -> Refusal:
    details: dict[str, Detail] = {} if pointer is None else {"pointer": pointer}
    return Refusal("predicate.invalid", reason, _TEXTS[reason], details=details)


def _outside_strings(data: bytes) -> bytes:
    """Give a JSON text without its strings, in slices, so that no list of all the strings is ever held."""
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    kept: list[bytes] = []
    inside = 0
    for start in range(0, len(bare), _SLICE):
        parts = bare[start : start + _SLICE].split(b'"')
        kept.append(b"".join(parts[inside::2]))
        inside ^= (len(parts) - 1) & 1
    return b"".join(kept)


def _may_hold_large_integer(data: bytes) -> bool:
    """Tell whether sixteen digits stand where a number could: most long runs of digits are parts of strings."""
    zeros = data.translate(_ANY_DIGIT_TO_ZERO)
    at = zeros.find(_SIXTEEN_DIGITS)
    if at < 0:
        return False
    for looked_at, run in enumerate(_DIGIT_RUN.finditer(zeros, at)):
        start = run.start()
        if data[start - 1 : start] == b"-":
            start -= 1
        if looked_at == _RUNS_LOOKED_AT or start == 0 or data[start - 1] in _BEFORE_NUMBER:
            return True
    return False


def _has_large_integer(outside: bytes) -> bool:
    for match in _NUMBER.finditer(outside):
        digits = match.group().lstrip(b"-")
        if digits.isdigit() and (len(digits) > 16 or int(digits) > LARGEST_INTEGER):
            return True
    return False


def _depth_exceeds(outside: bytes, deepest: int) -> bool:
    depth = 0
    for bracket in outside.translate(None, _ALL_BUT_BRACKETS):
        depth += _STEP[bracket]
        if depth > deepest:
            return True
    return False


def _ecmascript(number: float) -> str:
    """Write a finite number as ECMAScript's Number::toString does (ECMA-262, section 6.1.6.1.20)."""
    if number == 0:
        return "0"
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    sign = "-" if number < 0 else ""
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"


def _orders_differ(encoded: bytes) -> bool:
    """Tell whether keys of this text may stand otherwise by UTF-16 code units (section 3.2.3) than by code
    points."""
    return _BEYOND_BMP.search(encoded) is not None and _PRIVATE_TO_BMP_END.search(encoded) is not None


def _utf16(item: tuple[str, object]) -> bytes:
    return item[0].encode("utf-16-be")


def _in_utf16_order(root: dict[str, object]) -> dict[str, object]:
    """Put the keys of every object of ``root`` in the order of their UTF-16 code units, in place."""
    waiting: list[object] = [root]
    while waiting:
        node = waiting.pop()
        if type(node) is dict:
            ordered = sorted(node.items(), key=_utf16)
            node.clear()
            node.update(ordered)
            waiting.extend(node.values())
        elif type(node) is list:
            waiting.extend(node)
    return root


def _refuse_number(value: dict[str, object]) -> NoReturn:
    pointer = _pointer_to(value, _is_not_finite)
    if pointer is not None:
        raise _refusal("not_finite", pointer)
    raise _refusal("integer_range", _pointer_to(value, _is_large_integer))


def _is_not_finite(node: object) -> bool:
    return type(node) is float and not math.isfinite(node)


def _is_large_integer(node: object) -> bool:
    return type(node) is int and not -LARGEST_INTEGER <= node <= LARGEST_INTEGER


def _is_lone_surrogate(node: object) -> bool:
    return type(node) is str and any("\ud800" <= character <= "\udfff" for character in node)


class _Twice(str):
    """A key that stands twice, in the place of the object in which it does."""

    __slots__ = ()


def _is_twice(node: object) -> bool:
    return type(node) is _Twice


def _children(node: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(node, dict):
        return iter(node.items())
    return iter(enumerate(node)) if isinstance(node, list) else iter(())


def _pointer_to(
    root: object, wanted: Callable[[object], bool], last: Callable[[object], str] | None = None
) -> str | None:
    """Find the first value that is ``wanted``, in document order, and give its JSON pointer (RFC 6901).

    ``last`` adds a token of the value found. A pointer longer than 256 characters is cut after a whole
    token.
    """
    path: list[str] = []
    levels = [_children([root])]
    while levels:
        for key, node in levels[-1]:
            if wanted(node):
                return _pointer([*path, str(key), *([last(node)] if last else [])][1:])
            if type(node) is dict or type(node) is list:
                path.append(str(key))
                levels.append(_children(node))
                break
        else:
            levels.pop()
            if path:
                path.pop()
    return None


def _pointer(tokens: list[str]) -> str:
    pointer = ""
    for token in tokens:
        longer = f"{pointer}/{token.replace('~', '~0').replace('/', '~1')}"
        if len(longer) > _POINTER_LENGTH:
            break
        pointer = longer
    return pointer


def _pointer_by_reading(data: bytes, wanted: Callable[[object], bool]) -> str | None:
    """Read the text once more, by a reader that accepts what is refused here, to find where it stands."""
    if len(data) > _POINTER_BYTES:
        return None
    try:
        return _pointer_to(json.loads(data), wanted)
    except (ValueError, RecursionError):
        return None


def _pointer_to_duplicate(data: bytes) -> str | None:
    if len(data) > _POINTER_BYTES:
        return None
    try:
        read = json.loads(data, object_pairs_hook=_object_or_twice)
    except (ValueError, RecursionError):
        return None
    return _pointer_to(read, _is_twice, str)


def _object_or_twice(pairs: list[tuple[str, object]]) -> object:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    for key, _ in pairs:
        if key not in made:
            return _Twice(key)
        del made[key]
    return made
