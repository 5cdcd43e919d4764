"""SQLite as the sealer uses it: files of 0600, write-ahead log, a sync per commit, errors with a stable
reason.
"""

import errno
import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["BUSY_S", "failure_reason", "open_read_only", "open_writable"]

BUSY_S: Final = 2.0
"""How long a statement waits for another connection's lock: the audit write deadline, after which it is a
refusal.
"""

_REASONS: Final = {
    "SQLITE_BUSY": "locked",
    "SQLITE_CANTOPEN": "cannot_open",
    "SQLITE_CONSTRAINT": "duplicate",
    "SQLITE_CORRUPT": "corrupt",
    "SQLITE_FULL": "disk_full",
    "SQLITE_IOERR": "io_error",
    "SQLITE_LOCKED": "locked",
    "SQLITE_NOMEM": "no_memory",
    "SQLITE_NOTADB": "corrupt",
    "SQLITE_PERM": "read_only",
    "SQLITE_READONLY": "read_only",
}


def failure_reason(exc: BaseException) -> str:
    """Return the stable word for an error of SQLite or of the file system; ``failed`` for any other."""
    if isinstance(exc, OSError):
        return "read_only" if exc.errno == errno.EROFS else "cannot_open"
    name: str = getattr(exc, "sqlite_errorname", "") or ""
    # Extended codes carry their primary code in front: SQLITE_IOERR_FSYNC, SQLITE_READONLY_DBMOVED.
    primary = "_".join(name.split("_")[:2])
    return _REASONS.get(primary, "failed")


def open_writable(path: Path, schema: str, wait_s: float = BUSY_S) -> sqlite3.Connection:
    """Open or make the database at ``path`` with ``schema``, and return a connection in autocommit mode.

    The file is 0600 and so are the log and index that SQLite puts beside it (it copies the mode). A symlink
    in its place raises OSError, or one local user could lead the record into another's file; sqlite3.Error
    for the rest.
    """
    _make_private(path)
    database = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        # FULL: the log is synced by every commit. NORMAL would lose the last commits in a power cut.
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("PRAGMA journal_size_limit = 67108864")
        database.executescript(schema)
    except BaseException:
        database.close()
        raise
    return database


def _make_private(path: Path) -> None:
    """Make the file where it is missing, and have its mode 0600.

    One that is there may be open in this process, and closing a descriptor of it would drop SQLite's locks on it
    (fcntl(2)): the next process that reads the file and closes it would take itself for the last one, and remove the
    write-ahead log from under us. An O_PATH descriptor opens no file.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        if mode & 0o777 != 0o600:
            _close_to_others(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _close_to_others(opened: str) -> None:
    """Set the mode 0600, but for a file that its owner keeps from being written: that is not ours to undo."""
    if not os.access(opened, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), opened)
    os.chmod(opened, 0o600)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open ``path`` for reading, beside a living writer or a dead one's files; sqlite3.Error otherwise."""
    uri = path.absolute().as_uri() + "?mode=ro"
    database = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA query_only = ON")
        database.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        database.close()
        raise
    return database
