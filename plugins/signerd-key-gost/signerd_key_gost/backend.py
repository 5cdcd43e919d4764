"""The hook of this plugin and the backend itself: references to keys, keys to signatures.

References are ``gost:NAME``. NAME is a key of the table ``keys``, or else the file ``NAME.pem`` in ``directory``.
"""

import re
from collections.abc import Mapping
from typing import Final

from signerd.contracts import hookimpl
from signerd.contracts.providers import KeyBackend
from signerd.contracts.settings import KEY_NAME
from signerd.contracts.values import KeyDescription, Rotated, SignatureResult
from signerd.errors import Refusal
from signerd_key_gost.failures import fault, not_found
from signerd_key_gost.files import create_in, read_in, read_place
from signerd_key_gost.library import library
from signerd_key_gost.private_key import PrivateKey, make_key, read_key
from signerd_key_gost.settings import understand

__all__ = ["GostBackend", "signerd_key_backends"]

SCHEME: Final = "gost:"
DEFAULT_ALGORITHM: Final = "GOST3410-2012-256"
MOST_VERSIONS: Final = 10_000
"""Names tried for a new version: a key that was rotated daily has not got there in 27 years."""
LONGEST_PASSWORD: Final = 1024
"""Bytes; OpenSSL reads no more of one when it opens a key (PEM_BUFSIZE)."""
_LONGEST_BASE: Final = 64 - len(".v9999")
_VERSION: Final = re.compile(r"\.v[0-9]{1,5}\Z")


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
        name, directory = _name_of(key), self._settings.directory
        if directory is None or name in self._settings.keys:
            raise Refusal("key.forbidden", "not_generated_here", "this key cannot be made by the signer")
        algorithm = algorithm or DEFAULT_ALGORITHM
        made = make_key(library(), algorithm, self._settings.parameters.get(algorithm, ""))
        create_in(directory, f"{name}.pem", made.pem(self._password()))
        return self.describe(key)

    def rotate(self, key: str, algorithm: str) -> Rotated:
        """Make a key beside ``key``, in a file of the first free name of ``NAME.v2``, ``NAME.v3``, …

        An empty ``algorithm`` is that of ``key``. Refuses ``key.not_found``, and as :meth:`generate` does.
        """
        old = self._key(key).public.algorithm
        base = _VERSION.sub("", _name_of(key))
        for number in range(2, MOST_VERSIONS if len(base) <= _LONGEST_BASE else 2):
            name = f"{base}.v{number}"
            if name in self._settings.keys:
                continue
            try:
                return Rotated(SCHEME + name, self.generate(SCHEME + name, algorithm or old))
            except Refusal as refusal:
                if refusal.reason != "exists":
                    raise
        raise Refusal("key.forbidden", "no_free_name", "there is no name left for a new version of this key")

    def _key(self, key: str) -> PrivateKey:
        known = self._keys.get(key)
        if known is None:
            name = _name_of(key)
            known = read_key(library(), self._read(name), self._password)
            self._keys[key] = known
        return known

    def _read(self, name: str) -> bytes:
        place, directory = self._settings.keys.get(name), self._settings.directory
        if place is not None:
            return read_place(place)
        if directory is None:
            raise not_found("no_such_key", f"{name} is not in the table keys, and no directory is configured")
        return read_in(directory, f"{name}.pem")

    def _password(self) -> bytes | None:
        place = self._settings.password
        if place is None:
            return None
        # One trailing newline is the editor's; a password that ends in one would be a trap for every tool.
        password = read_place(place).removesuffix(b"\n")
        if not password or len(password) > LONGEST_PASSWORD or b"\0" in password:
            raise fault("password_format", f"{place} must hold 1 to {LONGEST_PASSWORD} bytes without a NUL")
        return password


def _name_of(key: str) -> str:
    name = key.removeprefix(SCHEME)
    if name == key or KEY_NAME.fullmatch(name) is None:
        raise not_found("reference", f"{key[:80]!r} is not gost:NAME")
    return name
