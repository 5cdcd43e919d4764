"""The folder of state: small files, written whole, that no other user reads."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from signerd.errors import Fault
from signerd_key_fido2.failures import fault, forbidden

__all__ = ["Folder"]

MOST_BYTES: Final = 64 * 1024
"""A credential with the longest id and an attestation's certificates takes a tenth of it."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Folder:
    """A directory of this user's own, made (0700) where it is missing. Names come from the caller, who has checked
    them.

    Each method raises ``key.backend_fault``, ``state_folder``, where it is another's, open to others, or fails.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def place(self, name: str) -> str:
        """Return the path of a file, for a sentence to the operator."""
        return os.path.join(self.path, name)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Give a descriptor of the checked directory."""
        try:
            with suppress(FileExistsError):
                os.mkdir(self.path, 0o700)
            fd = os.open(self.path, _FOLDER)
        except OSError as exc:
            raise self._broken(exc) from exc
        try:
            found = os.fstat(fd)
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise fault("state_folder", f"{self.path} must be this user's and closed to all others (0700)")
            yield fd
        finally:
            os.close(fd)

    def read(self, name: str) -> bytes | None:
        """Return what a regular file holds, None where there is none; ``state_file`` for another or a larger one."""
        with self.opened() as folder:
            try:
                fd = os.open(name, _OLD, dir_fd=folder)
            except FileNotFoundError:
                return None
            except OSError as exc:
                raise self._broken(exc) from exc
            with os.fdopen(fd, "rb") as file:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                    raise fault("state_file", f"{self.place(name)} must be a file of this user's, with mode 0600")
                try:
                    text = file.read(MOST_BYTES + 1)
                except OSError as exc:
                    raise self._broken(exc) from exc
        if len(text) > MOST_BYTES:
            raise fault("state_file", f"{self.place(name)} has more than {MOST_BYTES} bytes")
        return text

    def write(self, name: str, text: bytes, *, new: bool = False) -> None:
        """Write a file whole and make it lasting; ``new``: ``key.forbidden``, ``exists``, where there is one."""
        with self.opened() as folder:
            draft = f".{secrets.token_hex(8)}"
            try:
                fd = os.open(draft, _NEW, 0o600, dir_fd=folder)
                try:
                    with os.fdopen(fd, "wb") as file:
                        file.write(text)
                        file.flush()
                        os.fsync(fd)
                    if new:
                        os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
                    else:
                        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
                finally:
                    with suppress(FileNotFoundError):
                        os.unlink(draft, dir_fd=folder)
                os.fsync(folder)
            except FileExistsError:
                raise forbidden("exists", "there is a key of this name already") from None
            except OSError as exc:
                raise self._broken(exc) from exc

    def remove(self, name: str) -> None:
        """Remove a file, if it is there, for good."""
        with self.opened() as folder:
            try:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
                os.fsync(folder)
            except OSError as exc:
                raise self._broken(exc) from exc

    def _broken(self, exc: OSError) -> Fault:
        return fault("state_folder", f"{self.path}: {exc.strerror}")
