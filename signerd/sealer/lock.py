"""The state directory: whose it is, and that only one daemon uses it.

What lies there decides what is on record and which keys count, so nobody else may write to it, and two
sealers on one log would each believe to be its only writer.
"""

import fcntl
import os
import stat
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from signerd.errors import Refusal

__all__ = ["LOCK_NAME", "LOCK_WAIT_S", "StateLock", "check_state", "is_locked", "prepare_state"]

LOCK_NAME: Final = "lock"
LOCK_WAIT_S: Final = 2.0
"""A daemon that is restarted finds its predecessor's sealer finishing the group in hand: that takes less."""
_POLL_S: Final = 0.02


def _unfit(reason: str, path: Path, what: str) -> Refusal:
    return Refusal("state.locked", reason, "the state directory cannot be used", operator=f"{path}: {what}")


def check_state(path: Path) -> None:
    """Refuse (``state.locked``) a state directory that others control; one that does not exist passes.

    Reasons: ``symlink``, ``not_a_directory``, ``foreign_owner``, ``writable_by_others``, ``unreadable``.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as exc:
        raise _unfit("unreadable", path, str(exc)) from exc
    if stat.S_ISLNK(found.st_mode):
        raise _unfit("symlink", path, "is a symbolic link")
    if not stat.S_ISDIR(found.st_mode):
        raise _unfit("not_a_directory", path, "is not a directory")
    if found.st_uid != os.geteuid():
        raise _unfit("foreign_owner", path, f"belongs to uid {found.st_uid}, not to {os.geteuid()}")
    if found.st_mode & 0o022:
        raise _unfit("writable_by_others", path, f"mode {found.st_mode & 0o7777:04o} lets others write")


def prepare_state(path: Path) -> None:
    """Make the state directory (0700, its parents too where they are missing) and check it as
    :func:`check_state`.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as exc:
        raise _unfit("unreadable", path, str(exc)) from exc
    check_state(path)


def is_locked(state: Path) -> bool:
    """Whether a daemon, or what is left of one, uses this state directory. Takes nothing and makes nothing."""
    try:
        fd = os.open(state / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise _unfit("unreadable", state / LOCK_NAME, str(exc)) from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class StateLock:
    """The lock on a state directory, held until closed or until the process ends, however it ends.

    Children do not inherit it (the descriptor is close-on-exec): a worker that outlives its sealer holds
    nothing.
    """

    def __init__(self, state: Path, wait_s: float = LOCK_WAIT_S) -> None:
        """Take the lock, waiting ``wait_s`` for a predecessor to end; else ``state.locked``, reason
        ``in_use``.
        """
        path = state / LOCK_NAME
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise _unfit("unreadable", path, str(exc)) from exc
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                if time.monotonic() >= deadline:
                    holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
                    self.close()
                    raise _unfit(
                        "in_use", state, f"is used by the daemon of pid {holder or 'unknown'}"
                    ) from exc
                time.sleep(_POLL_S)
            else:
                break
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give the lock back; harmless when done twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
