"""``hmac.compute`` and ``hmac.verify``: what they are asked with, and what they answer."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from signerd.wire.params import Descriptor, ShortText

__all__ = ["LONGEST_MAC", "HmacCompute", "HmacVerify", "MacComputed", "MacPurpose", "MacVerified"]

MacPurpose = Literal["signing", "authentication", "webhook-interop"]
"""What a MAC is for. A key belongs to purposes, and no other purpose can use it: nothing in the bytes says which."""
LONGEST_MAC: Final = 64
"""Bytes of the longest MAC of any algorithm."""


class HmacCompute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to authenticate, for which purpose, with which key."""

    purpose: MacPurpose
    """one of those that the key is for"""
    key: ShortText
    """key reference"""
    data: bytes | Descriptor
    """the bytes, or a descriptor of them: a regular file or a memfd, read in one pass"""


class HmacVerify(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As `hmac.compute`, and the MAC to compare with."""

    purpose: MacPurpose
    """one of those that the key is for"""
    key: ShortText
    """key reference, or the `keyid` of a version that is valid now"""
    data: bytes | Descriptor
    """the bytes, or a descriptor of them: a regular file or a memfd, read in one pass"""
    mac: Annotated[bytes, Meta(max_length=LONGEST_MAC)]
    """as long as the key's algorithm makes them; any other length is `request.malformed`, reason `mac_length`"""


class MacComputed(msgspec.Struct, frozen=True):
    """The MAC, and by what."""

    mac: bytes
    """the whole MAC, never cut"""
    algorithm: str
    """see MACs"""
    keyid: str
    """id of the key's version that made it"""
    audit_id: str
    """name of the record"""


class MacVerified(msgspec.Struct, frozen=True):
    """Whether the MAC is the key's over these bytes; compared in constant time, where the key is."""

    valid: bool
    """false: another key, other bytes, or another MAC"""
    algorithm: str
    """see MACs"""
    keyid: str
    """id of the key's version that was asked"""
    audit_id: str
    """name of the record"""
