"""The hook of this plugin and the backend itself: references to secrets, secrets to MACs.

References are ``hmac:NAME``. The secret lies in the folder's one file of that name.
"""

from collections.abc import Iterable, Mapping
from hmac import compare_digest
from typing import Final

from signerd.attestation.macs import KEYID_LABEL, mac_keyid
from signerd.contracts import hookimpl
from signerd.contracts.key_names import name_of, next_version
from signerd.contracts.providers import KeyBackend
from signerd.contracts.values import KeyDescription, MacChecked, MacResult, Rotated, SignatureResult
from signerd.errors import Refusal
from signerd_key_hmac.algorithms import compute
from signerd_key_hmac.secrets_folder import SecretKeys
from signerd_key_hmac.settings import directory_of

__all__ = ["HmacBackend", "signerd_key_backends"]

SCHEME: Final = "hmac:"
DEFAULT_ALGORITHM: Final = "HMAC-SHA256"


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
        self._secrets.create(name_of(SCHEME, key), algorithm or DEFAULT_ALGORITHM)
        return self.describe(key)

    def rotate(self, key: str, algorithm: str) -> Rotated:
        """Make a secret beside that of ``key``, by the first free name of ``NAME.v2``, ``NAME.v3``, …

        An empty ``algorithm`` is that of ``key``. Refuses ``key.not_found``, and as :meth:`generate` does.
        """
        old, _, _ = self._key(key)
        return next_version(SCHEME, key, lambda name: self.generate(name, algorithm or old))

    def _secret(self, key: str, algorithm: str) -> tuple[bytes, str]:
        own, secret, keyid = self._keys.get(key) or self._key(key)
        if algorithm != own:
            raise Refusal("key.algorithm_refused", "other_algorithm", "the key is one for another algorithm")
        return secret, keyid

    def _key(self, key: str) -> tuple[str, bytes, str]:
        known = self._keys.get(key)
        if known is None:
            algorithm, secret = self._secrets.find(name_of(SCHEME, key))
            known = (algorithm, secret, mac_keyid(compute("HMAC-SHA256", secret, [KEYID_LABEL])))
            self._keys[key] = known
        return known
