import sqlite3
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from signerd.errors import Fault
from signerd.sealer.ring import FILE_NAME, RingStore
from signerd.wire.ring import RingEntry

ENTRY = RingEntry("file:default", "local", 1, "sha256:" + "a" * 64, "ES256", b"\x30\x59", "generated", "active", 1000)
SECOND = replace(ENTRY, version=2, keyid="sha256:" + "c" * 64, handle="file:default.v2", hardware=True)

FIRST_SCHEMA = """
CREATE TABLE ring (
  key TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  version INTEGER NOT NULL,
  keyid TEXT NOT NULL UNIQUE,
  algorithm TEXT NOT NULL,
  spki BLOB NOT NULL,
  source TEXT NOT NULL,
  status TEXT NOT NULL,
  added_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL
) STRICT;
"""


def of_release_0_1(path: Path) -> None:
    """Make a ring as signerd 0.1 made it."""
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript("PRAGMA journal_mode = WAL;" + FIRST_SCHEMA)
    row = ("file:default", "local", 1, ENTRY.keyid, "ES256", b"\x30\x59", "generated", "active", 1000, 0, 0)
    database.execute("INSERT INTO ring VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)
    database.close()


def test_versions_come_back_as_they_went_in_after_a_restart(tmp_path: Path) -> None:
    ring = RingStore(tmp_path / FILE_NAME)
    times = {"expires_at": 5, "revoked_at": 7, "invalid_since": 3}
    other = replace(ENTRY, key="file:a", keyid="sha256:" + "b" * 64, cause="compromised", **times)
    ring.put([SECOND, ENTRY])
    ring.put([other])
    ring.close()
    again = RingStore(tmp_path / FILE_NAME)
    loaded = again.load()
    assert loaded == [other, ENTRY, SECOND]
    assert [entry.hardware for entry in loaded] == [False, False, True]
    assert all(isinstance(entry.hardware, bool) for entry in loaded)
    again.close()
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_a_version_is_changed_in_its_place(tmp_path: Path) -> None:
    ring = RingStore(tmp_path / FILE_NAME)
    ring.put([ENTRY])
    revoked = replace(ENTRY, status="revoked", revoked_at=9)
    ring.put([revoked, SECOND])
    assert ring.load() == [revoked, SECOND]
    ring.close()


def test_no_key_has_two_names_and_a_change_is_whole_or_not_at_all(tmp_path: Path) -> None:
    ring = RingStore(tmp_path / FILE_NAME)
    ring.put([ENTRY])
    with pytest.raises(Fault) as caught:
        ring.put([SECOND, replace(ENTRY, key="file:other")])
    assert (caught.value.code, caught.value.reason) == ("internal", "ring_duplicate")
    assert ring.load() == [ENTRY]
    ring.put([SECOND])
    ring.close()


def test_a_ring_of_the_first_release_is_brought_to_this_schema(tmp_path: Path) -> None:
    of_release_0_1(tmp_path / FILE_NAME)
    ring = RingStore(tmp_path / FILE_NAME)
    assert ring.load() == [ENTRY]
    ring.put([SECOND])
    ring.close()
    again = RingStore(tmp_path / FILE_NAME)
    assert again.load() == [ENTRY, SECOND]
    again.close()


def test_one_of_a_later_release_is_not_touched(tmp_path: Path) -> None:
    later = sqlite3.connect(tmp_path / FILE_NAME)
    later.executescript("CREATE TABLE ring (something TEXT); PRAGMA user_version = 3")
    later.close()
    with pytest.raises(Fault) as caught:
        RingStore(tmp_path / FILE_NAME)
    assert (caught.value.code, caught.value.reason) == ("internal", "ring_newer")


def test_a_ring_that_cannot_be_used_is_a_typed_fault(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 500)
    with pytest.raises(Fault) as caught:
        RingStore(tmp_path / FILE_NAME)
    assert caught.value.reason == "ring_corrupt"
    ring = RingStore(tmp_path / "other.sqlite")
    blocker = sqlite3.connect(tmp_path / "other.sqlite", isolation_level=None)
    blocker.execute("DROP TABLE ring")
    blocker.close()
    for call in (ring.load, lambda: ring.put([ENTRY])):
        with pytest.raises(Fault) as caught:
            call()
        assert caught.value.reason == "ring_failed"
    ring.close()
