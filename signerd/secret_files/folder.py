"""A folder of secrets: one file each, none ever overwritten."""

import os
import secrets
from typing import Final, Literal

from signerd.secret_files.reading import Unfit, read_secret_in

__all__ = ["FolderReason", "NameTaken", "SecretFolder", "UnfitFolder"]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

FolderReason = Literal["unreadable", "unwritable", "owner", "mode"]


class UnfitFolder(Exception):
    """The folder itself is not one to keep secrets in. ``reason`` is one stable word, the text the operator's."""

    def __init__(self, reason: FolderReason, text: str) -> None:
        super().__init__(text)
        self.reason: FolderReason = reason


class NameTaken(Exception):
    """There is a file of that name already."""


class SecretFolder:
    """The folder at ``path``, opened anew for each use; a file in it has at most ``most`` bytes.

    Every method raises UnfitFolder: ``owner`` (neither root's nor the own user's), ``mode`` (others may write),
    ``unreadable``, ``unwritable``.
    """

    def __init__(self, path: str, most: int) -> None:
        self._path = path
        self._most = most

    def read(self, name: str) -> bytes:
        """Return the secret in file ``name``; raises Unfit as :func:`~signerd.secret_files.reading.read_secret`."""
        if not os.path.lexists(self._path):
            raise Unfit("missing", f"{self._path} does not exist")
        folder = self._open()
        try:
            return read_secret_in(folder, name, self._most)
        except Unfit as unfit:
            raise Unfit(unfit.reason, f"{unfit}, in {self._path}") from unfit
        finally:
            os.close(folder)

    def create(self, name: str, secret: bytes) -> None:
        """Write a new file, mode 0600; it is there in full and on disk when this returns, or not at all.

        The folder is made (0700) where it is missing. Raises NameTaken where the name is: nothing is ever overwritten.
        """
        self._make()
        folder = self._open()
        draft = f".{name}.{secrets.token_hex(8)}"
        try:
            try:
                fd = os.open(draft, _NEW, 0o600, dir_fd=folder)
                with os.fdopen(fd, "wb") as file:
                    file.write(secret)
                    file.flush()
                    os.fsync(fd)
                # A hard link, unlike a rename, fails where the name is taken.
                os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            finally:
                if os.access(draft, os.F_OK, dir_fd=folder, follow_symlinks=False):
                    os.unlink(draft, dir_fd=folder)
            os.fsync(folder)
        except FileExistsError:
            raise NameTaken(name) from None
        except OSError as exc:
            raise UnfitFolder("unwritable", f"nothing can be written to {self._path}: {exc.strerror}") from exc
        finally:
            os.close(folder)

    def _make(self) -> None:
        try:
            os.mkdir(self._path, 0o700)
            parent = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(parent)  # a secret must not vanish with the folder that it was put in
            finally:
                os.close(parent)
        except FileExistsError:
            return
        except OSError as exc:
            raise UnfitFolder("unwritable", f"{self._path} cannot be made: {exc.strerror}") from exc

    def _open(self) -> int:
        try:
            fd = os.open(self._path, _FOLDER)
        except OSError as exc:
            raise UnfitFolder("unreadable", f"{self._path} cannot be opened: {exc.strerror}") from exc
        found = os.fstat(fd)
        if found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022:
            return fd
        os.close(fd)
        if found.st_mode & 0o022:
            raise UnfitFolder("mode", f"{self._path} must be closed to other writers")
        raise UnfitFolder("owner", f"{self._path} must belong to root or to uid {os.geteuid()}")
