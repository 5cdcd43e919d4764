"""Files of keys, as key backends have them: what is wrong with one is told in the codes of their contract (``key.*``).

A fault names the file to the operator alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from signerd.errors import Fault, Refusal
from signerd.secret_files.folder import NameTaken, SecretFolder, UnfitFolder
from signerd.secret_files.reading import Unfit, read_secret

__all__ = ["LARGEST_KEY_FILE", "KeyFolder", "fault", "not_found", "read_key_file", "read_password", "told"]

LARGEST_KEY_FILE: Final = 64 * 1024
"""Bytes: an RSA key of 4096 bits takes 3.3 kB."""
LONGEST_PASSWORD: Final = 1024
"""Bytes; OpenSSL reads no more of one when it opens a key (PEM_BUFSIZE)."""


def fault(reason: str, operator: str) -> Fault:
    """Build the fault of a backend that cannot use what it found; ``operator`` alone is told what."""
    return Fault("key.backend_fault", reason, "a component of the signer failed", operator=operator)


def not_found(reason: str, operator: str) -> Refusal:
    """Build the refusal of a reference that leads to no key."""
    return Refusal("key.not_found", reason, "there is no such key", operator=operator)


@contextmanager
def told() -> Iterator[None]:
    """Say of what is wrong with a file or its folder what it means to whoever asked for a key.

    ``key.not_found``, ``no_such_key``, where there is no such file. ``key.backend_fault``: ``file_`` and the reason of
    :func:`~signerd.secret_files.reading.read_secret`, ``no_credentials``, ``directory_`` and the reason of
    :class:`~signerd.secret_files.folder.UnfitFolder`. ``key.forbidden``, ``exists``, where the name is taken.
    """
    try:
        yield
    except Unfit as unfit:
        if unfit.reason == "missing":
            raise not_found("no_such_key", str(unfit)) from unfit
        named = unfit.reason if unfit.reason == "no_credentials" else f"file_{unfit.reason}"
        raise fault(named, str(unfit)) from unfit
    except UnfitFolder as unfit:
        raise fault(f"directory_{unfit.reason}", str(unfit)) from unfit
    except NameTaken:
        raise Refusal("key.forbidden", "exists", "there is a key of this name already") from None


def read_key_file(place: str) -> bytes:
    """Return the bytes of a secret file at an absolute path, or of a credential of systemd's; raises as
    :func:`told`."""
    with told():
        return read_secret(place, LARGEST_KEY_FILE)


def read_password(place: str | None) -> bytes | None:
    """Return the password of encrypted keys at ``place``, None with none; raises as :func:`read_key_file`, and
    ``key.backend_fault``, ``password_format``, for one that is empty, has a NUL, or is longer than 1024 bytes.

    One trailing newline is the editor's; a password that ends in one would be a trap for every tool.
    """
    if place is None:
        return None
    password = read_key_file(place).removesuffix(b"\n")
    if not password or len(password) > LONGEST_PASSWORD or b"\0" in password:
        # With an empty one a new key would be written in clear.
        raise fault("password_format", f"{place} must hold 1 to {LONGEST_PASSWORD} bytes without a NUL")
    return password


class KeyFolder:
    """A folder of key files, as a :class:`~signerd.secret_files.folder.SecretFolder`; raises as :func:`told`."""

    def __init__(self, path: str) -> None:
        self._folder = SecretFolder(path, LARGEST_KEY_FILE)

    def read(self, name: str) -> bytes:
        """Return the bytes of the key file ``name``."""
        with told():
            return self._folder.read(name)

    def create(self, name: str, data: bytes) -> None:
        """Write a new file: all of it or nothing, and never over another."""
        with told():
            self._folder.create(name, data)
