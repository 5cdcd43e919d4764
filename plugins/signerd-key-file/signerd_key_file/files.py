"""Key files, and how what is wrong with one is told: every fault of a file is this backend's, and names it to the
operator alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from signerd.errors import Fault, Refusal
from signerd.secret_files.folder import NameTaken, SecretFolder, UnfitFolder
from signerd.secret_files.reading import Unfit, read_secret

__all__ = ["KeyFolder", "fault", "read_key_file"]

_LARGEST: Final = 64 * 1024
"""Bytes of a key file: an RSA key of 4096 bits takes 3.3 kB."""


def fault(reason: str, operator: str) -> Fault:
    """Build the fault of a backend that cannot use what it found; the operator's text alone names the
    file."""
    return Fault("key.backend_fault", reason, "a component of the signer failed", operator=operator)


def read_key_file(place: str) -> bytes:
    """Return the bytes of a secret file at an absolute path, or of a credential of systemd's.

    ``key.not_found`` where there is none. ``key.backend_fault`` with ``file_`` and the reason of
    :func:`~signerd.secret_files.reading.read_secret`; above 64 KiB ``file_size``; ``no_credentials``.
    """
    with _told():
        return read_secret(place, _LARGEST)


class KeyFolder:
    """A folder of key files. Its own faults are ``key.backend_fault`` with ``directory_`` and the reason of
    :class:`~signerd.secret_files.folder.UnfitFolder`."""

    def __init__(self, path: str) -> None:
        self._folder = SecretFolder(path, _LARGEST)

    def read(self, name: str) -> bytes:
        """Return the bytes of the key file ``name``; raises as :func:`read_key_file`."""
        with _told():
            return self._folder.read(name)

    def create(self, name: str, data: bytes) -> None:
        """Write a new file: all of it or nothing. ``key.forbidden``, reason ``exists``, where the name is taken."""
        with _told():
            self._folder.create(name, data)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except Unfit as unfit:
        if unfit.reason == "missing":
            raise Refusal("key.not_found", "no_such_key", "there is no such key", operator=str(unfit)) from unfit
        named = unfit.reason if unfit.reason == "no_credentials" else f"file_{unfit.reason}"
        raise fault(named, str(unfit)) from unfit
    except UnfitFolder as unfit:
        raise fault(f"directory_{unfit.reason}", str(unfit)) from unfit
    except NameTaken:
        raise Refusal("key.forbidden", "exists", "there is a key of this name already") from None
