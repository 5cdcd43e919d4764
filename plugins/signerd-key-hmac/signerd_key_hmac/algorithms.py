"""HMAC (RFC 2104) by each of the published names, over a message that comes in parts.

SHA-2 is OpenSSL's by way of the standard library, SM3 by way of ``cryptography``. Streebog is signerd's own, in Python:
some 0.8 MB a second, where the others do half a gigabyte or more.
"""

import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.hmac import HMAC

from signerd.verification.streebog import Streebog

__all__ = ["compute"]

STREEBOG_BLOCK: Final = 64
"""Bytes of a block, by either length of the hash (GOST R 34.11-2012, section 8)."""


class _Mac(Protocol):
    """A MAC in the making."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more of the message."""

    def digest(self) -> bytes:
        """Return the MAC."""
        ...


class _Sm3:
    def __init__(self, secret: bytes) -> None:
        self._hmac = HMAC(secret, SM3())

    def update(self, data: bytes | memoryview, /) -> None:
        self._hmac.update(data)

    def digest(self) -> bytes:
        return self._hmac.finalize()


class _StreebogMac:
    """RFC 2104 over Streebog, as RFC 7836, section 4.1, has it. A secret is never longer than a block."""

    def __init__(self, secret: bytes, size: int) -> None:
        padded = secret.ljust(STREEBOG_BLOCK, b"\0")
        self._outer = Streebog(size, bytes(byte ^ 0x5C for byte in padded))
        self._inner = Streebog(size, bytes(byte ^ 0x36 for byte in padded))

    def update(self, data: bytes | memoryview, /) -> None:
        self._inner.update(data)

    def digest(self) -> bytes:
        self._outer.update(self._inner.digest())
        return self._outer.digest()


_MAKE: Final[Mapping[str, Callable[[bytes], _Mac]]] = {
    "HMAC-SHA256": lambda secret: hmac.new(secret, digestmod="sha256"),
    "HMAC-SHA384": lambda secret: hmac.new(secret, digestmod="sha384"),
    "HMAC-SHA512": lambda secret: hmac.new(secret, digestmod="sha512"),
    "HMAC-GOST3411-2012-256": lambda secret: _StreebogMac(secret, 32),
    "HMAC-GOST3411-2012-512": lambda secret: _StreebogMac(secret, 64),
    "HMAC-SM3": _Sm3,
}


def compute(algorithm: str, secret: bytes, message: Iterable[bytes | memoryview]) -> bytes:
    """Return the MAC of that name; KeyError for a name that is none."""
    made = _MAKE[algorithm](secret)
    for part in message:
        made.update(part)
    return made.digest()
