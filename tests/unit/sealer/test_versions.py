"""The ring as log and file agree on it; what an attacker makes of them is in tests/threats/test_t22_*."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fakes.sealing import HandClock, ListStore, SoftKey
from signerd.contracts.services import Leaf
from signerd.errors import Fault, Refusal
from signerd.sealer.ring import FILE_NAME, RingStore
from signerd.sealer.versions import Versions
from signerd.wire.ring import RingEntry

FIRST, SECOND, OTHER = SoftKey("file:a").entry, SoftKey("file:a").entry, SoftKey("file:b").entry
SECOND = replace(SECOND, version=2, handle="file:a.v2")


class Desk:
    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self.audit = ListStore()
        self.clock = HandClock()
        self.open()

    def open(self) -> None:
        self.store = RingStore(self.path)
        self.versions = Versions(self.store, self.audit, self.clock)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def test_a_change_is_a_leaf_for_each_version_and_a_row_of_its_own(desk: Desk) -> None:
    desk.versions.change("generate", [FIRST])
    old = replace(FIRST, status="retiring", retire_at=5)
    desk.versions.change("rotate", [SECOND, old], "uid:0", "yearly")
    assert desk.versions.of("file:a") == [old, SECOND]
    assert desk.versions.find(SECOND.keyid) == SECOND
    assert list(desk.versions.entries()) == desk.store.load() == [old, SECOND]
    history = desk.versions.history("file:a")
    assert [(each.change, each.entry, each.by, each.reason) for each in history] == [
        ("generate", FIRST, "", ""),
        ("rotate", SECOND, "uid:0", "yearly"),
        ("rotate", old, "uid:0", "yearly"),
    ]
    assert {each.time for each in history} == {desk.clock.now_ms()}
    assert desk.versions.of("file:none") == ()
    assert desk.versions.find("sha256:none") is None


def test_a_key_has_one_name_and_one_version(desk: Desk) -> None:
    desk.versions.change("generate", [FIRST])
    for again in (replace(FIRST, version=2), replace(FIRST, key="file:b")):
        with pytest.raises(Refusal, match="known_key"):
            desk.versions.change("rotate", [again])
    assert len(desk.audit.leaves) == 1


def test_nothing_changes_off_the_record(desk: Desk) -> None:
    desk.audit.failing = Fault("audit.unavailable", "disk_full", "the audit log cannot be used")
    with pytest.raises(Fault):
        desk.versions.change("generate", [FIRST])
    assert desk.versions.of("file:a") == ()
    assert desk.store.load() == []


def test_a_crash_between_leaf_and_row_is_made_good(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.versions.change("generate", [OTHER])

    def die(entries: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(desk.store, "put", die)
    with pytest.raises(KeyboardInterrupt):
        desk.versions.change("generate", [FIRST])
    monkeypatch.undo()
    desk.store.close()
    desk.open()
    assert desk.versions.of("file:a") == [FIRST]
    assert desk.store.load() == [FIRST, OTHER]
    assert [change.change for change in desk.versions.history()] == ["generate", "generate", "restore"]


def test_a_start_without_news_writes_nothing(desk: Desk) -> None:
    desk.versions.change("generate", [FIRST, OTHER])
    desk.store.close()
    desk.open()
    assert len(desk.audit.leaves) == 2
    assert not any(desk.versions.unlogged(entry) for entry in (FIRST, OTHER))


LEAF_OF_0_1 = (
    b'{"change":"generate","entry":{"added_at":1000,"algorithm":"ES256","expires_at":0,"key":"file:a","keyid":"sha256:1",'
    b'"revoked_at":0,"source":"file","spki":"MFk=","status":"active","tenant":"local","version":1},"kind":"ring",'
    b'"time":1000,"v":1}'
)


def test_what_the_first_release_wrote_is_understood(desk: Desk) -> None:
    desk.store.put([RingEntry("file:a", "local", 1, "sha256:1", "ES256", b"0Y", "file", "active", 1000)])
    desk.store.close()
    desk.audit.append_many([Leaf(LEAF_OF_0_1, "", "ring", "local", 1000)])
    desk.open()
    (entry,) = desk.versions.of("file:a")
    assert (entry.name, entry.status, entry.hardware) == ("file:a", "active", False)
    assert not desk.versions.unlogged(entry)
    assert len(desk.audit.leaves) == 1
