"""The hook of this plugin and the backend itself: references to keys, keys to signatures.

References are ``file:NAME``. NAME is a key of the table ``keys``, or else the file ``NAME.pem`` in
``directory``.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from signerd.contracts import hookimpl
from signerd.contracts.key_names import name_of, next_version
from signerd.contracts.providers import KeyBackend
from signerd.contracts.values import KeyDescription, Rotated, SignatureResult
from signerd.errors import Refusal
from signerd.secret_files.key_files import KeyFolder, not_found, read_key_file, read_password
from signerd_key_file.algorithms import SigningKey, make_key, signing_key
from signerd_key_file.pem import decode, encode
from signerd_key_file.settings import understand

__all__ = ["FileBackend", "signerd_key_backends"]

SCHEME: Final = "file:"
DEFAULT_ALGORITHM: Final = "ES256"


@hookimpl
def signerd_key_backends(settings: Mapping[str, object]) -> KeyBackend:
    """Introduce the backend; ValueError for settings that it does not understand."""
    return FileBackend(settings)


class FileBackend:
    """Keys of one folder and one table; each is read at its first use and stays in memory.

    Faults are ``key.backend_fault`` with a reason that names what is wrong with the file, refusals
    ``key.not_found``, ``key.algorithm_refused`` and, for a name that is taken, ``key.forbidden``.
    """

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._settings = understand(settings)
        self._keys: dict[str, tuple[SigningKey, str]] = {}
        # A key cannot be made where there is no folder to put it in.
        self.capabilities: tuple[str, ...] = ("generate", "rotate") if self._settings.directory else ()

    def describe(self, key: str) -> KeyDescription:
        """Return algorithm, keyid and SPKI; ``prehash`` for P-256 and RSA, which are signed from the
        digest."""
        signer, keyid = self._key(key)
        return self._description(signer, keyid)

    def sign(self, key: str, message: bytes) -> SignatureResult:
        """Sign; ECDSA signatures are DER, with the nonce of RFC 6979, so that equal input gives equal
        output."""
        known = self._keys.get(key) or self._key(key)
        return SignatureResult(known[0].sign(message), known[1])

    def generate(self, key: str, algorithm: str) -> KeyDescription:
        """Make a key in a new file (0600, durable before this returns), encrypted where a password is
        configured.

        An empty ``algorithm`` is ES256. Refuses ``key.forbidden`` for a name that is taken or that the table
        ``keys`` places elsewhere, ``key.algorithm_refused`` for an algorithm that this backend lacks.
        """
        name = name_of(SCHEME, key)
        folder = self._folder()
        if folder is None or name in self._settings.keys:
            raise Refusal("key.forbidden", "not_generated_here", "this key cannot be made by the signer")
        private = make_key(algorithm or DEFAULT_ALGORITHM)
        folder.create(f"{name}.pem", encode(private, self._password()))
        return self.describe(key)

    def rotate(self, key: str, algorithm: str) -> Rotated:
        """Make a key beside ``key``, in a file of the first free name of ``NAME.v2``, ``NAME.v3``, …

        An empty ``algorithm`` is that of ``key``. Refuses ``key.not_found``, and as :meth:`generate` does.
        """
        old = self._key(key)[0].algorithm
        return next_version(SCHEME, key, lambda name: self.generate(name, algorithm or old), self._settings.keys)

    def _key(self, key: str) -> tuple[SigningKey, str]:
        known = self._keys.get(key)
        if known is None:
            private = decode(self._read(name_of(SCHEME, key)), self._password)
            signer = signing_key(private)
            known = (signer, f"sha256:{hashlib.sha256(signer.spki).hexdigest()}")
            self._keys[key] = known
        return known

    def _read(self, name: str) -> bytes:
        place = self._settings.keys.get(name)
        if place is not None:
            return read_key_file(place)
        folder = self._folder()
        if folder is None:
            raise not_found("no_such_key", f"{name} is not in the table keys, and no directory is configured")
        return folder.read(f"{name}.pem")

    def _folder(self) -> KeyFolder | None:
        return KeyFolder(self._settings.directory) if self._settings.directory else None

    def _password(self) -> bytes | None:
        return read_password(self._settings.password)

    def _description(self, signer: SigningKey, keyid: str) -> KeyDescription:
        return KeyDescription(signer.algorithm, keyid, signer.spki, self.capabilities, prehash=signer.prehash)
