"""The calls of the worker protocol for keys that make MACs (capability ``hmac``).

They are never part of a ``batch``: a long one is answered when it is done, and holds up no other call.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from signerd.wire.params import Descriptor

__all__ = ["CheckHmacParams", "CheckHmacResult", "HmacParams", "HmacResult"]


class HmacParams(msgspec.Struct, frozen=True):
    """``hmac``: data, or a descriptor of it: whatever a caller handed over, of which only a regular file is read."""

    key: str
    algorithm: str
    data: bytes | Descriptor


class HmacResult(msgspec.Struct, frozen=True):
    """``hmac``'s result: the whole MAC, and the keyid of the key that made it."""

    mac: bytes
    keyid: str


class CheckHmacParams(msgspec.Struct, frozen=True):
    """``check_hmac``: as ``hmac``, and the MAC to compare with."""

    key: str
    algorithm: str
    data: bytes | Descriptor
    mac: Annotated[bytes, Meta(max_length=64)]


class CheckHmacResult(msgspec.Struct, frozen=True):
    """``check_hmac``'s result, compared in constant time."""

    valid: bool
    keyid: str
