import os
import sqlite3
import stat
import subprocess
import sys

import pytest

from signerd.sealer.database import BUSY_S, failure_reason, open_read_only, open_writable

SCHEMA = "CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY) STRICT;"


def test_a_writable_database_syncs_each_commit_and_belongs_to_its_owner_alone(tmp_path):
    path = tmp_path / "x.sqlite"
    path.touch(mode=0o666)
    path.chmod(0o666)
    database = open_writable(path, SCHEMA)
    database.execute("INSERT INTO t VALUES (1)")
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.execute("PRAGMA busy_timeout").fetchone() == (int(BUSY_S * 1000),)
    assert {stat.S_IMODE(found.stat().st_mode) for found in tmp_path.iterdir()} == {0o600}
    database.close()
    again = open_writable(path, SCHEMA)
    assert again.execute("SELECT a FROM t").fetchall() == [(1,)]
    again.close()


def test_a_symlink_is_not_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links") as caught:
        open_writable(tmp_path / "link", SCHEMA)
    assert failure_reason(caught.value) == "cannot_open"


def test_a_database_that_is_opened_twice_is_still_locked(tmp_path):
    """Whoever reads the file of a living sealer, and closes it, must not take the write-ahead log away: what is durable
    by then, and all that follows, would be gone with it."""
    path = tmp_path / "x.sqlite"
    first, second = open_writable(path, SCHEMA), open_writable(path, SCHEMA)
    first.execute("INSERT INTO t VALUES (1)")
    reads = "import contextlib, sqlite3, sys\nwith contextlib.closing(sqlite3.connect(sys.argv[1])) as it:\n"
    reads += "    print(it.execute('SELECT count(*) FROM t').fetchone()[0])"

    def counted() -> int:
        command = [sys.executable, "-I", "-c", reads, path]
        return int(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)

    assert counted() == 1
    second.execute("INSERT INTO t VALUES (2)")
    first.execute("INSERT INTO t VALUES (3)")
    assert (tmp_path / "x.sqlite-wal").exists()
    assert counted() == 3
    first.close()
    second.close()


def test_reading_makes_no_database_and_writes_none(tmp_path):
    with pytest.raises(sqlite3.OperationalError) as caught:
        open_read_only(tmp_path / "none").execute("SELECT 1 FROM t")
    assert failure_reason(caught.value) == "cannot_open"
    open_writable(tmp_path / "x", SCHEMA).close()
    reader = open_read_only(tmp_path / "x")
    with pytest.raises(sqlite3.OperationalError) as caught:
        reader.execute("INSERT INTO t VALUES (1)")
    assert failure_reason(caught.value) == "read_only"
    reader.close()
    assert list(tmp_path.glob("none*")) == []


def test_a_path_is_no_uri(tmp_path):
    path = tmp_path / "a?mode=rwc#b"
    open_writable(path, SCHEMA).close()
    reader = open_read_only(path)
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
    reader.close()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SQLITE_BUSY", "locked"),
        ("SQLITE_BUSY_SNAPSHOT", "locked"),
        ("SQLITE_IOERR_FSYNC", "io_error"),
        ("SQLITE_READONLY_DBMOVED", "read_only"),
        ("SQLITE_CONSTRAINT_UNIQUE", "duplicate"),
        ("SQLITE_FULL", "disk_full"),
        ("SQLITE_NOTADB", "corrupt"),
        ("SQLITE_CORRUPT_VTAB", "corrupt"),
        ("SQLITE_ERROR", "failed"),
        (None, "failed"),
    ],
)
def test_the_word_for_an_error(name, reason):
    error = sqlite3.OperationalError("x")
    if name is not None:
        error.sqlite_errorname = name
    assert failure_reason(error) == reason


def test_a_file_that_its_owner_keeps_from_being_written_is_not_made_writable(tmp_path, monkeypatch):
    path = tmp_path / "kept.sqlite"
    open_writable(path, "").close()
    path.chmod(0o400)
    monkeypatch.setattr(os, "access", lambda *_: False)  # what root is told of no file
    with pytest.raises(PermissionError) as caught:
        open_writable(path, "")
    assert failure_reason(caught.value) == "cannot_open"
    assert path.stat().st_mode & 0o777 == 0o400
