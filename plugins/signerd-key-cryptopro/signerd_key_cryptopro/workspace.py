"""Folders for one call of the tool each: closed to everybody else, and gone afterwards.

What is signed lies there for the tool to read, and the signature that it writes. A process that is killed leaves its
folder behind; whoever starts next finds nobody's lock on it and removes it.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from signerd_key_pkcs11.failures import fault, unavailable

__all__ = ["Workspace"]

PREFIX: Final = "tool-"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Workspace:
    """Makes folders under ``state``, which is made (0700) where it is missing."""

    def __init__(self, state: str) -> None:
        self._state = state

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Give a new folder, locked while it is in use.

        ``key.backend_fault``: ``state_folder`` (no directory of this user's, closed to all others).
        ``key.backend_unavailable``: ``tool_folder`` (it cannot be made: a full disk).
        """
        self._check()
        try:
            made = tempfile.mkdtemp(prefix=PREFIX, dir=self._state)
        except OSError as exc:
            raise unavailable("tool_folder", f"{self._state} cannot be written: {exc.strerror}") from exc
        try:
            lock = os.open(made, _FOLDER)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield Path(made)
            finally:
                os.close(lock)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def sweep(self) -> None:
        """Remove the folders that a killed process has left; another live one's stay."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self._state):
                if name.startswith(PREFIX):
                    self._remove(os.path.join(self._state, name))

    def _remove(self, path: str) -> None:
        with contextlib.suppress(OSError):
            lock = os.open(path, _FOLDER)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)

    def _check(self) -> None:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._state, 0o700)
            found = os.lstat(self._state)
        except OSError as exc:
            raise fault("state_folder", f"{self._state}: {exc.strerror}") from exc
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise fault("state_folder", f"{self._state} must be a directory of this user's, closed to all others")
