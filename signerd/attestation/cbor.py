"""Deterministic CBOR (RFC 8949, section 4.2.1): the one encoding of integers, strings, arrays, maps and tags.

Only what COSE needs, so that neither process loads a library for it: no floats, no simple values but false, true and
null, nothing of indefinite length. What is read must be in the one encoding that would be written: then no two byte
strings say the same.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn, TypeAlias

from signerd.errors import Refusal

__all__ = ["Tagged", "Value", "cbor", "head", "read_cbor"]

Value: TypeAlias = "int | bytes | str | Sequence[Value] | Mapping[int | str, Value] | Tagged | None"
"""What is written and read; a bool is an int to Python, and itself here."""

UNSIGNED: Final = 0
NEGATIVE: Final = 1
BYTES: Final = 2
TEXT: Final = 3
ARRAY: Final = 4
MAP: Final = 5
TAG: Final = 6
"""Major types (section 3.1)."""
_SIMPLE: Final[Mapping[int, bool | None]] = {0xF4: False, 0xF5: True, 0xF6: None}
_DEEPEST: Final = 16
_MOST_ITEMS: Final = 4096
"""Of one input: an item of one byte costs the reader a hundred, and a message with one signature has a dozen."""


class Tagged:
    """A tag's number and what it stands before."""

    __slots__ = ("number", "value")

    def __init__(self, number: int, value: "Value") -> None:
        self.number = number
        self.value = value


def head(major: int, argument: int) -> bytes:
    """Return the head of an item: its major type with its argument, as short as it goes (section 4.2.1)."""
    for size, marker in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if size == 1 and argument < 24:
            return bytes([major << 5 | argument])
        if argument < 1 << 8 * size:
            return bytes([major << 5 | marker]) + argument.to_bytes(size, "big")
    raise ValueError("CBOR has no head for an argument of more than 64 bits")


def cbor(value: Value) -> bytes:
    """Write ``value`` in its one deterministic encoding; ValueError for an integer of more than 64 bits."""
    if value is None or isinstance(value, bool):
        written = bytes([next(code for code, simple in _SIMPLE.items() if simple is value)])
    elif isinstance(value, int):
        written = head(UNSIGNED, value) if value >= 0 else head(NEGATIVE, -1 - value)
    elif isinstance(value, bytes):
        written = head(BYTES, len(value)) + value
    elif isinstance(value, str):
        text = value.encode()
        written = head(TEXT, len(text)) + text
    elif isinstance(value, Tagged):
        written = head(TAG, value.number) + cbor(value.value)
    elif isinstance(value, Mapping):
        # Bytewise order of the keys' encodings, not of the keys.
        entries = sorted((cbor(key), cbor(item)) for key, item in value.items())
        written = head(MAP, len(entries)) + b"".join(key + item for key, item in entries)
    else:
        written = head(ARRAY, len(value)) + b"".join(cbor(item) for item in value)
    return written


def read_cbor(data: bytes | memoryview) -> Value:
    """Read one item that fills ``data`` in its deterministic encoding; the inverse of :func:`cbor`.

    Arrays come as tuples, maps as dicts, whose keys are integers or texts. Refuses with ``verification.failed``:
    ``cbor_malformed`` (cut off, surplus bytes, a kind that is not read, text that is not UTF-8, more than 16 deep, more
    than 4096 items),
    ``cbor_not_deterministic`` (a longer head than needed, indefinite length, keys out of order or twice). Raises
    nothing else.
    """
    with memoryview(data) as view:
        reader = _Reader(view)
        value = reader.item(0)
        if reader.at != len(view):
            _malformed("surplus bytes after the item")
    return value


class _Reader:
    """Reads items one after another; ``at`` is where the next one begins."""

    __slots__ = ("at", "data", "left")

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0
        self.left = _MOST_ITEMS

    def item(self, depth: int) -> Value:
        if depth > _DEEPEST:
            _malformed("nested too deeply")
        self.left -= 1
        if self.left < 0:
            _malformed("too many items")
        first = self._byte()
        if first >> 5 == 7:
            if first not in _SIMPLE:
                _malformed("a float or a simple value that is not read")
            return _SIMPLE[first]
        major, argument = first >> 5, self._argument(first & 31)
        if major in (ARRAY, MAP) and argument > len(self.data) - self.at:
            # An item is at least one byte: a count makes no more of a short input than it has bytes.
            _malformed("cut off")
        value: Value
        if major == UNSIGNED:
            value = argument
        elif major == NEGATIVE:
            value = -1 - argument
        elif major == BYTES:
            value = bytes(self._take(argument))
        elif major == TEXT:
            value = self._text(argument)
        elif major == ARRAY:
            value = tuple([self.item(depth + 1) for _ in range(argument)])
        elif major == MAP:
            value = self._map(argument, depth)
        else:
            value = Tagged(argument, self.item(depth + 1))
        return value

    def _text(self, size: int) -> str:
        try:
            return bytes(self._take(size)).decode()
        except UnicodeDecodeError:
            _malformed("text that is not UTF-8")

    def _map(self, count: int, depth: int) -> dict[int | str, Value]:
        entries: dict[int | str, Value] = {}
        before = b""
        for _ in range(count):
            start = self.at
            key = self.item(depth + 1)
            encoded = bytes(self.data[start : self.at])
            if isinstance(key, bool) or not isinstance(key, int | str):
                _malformed("a map's key that is neither integer nor text")
            if encoded <= before:
                _not_deterministic("a map's keys are out of order, or twice the same")
            before = encoded
            entries[key] = self.item(depth + 1)
        return entries

    def _byte(self) -> int:
        return self._take(1)[0]

    def _argument(self, low: int) -> int:
        if low < 24:
            return low
        if low == 31:
            _not_deterministic("an item of indefinite length")
        if low > 27:
            _malformed("a reserved head")
        size = 1 << low - 24
        argument = int.from_bytes(self._take(size), "big")
        if argument < (24 if size == 1 else 1 << 4 * size):
            _not_deterministic("a head that is longer than needed")
        return argument

    def _take(self, size: int) -> memoryview:
        end = self.at + size
        if end > len(self.data):
            _malformed("cut off")
        taken = self.data[self.at : end]
        self.at = end
        return taken


def _malformed(what: str) -> NoReturn:
    raise Refusal("verification.failed", "cbor_malformed", f"not the CBOR that is read: {what}")


def _not_deterministic(what: str) -> NoReturn:
    raise Refusal("verification.failed", "cbor_not_deterministic", f"not deterministic CBOR (RFC 8949): {what}")
