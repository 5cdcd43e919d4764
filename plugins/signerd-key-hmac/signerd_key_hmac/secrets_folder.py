"""The folder of secrets: raw bytes, one file each, whose name says what key it is and for which algorithm.

``NAME.hmac-sha256`` holds the secret of ``hmac:NAME``. The algorithm stands in the file's name: a secret is used with
one algorithm, and no configuration can say otherwise.
"""

import secrets
from typing import Final

from signerd.attestation.macs import MACS
from signerd.errors import Refusal
from signerd.secret_files.folder import SecretFolder
from signerd.secret_files.key_files import fault, not_found, told
from signerd.secret_files.reading import Unfit

__all__ = ["NEW_BYTES", "SecretKeys"]

NEW_BYTES: Final = 64
"""Bytes of a new secret: as long as the longest MAC, and as a block of SHA-256, Streebog and SM3."""
_LONGEST: Final = 128
_SUFFIX: Final = {algorithm: algorithm.lower() for algorithm in MACS}


class SecretKeys:
    """The secrets of one folder. Faults are ``key.backend_fault``, ``directory_`` or ``file_`` and the reason of
    :mod:`signerd.secret_files`, ``secret_length``, or ``two_algorithms`` for a name that two files have."""

    def __init__(self, directory: str) -> None:
        self._folder = SecretFolder(directory, _LONGEST)

    def find(self, name: str) -> tuple[str, bytes]:
        """Return algorithm and secret of ``name``; ``key.not_found``."""
        found = [(algorithm, secret) for algorithm in MACS if (secret := self._read(name, algorithm)) is not None]
        if not found:
            raise not_found("no_such_key", f"no file of {name}")
        if len(found) > 1:
            raise fault("two_algorithms", f"{name} has a file for each of {', '.join(each for each, _ in found)}")
        algorithm, secret = found[0]
        spec = MACS[algorithm]
        if not spec.shortest_key <= len(secret) <= spec.longest_key:
            expected = f"{spec.shortest_key} to {spec.longest_key} bytes"
            raise fault("secret_length", f"{name}.{_SUFFIX[algorithm]} must have {expected}, got {len(secret)}")
        return algorithm, secret

    def create(self, name: str, algorithm: str) -> None:
        """Make a new random secret in a new file (0600, durable). ``key.forbidden``, ``exists``, for a name that has
        one, whatever its algorithm; ``key.algorithm_refused`` for a name that is none of an algorithm."""
        if algorithm not in MACS:
            raise Refusal("key.algorithm_refused", "unknown_algorithm", "this backend makes no such key")
        if any(self._read(name, each) is not None for each in MACS):
            raise Refusal("key.forbidden", "exists", "there is a key of this name already")
        with told():
            self._folder.create(f"{name}.{_SUFFIX[algorithm]}", secrets.token_bytes(NEW_BYTES))

    def _read(self, name: str, algorithm: str) -> bytes | None:
        with told():
            try:
                return self._folder.read(f"{name}.{_SUFFIX[algorithm]}")
            except Unfit as unfit:
                if unfit.reason != "missing":
                    raise
                return None
