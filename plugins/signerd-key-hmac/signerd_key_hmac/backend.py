"""The hook of this plugin and the backend itself: references to secrets, secrets to MACs.

References are ``hmac:NAME``. The secret lies in the folder's one file of that name.
"""

import re
from collections.abc import Iterable, Mapping
from hmac import compare_digest
from typing import Final

from signerd.attestation.macs import KEYID_LABEL, mac_keyid
from signerd.contracts import hookimpl
from signerd.contracts.providers import KeyBackend
from signerd.contracts.values import KeyDescription, MacChecked, MacResult, Rotated, SignatureResult
from signerd.errors import Refusal
from signerd_key_hmac.algorithms import compute
from signerd_key_hmac.secrets_folder import SecretKeys
from signerd_key_hmac.settings import directory_of

__all__ = ["HmacBackend", "signerd_key_backends"]

SCHEME: Final = "hmac:"
DEFAULT_ALGORITHM: Final = "HMAC-SHA256"
MOST_VERSIONS: Final = 10_000
_LONGEST_BASE: Final = 64 - len(".v9999")
_VERSION: Final = re.compile(r"\.v[0-9]{1,5}\Z")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@hookimpl
def signerd_key_backends(settings: Mapping[str, object]) -> KeyBackend:
    """Introduce the backend; ValueError for settings that it does not understand."""
    return HmacBackend(settings)


class HmacBackend:
    """Secrets of one folder; each is read at its first use and stays in memory."""

    capabilities: tuple[str, ...] = ("generate", "rotate", "hmac")

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._secrets = SecretKeys(directory_of(settings))
        self._keys: dict[str, tuple[str, bytes, str]] = {}

    def describe(self, key: str) -> KeyDescription:
        """Return algorithm and keyid; there is no public half."""
        algorithm, _, keyid = self._key(key)
        return KeyDescription(algorithm, keyid, b"", self.capabilities)

    def sign(self, key: str, message: bytes) -> SignatureResult:
        """Refuse (``key.forbidden``): a secret that makes MACs signs nothing."""
        self._key(key)
        raise Refusal("key.forbidden", "mac_key", "the key makes MACs; it signs nothing")

    def hmac(self, key: str, algorithm: str, message: Iterable[bytes | memoryview]) -> MacResult:
        """Return the MAC; ``key.algorithm_refused`` for another algorithm than the key's."""
        secret, keyid = self._secret(key, algorithm)
        return MacResult(compute(algorithm, secret, message), keyid)

    def check_hmac(
        self, key: str, algorithm: str, message: Iterable[bytes | memoryview], mac: bytes
    ) -> MacChecked:
        """Compare in a time that does not depend on where they differ."""
        secret, keyid = self._secret(key, algorithm)
        return MacChecked(compare_digest(compute(algorithm, secret, message), mac), keyid)

    def generate(self, key: str, algorithm: str) -> KeyDescription:
        """Make a random secret of 64 bytes in a new file; an empty ``algorithm`` is HMAC-SHA256."""
        self._secrets.create(_name_of(key), algorithm or DEFAULT_ALGORITHM)
        return self.describe(key)

    def rotate(self, key: str, algorithm: str) -> Rotated:
        """Make a secret beside that of ``key``, by the first free name of ``NAME.v2``, ``NAME.v3``, …

        An empty ``algorithm`` is that of ``key``. Refuses ``key.not_found``, and as :meth:`generate` does.
        """
        current, _, _ = self._key(key)
        base = _VERSION.sub("", _name_of(key))
        for number in range(2, MOST_VERSIONS if len(base) <= _LONGEST_BASE else 2):
            name = f"{SCHEME}{base}.v{number}"
            try:
                return Rotated(name, self.generate(name, algorithm or current))
            except Refusal as refusal:
                if refusal.reason != "exists":
                    raise
        raise Refusal("key.forbidden", "no_free_name", "there is no name left for a new version of this key")

    def _secret(self, key: str, algorithm: str) -> tuple[bytes, str]:
        own, secret, keyid = self._keys.get(key) or self._key(key)
        if algorithm != own:
            raise Refusal("key.algorithm_refused", "other_algorithm", "the key is one for another algorithm")
        return secret, keyid

    def _key(self, key: str) -> tuple[str, bytes, str]:
        known = self._keys.get(key)
        if known is None:
            algorithm, secret = self._secrets.find(_name_of(key))
            known = (algorithm, secret, mac_keyid(compute("HMAC-SHA256", secret, [KEYID_LABEL])))
            self._keys[key] = known
        return known


def _name_of(key: str) -> str:
    name = key.removeprefix(SCHEME)
    if name == key or _NAME.fullmatch(name) is None:
        raise Refusal(
            "key.not_found", "reference", "there is no such key", operator=f"{key[:80]!r} is not hmac:NAME"
        )
    return name
