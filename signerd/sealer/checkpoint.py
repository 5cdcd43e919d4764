"""Moves what the write-ahead log holds into the audit database, beside the loop.

SQLite would do it by itself within a commit, every thousand pages, and hold that commit up for tens of milliseconds.
Here a connection in a thread of its own copies while the loop goes on committing, and the loop then copies the few
pages that came meanwhile: only when all are copied does SQLite begin the write-ahead log anew, in place, where a sync
is cheap. Nothing depends on it: a log that is not copied is read all the same.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from signerd.errors import SignerdError
from signerd.sealer.aside import Aside
from signerd.sealer.audit import SqliteAuditStore

__all__ = ["LEAVES", "Checkpoints"]

LEAVES: Final = 8000
"""Leaves after which the write-ahead log, some 32 MB by then, is copied: seldom, as each copy is felt."""
_COPY: Final = "PRAGMA wal_checkpoint(PASSIVE)"


class Checkpoints:
    """Call :meth:`turn` in the loop."""

    def __init__(self, path: Path, store: SqliteAuditStore, aside: Aside) -> None:
        self._path = path
        self._store = store
        self._aside = aside
        self._from = store.size
        self._busy = False

    def turn(self) -> None:
        """Start copying where enough has been written since the last time."""
        if not self._busy and self._store.size - self._from >= LEAVES:
            self._busy = True
            self._from = self._store.size
            self._aside.run(_copier(self._path), self._copied)

    def _copied(self, result: object) -> None:
        self._busy = False
        if not isinstance(result, SignerdError):
            self._store.copy_rest()


def _copier(path: Path) -> Callable[[], None]:
    def copy() -> None:
        # Raises OSError for what SQLite says: it is tried again later, and the commits themselves tell of a bad disk.
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as database:
                database.execute(_COPY).fetchall()
        except sqlite3.Error as exc:
            raise OSError(str(exc)) from exc

    return copy
