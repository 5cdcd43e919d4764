"""The hash functions that profiles name, computed over bytes that come in pieces."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from cryptography.hazmat.primitives import hashes

from signerd.errors import Fault, Refusal
from signerd.verification.streebog import streebog256, streebog512

__all__ = ["Hash", "digest", "hasher"]


class Hash(Protocol):
    """A hash in the making."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Hash more bytes."""

    def digest(self) -> bytes:
        """Return the hash of all that came."""


class _Sm3:
    """SM3 (GB/T 32905), with the methods that :mod:`hashlib`'s have."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = hashes.Hash(hashes.SM3())

    def update(self, data: bytes | memoryview, /) -> None:
        self._hash.update(data)

    def digest(self) -> bytes:
        return self._hash.copy().finalize()


def _blake3() -> Hash:
    try:
        from blake3 import blake3
    except ImportError as exc:
        raise Fault(
            "internal",
            "blake3_missing",
            "BLAKE3 is computed by the package blake3, which is not installed: install signerd[blake3]",
        ) from exc
    made: Hash = blake3()
    return made


_MAKERS: Final[Mapping[str, Callable[[], Hash]]] = {
    "SHA-256": hashlib.sha256,
    "SHA-384": hashlib.sha384,
    "SHA-512": hashlib.sha512,
    "SM3": _Sm3,
    "Streebog-256": streebog256,
    "Streebog-512": streebog512,
    "BLAKE3-256": _blake3,
}


def hasher(name: str) -> Hash:
    """Begin a hash by the name that :func:`signerd.attestation.hashing.hash_for` returns.

    Streebog is computed in Python, about 1 MB a second. Refuses ``request.malformed`` (``hash_unknown``) for another
    name; Fault ``internal`` (``blake3_missing``) for BLAKE3-256 without the extra that brings it.
    """
    make = _MAKERS.get(name)
    if make is None:
        raise Refusal("request.malformed", "hash_unknown", f"no such hash: expected one of {', '.join(_MAKERS)}")
    return make()


def digest(name: str, data: bytes | memoryview) -> bytes:
    """Return the hash ``name`` of ``data``; as :func:`hasher`."""
    made = hasher(name)
    made.update(data)
    return made.digest()
