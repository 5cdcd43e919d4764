"""The hook of this plugin and the backend itself: references to keys, keys to signatures.

References are ``gost:NAME``. NAME is a key of the table ``keys``, or else the file ``NAME.pem`` in ``directory``.
"""

from collections.abc import Mapping
from typing import Final

from signerd.contracts import hookimpl
from signerd.contracts.key_names import name_of, next_version
from signerd.contracts.providers import KeyBackend
from signerd.contracts.values import KeyDescription, Rotated, SignatureResult
from signerd.errors import Refusal
from signerd.secret_files.key_files import KeyFolder, not_found, read_key_file, read_password
from signerd_key_gost.library import library
from signerd_key_gost.private_key import PrivateKey, make_key, read_key
from signerd_key_gost.settings import understand

__all__ = ["GostBackend", "signerd_key_backends"]

SCHEME: Final = "gost:"
DEFAULT_ALGORITHM: Final = "GOST3410-2012-256"


@hookimpl
def signerd_key_backends(settings: Mapping[str, object]) -> KeyBackend:
    """Introduce the backend; ValueError for settings that it does not understand."""
    return GostBackend(settings)


class GostBackend:
    """Keys of one folder and one table; each is read at its first use and stays in memory.

    Without OpenSSL's engine every call is ``key.backend_unavailable``, ``engine_missing``. Faults are else
    ``key.backend_fault`` with a reason that names what is wrong with the file, refusals ``key.not_found``,
    ``key.algorithm_refused`` and, for a name that is taken, ``key.forbidden``.
    """

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._settings = understand(settings)
        self._keys: dict[str, PrivateKey] = {}
        # A key cannot be made where there is no folder to put it in.
        self.capabilities: tuple[str, ...] = ("generate", "rotate") if self._settings.directory else ()

    def describe(self, key: str) -> KeyDescription:
        """Return algorithm, keyid and SPKI in its one encoding; the whole message is signed, never a SHA-256."""
        public = self._key(key).public
        return KeyDescription(public.algorithm, public.keyid, public.spki, self.capabilities)

    def sign(self, key: str, message: bytes) -> SignatureResult:
        """Sign by Streebog of the key's size: s, then r, each big-endian (RFC 9215, section 3)."""
        known = self._keys.get(key) or self._key(key)
        return SignatureResult(known.sign(message), known.public.keyid)

    def generate(self, key: str, algorithm: str) -> KeyDescription:
        """Make a key in a new file (0600, durable before this returns), encrypted where a password is configured.

        An empty ``algorithm`` is GOST3410-2012-256; the parameter set is that of the settings. Refuses
        ``key.forbidden`` for a name that is taken or that the table ``keys`` places elsewhere,
        ``key.algorithm_refused`` for an algorithm that this backend lacks.
        """
        name, directory = name_of(SCHEME, key), self._settings.directory
        if directory is None or name in self._settings.keys:
            raise Refusal("key.forbidden", "not_generated_here", "this key cannot be made by the signer")
        algorithm = algorithm or DEFAULT_ALGORITHM
        made = make_key(library(), algorithm, self._settings.parameters.get(algorithm, ""))
        KeyFolder(directory).create(f"{name}.pem", made.pem(self._password()))
        return self.describe(key)

    def rotate(self, key: str, algorithm: str) -> Rotated:
        """Make a key beside ``key``, in a file of the first free name of ``NAME.v2``, ``NAME.v3``, …

        An empty ``algorithm`` is that of ``key``. Refuses ``key.not_found``, and as :meth:`generate` does.
        """
        old = self._key(key).public.algorithm
        return next_version(SCHEME, key, lambda name: self.generate(name, algorithm or old), self._settings.keys)

    def _key(self, key: str) -> PrivateKey:
        known = self._keys.get(key)
        if known is None:
            name = name_of(SCHEME, key)
            known = read_key(library(), self._read(name), self._password)
            self._keys[key] = known
        return known

    def _read(self, name: str) -> bytes:
        place, directory = self._settings.keys.get(name), self._settings.directory
        if place is not None:
            return read_key_file(place)
        if directory is None:
            raise not_found("no_such_key", f"{name} is not in the table keys, and no directory is configured")
        return KeyFolder(directory).read(f"{name}.pem")

    def _password(self) -> bytes | None:
        return read_password(self._settings.password)
