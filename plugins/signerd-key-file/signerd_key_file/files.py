"""Secrets on disk: read only where nobody else could have read or put them, written so that they last.

A file must be a regular one, not a symlink, belong to the user of this process and be closed to group and
others; its folder must be closed to other writers. All checks are made on the open descriptor, so that
nothing can be put in its place in between.
"""

import errno
import os
import secrets
import stat
from typing import Final, NoReturn

from signerd.errors import Fault, Refusal, SignerdError

__all__ = ["KeyFolder", "fault", "read_credential", "read_private"]

_LARGEST: Final = 64 * 1024
"""Bytes of a key file: an RSA key of 4096 bits takes 3.3 kB."""
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"


def fault(reason: str, operator: str) -> Fault:
    """Build the fault of a backend that cannot use what it found; the operator's text alone names the
    file."""
    return Fault("key.backend_fault", reason, "a component of the signer failed", operator=operator)


def read_private(path: str, *, dir_fd: int | None = None) -> bytes:
    """Return the bytes of a secret file.

    ``key.not_found`` where there is none. ``key.backend_fault`` with reason ``file_symlink``, ``file_type``,
    ``file_owner``, ``file_mode`` (group or others may do anything), ``file_size`` (above 64 KiB),
    ``file_unreadable``.
    """
    fd = _open(path, dir_fd)
    try:
        found = _regular(path, fd)
        if found.st_uid != os.geteuid():
            raise fault("file_owner", f"{path} must belong to the user that the key worker runs as")
        if found.st_mode & 0o077:
            raise fault("file_mode", f"{path} must be closed to group and others (mode 0600 or 0400)")
        return _read(path, fd)
    finally:
        os.close(fd)


def read_credential(name: str) -> bytes:
    """Return the bytes of a systemd credential (systemd.exec(5), LoadCredential=).

    systemd hands it over in a folder of its own, owned by root with an access list for the unit's user, which
    shows as a group mode: so only writing by others is refused here. Reason ``no_credentials`` where systemd
    passed none.
    """
    folder = os.environ.get(_CREDENTIALS)
    if not folder:
        raise fault("no_credentials", f"{_CREDENTIALS} is not set: the service has no credential {name}")
    path = os.path.join(folder, name)
    fd = _open(path, None)
    try:
        found = _regular(path, fd)
        if found.st_uid not in (0, os.geteuid()):
            raise fault(
                "file_owner", f"{path} must belong to root or to the user that the key worker runs as"
            )
        if found.st_mode & 0o027:
            raise fault("file_mode", f"{path} must be closed to others and to writers")
        return _read(path, fd)
    finally:
        os.close(fd)


class KeyFolder:
    """A folder of key files, opened anew for each use."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, name: str) -> bytes:
        """Return the bytes of the key file ``name``; raises as :func:`read_private`, and for the folder
        itself ``directory_unreadable``, ``directory_owner`` and ``directory_mode``."""
        if not os.path.lexists(self._path):
            raise _not_found(self._path)
        folder = self._open()
        try:
            return read_private(name, dir_fd=folder)
        except SignerdError as exc:
            exc.add_note(f"in {self._path}")
            raise
        finally:
            os.close(folder)

    def create(self, name: str, data: bytes) -> None:
        """Write a new file, mode 0600; it is there in full and on disk when this returns, or not at all.

        The folder is made (0700) where it is missing. ``key.forbidden`` with reason ``exists`` where the name
        is taken: nothing is ever overwritten.
        """
        self._make()
        folder = self._open()
        draft = f".{name}.{secrets.token_hex(8)}"
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(fd)
                # A hard link, unlike a rename, fails where the name is taken.
                os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            finally:
                os.unlink(draft, dir_fd=folder)
            os.fsync(folder)
        except FileExistsError:
            raise Refusal("key.forbidden", "exists", "there is a key of this name already") from None
        except OSError as exc:
            raise fault(
                "directory_unwritable", f"a key cannot be written to {self._path}: {exc.strerror}"
            ) from exc
        finally:
            os.close(folder)

    def _make(self) -> None:
        try:
            os.mkdir(self._path, 0o700)
            parent = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(parent)  # a key must not vanish with the folder that it was put in
            finally:
                os.close(parent)
        except FileExistsError:
            return
        except OSError as exc:
            raise fault("directory_unwritable", f"{self._path} cannot be made: {exc.strerror}") from exc

    def _open(self) -> int:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as exc:
            raise fault("directory_unreadable", f"{self._path} cannot be opened: {exc.strerror}") from exc
        found = os.fstat(fd)
        if found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022:
            return fd
        os.close(fd)
        if found.st_mode & 0o022:
            raise fault("directory_mode", f"{self._path} must be closed to other writers")
        raise fault("directory_owner", f"{self._path} must belong to root or to the user of the key worker")


def _open(path: str, dir_fd: int | None) -> int:
    try:
        return os.open(path, _FLAGS, dir_fd=dir_fd)
    except FileNotFoundError:
        raise _not_found(path) from None
    except OSError as exc:
        _unreadable(path, exc)


def _not_found(path: str) -> Refusal:
    return Refusal("key.not_found", "no_such_key", "there is no such key", operator=f"{path} does not exist")


def _unreadable(path: str, exc: OSError) -> NoReturn:
    if exc.errno == errno.ELOOP:
        raise fault("file_symlink", f"{path} is a symlink") from exc
    raise fault("file_unreadable", f"{path} cannot be opened: {exc.strerror}") from exc


def _regular(path: str, fd: int) -> os.stat_result:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise fault("file_type", f"{path} is not a regular file")
    if found.st_size > _LARGEST:
        raise fault("file_size", f"{path} is longer than {_LARGEST} bytes")
    return found


def _read(path: str, fd: int) -> bytes:
    try:
        with os.fdopen(os.dup(fd), "rb") as file:
            return file.read(_LARGEST)
    except OSError as exc:
        _unreadable(path, exc)
