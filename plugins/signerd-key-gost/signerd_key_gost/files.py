"""Key files, and how what is wrong with one is told: every fault of a file is this backend's, and names it to the
operator alone."""

from collections.abc import Callable
from typing import Final, TypeVar

from signerd.errors import Refusal
from signerd.secret_files.folder import NameTaken, SecretFolder, UnfitFolder
from signerd.secret_files.reading import Unfit, read_secret
from signerd_key_gost.failures import fault, not_found

__all__ = ["create_in", "read_in", "read_place"]

T = TypeVar("T")

LARGEST: Final = 16 * 1024
"""Bytes of a key file: the largest key, encrypted, takes 400."""


def read_place(place: str) -> bytes:
    """Return the bytes of a secret file at an absolute path, or of a credential of systemd's.

    ``key.not_found`` where there is none. ``key.backend_fault`` with ``file_`` and the reason of
    :func:`~signerd.secret_files.reading.read_secret`; ``no_credentials``.
    """
    return _told(lambda: read_secret(place, LARGEST))


def read_in(directory: str, name: str) -> bytes:
    """Return the bytes of a file of the folder; raises as :func:`read_place`, and for the folder itself
    ``key.backend_fault`` with ``directory_`` and the reason of :class:`~signerd.secret_files.folder.UnfitFolder`."""
    return _told(lambda: SecretFolder(directory, LARGEST).read(name))


def create_in(directory: str, name: str, data: bytes) -> None:
    """Write a new file, all of it or nothing. ``key.forbidden``, reason ``exists``, where the name is taken."""
    _told(lambda: SecretFolder(directory, LARGEST).create(name, data))


def _told(do: Callable[[], T]) -> T:
    try:
        return do()
    except Unfit as unfit:
        if unfit.reason == "missing":
            raise not_found("no_such_key", str(unfit)) from unfit
        named = unfit.reason if unfit.reason == "no_credentials" else f"file_{unfit.reason}"
        raise fault(named, str(unfit)) from unfit
    except UnfitFolder as unfit:
        raise fault(f"directory_{unfit.reason}", str(unfit)) from unfit
    except NameTaken:
        raise Refusal("key.forbidden", "exists", "there is a key of this name already") from None
