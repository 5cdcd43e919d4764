"""A small audit sink that is real, and others with a flaw each: leaves in one SQLite file."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from signerd.errors import Fault

__all__ = ["SmallSink", "kept", "out"]


class SmallSink:
    """``flaw``: none, or what it does wrong."""

    def __init__(self, file: Path, flaw: str = "none") -> None:
        self.file = file
        self.flaw = flaw
        self.waiting: list[bytes] = []
        self.started = False

    def ship(self, leaves: Sequence[bytes]) -> object:
        mine = list(leaves)
        if self.flaw == "next_time":
            self.waiting, mine = mine, self.waiting
        elif self.flaw == "sorted":
            mine.sort(key=len)
        elif self.flaw == "text":
            mine = [leaf.decode("utf-8", "replace").encode() for leaf in mine]
        elif self.flaw == "stripped":
            mine = [leaf.strip() for leaf in mine]
        elif self.flaw == "ends_line":
            mine = mine or [b""]
        try:
            self._write(mine)
        except sqlite3.Error as exc:
            if self.flaw == "foreign":
                raise
            if self.flaw != "silent":
                code = "internal" if self.flaw == "other_code" else "audit.unavailable"
                raise Fault(code, "sink_down", "no") from exc
            return None
        return len(mine) if self.flaw == "counts" else None

    def _write(self, leaves: Sequence[bytes]) -> None:
        with contextlib.closing(sqlite3.connect(self.file, timeout=0)) as database, database:
            if self.flaw == "starts_anew" and not self.started:
                database.execute("DROP TABLE IF EXISTS leaves")
            self.started = True
            database.execute("CREATE TABLE IF NOT EXISTS leaves (place INTEGER PRIMARY KEY, leaf BLOB)")
            for leaf in leaves:
                again = database.execute("SELECT 1 FROM leaves WHERE leaf = ?", (leaf,)).fetchone()
                if again and self.flaw == "refuses_again":
                    raise Fault("audit.unavailable", "again", "no")
                if again and self.flaw == "forgets_again":
                    database.execute("DELETE FROM leaves WHERE leaf = ?", (leaf,))
                else:
                    database.execute("INSERT INTO leaves (leaf) VALUES (?)", (leaf,))


def kept(file: Path) -> list[bytes]:
    """Return what is kept."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        return [bytes(leaf) for (leaf,) in database.execute("SELECT leaf FROM leaves ORDER BY place")]


@contextlib.contextmanager
def out(file: Path) -> Iterator[None]:
    """Somebody else holds the file's lock."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            database.execute("ROLLBACK")
