"""A reader of DER (X.690): one element after the other, with nothing guessed.

Only definite, shortest lengths and low tag numbers are read; X.509, CMS and RFC 3161 need no others.
"""

from typing import NamedTuple

__all__ = [
    "BIT_STRING",
    "INTEGER",
    "OCTET_STRING",
    "OID",
    "SEQUENCE",
    "SET",
    "DerError",
    "Element",
    "Reader",
    "context",
]

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OID = 0x06
SEQUENCE = 0x30
SET = 0x31


class DerError(ValueError):
    """The bytes are not the DER that was expected."""


def context(number: int) -> int:
    """Return the tag of the constructed context-specific element ``[number]``."""
    return 0xA0 | number


class Element(NamedTuple):
    """One element: its identifier octet, its contents, and all of its bytes."""

    tag: int
    content: bytes
    whole: bytes


class Reader:
    """Reads the elements of ``data`` in turn; raises :class:`DerError` for anything but what is asked for."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._data)

    def take(self, tag: int | None = None) -> Element:
        """Read the next element, which must have this ``tag`` where one is given."""
        data, start = self._data, self._at
        if start + 2 > len(data):
            raise DerError("an element is missing")
        found, length, at = data[start], data[start + 1], start + 2
        if found & 0x1F == 0x1F or (tag is not None and found != tag):
            raise DerError("an element of another type was expected")
        if length & 0x80:
            octets = length & 0x7F
            length = int.from_bytes(data[at : at + octets], "big")
            # 0x80 is the indefinite form of BER; a long form that a shorter one could say is not DER.
            if not 1 <= octets <= 4 or length < 0x80 or length >> (8 * (octets - 1)) == 0:
                raise DerError("a length is not in its shortest form")
            at += octets
        end = at + length
        if end > len(data):
            raise DerError("an element is cut short")
        self._at = end
        return Element(found, data[at:end], data[start:end])

    def maybe(self, tag: int) -> Element | None:
        """Read the next element if it has this ``tag``."""
        return self.take(tag) if self.more and self._data[self._at] == tag else None

    def inside(self, tag: int = SEQUENCE) -> "Reader":
        """Read the next element and return a reader of its contents."""
        return Reader(self.take(tag).content)

    def end(self) -> None:
        """Demand that nothing is left."""
        if self.more:
            raise DerError("something follows where nothing should")
