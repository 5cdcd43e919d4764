"""The folder of state: small files, written whole, that no other user reads."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from signerd.errors import Fault
from signerd.secret_files.folder import NameTaken, SecretFolder, UnfitFolder
from signerd.secret_files.reading import Unfit
from signerd_key_fido2.failures import fault, forbidden

__all__ = ["Folder", "Locked"]

MOST_BYTES: Final = 64 * 1024
"""A credential with the longest id and an attestation's certificates takes a tenth of it."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Folder:
    """A directory of this user's own, made (0700) where it is missing. Names come from the caller, who has checked
    them.

    Each method raises ``key.backend_fault``: ``state_folder``, where it is another's, writable by others, or fails.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._files = SecretFolder(path, MOST_BYTES)

    def place(self, name: str) -> str:
        """Return the path of a file, for a sentence to the operator."""
        return os.path.join(self.path, name)

    def read(self, name: str) -> bytes | None:
        """Return what a file holds, None where there is none; ``state_file`` for one that others can reach, that is no
        regular file, or larger than 64 KiB."""
        try:
            return self._files.read(name)
        except Unfit as unfit:
            if unfit.reason == "missing":
                return None
            raise fault("state_file", str(unfit)) from unfit
        except UnfitFolder as unfit:
            raise fault("state_folder", str(unfit)) from unfit

    def create(self, name: str, text: bytes) -> None:
        """Write a file that is not there yet, whole and for good; ``key.forbidden``, ``exists``, where there is one."""
        try:
            self._files.create(name, text)
        except NameTaken:
            raise forbidden("exists", "there is a key of this name already") from None
        except UnfitFolder as unfit:
            raise fault("state_folder", str(unfit)) from unfit

    @contextmanager
    def locked(self) -> Iterator["Locked"]:
        """Give the right to change files, which one process has at a time; waits for it."""
        try:
            with suppress(FileExistsError):
                os.mkdir(self.path, 0o700)
            fd = os.open(self.path, _FOLDER)
        except OSError as exc:
            raise self.broken(exc) from exc
        try:
            found = os.fstat(fd)
            if found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise fault("state_folder", f"{self.path} must be this user's and closed to other writers")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
            except OSError as exc:
                raise self.broken(exc) from exc
            yield Locked(self, fd)
        finally:
            os.close(fd)

    def broken(self, exc: OSError) -> Fault:
        """Return the fault that a failure of the file system is."""
        return fault("state_folder", f"{self.path}: {exc.strerror}")


class Locked:
    """A folder while nobody else changes it; both methods return once the change is on disk."""

    def __init__(self, folder: Folder, fd: int) -> None:
        self._folder = folder
        self._fd = fd

    def replace(self, name: str, text: bytes) -> None:
        """Put a whole file (0600) at ``name``, or leave what was there."""
        draft = f".{name}.{secrets.token_hex(8)}"
        try:
            try:
                fd = os.open(draft, _NEW, 0o600, dir_fd=self._fd)
                with os.fdopen(fd, "wb") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(fd)
                os.rename(draft, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            except OSError:
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=self._fd)
                raise
            os.fsync(self._fd)
        except OSError as exc:
            raise self._folder.broken(exc) from exc

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""
        try:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._fd)
            os.fsync(self._fd)
        except OSError as exc:
            raise self._folder.broken(exc) from exc
