"""Kept bundles: within their room, for their time, and never at the cost of a signature."""

import sqlite3
from pathlib import Path

import pytest

from fakes.sealing import HandClock, ListStore
from fakes.sigstore import Sigstore, jcs
from signerd.attestation.log_entry import parse_log_entry
from signerd.errors import Fault
from signerd.sealer.kept import LARGEST_KEPT, Kept
from signerd.sealer.outbox import DAY_MS, Outbox, Row

ENTRY = parse_log_entry(jcs(Sigstore().entry2({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {}})))
ROOM = 1000


class Bench:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox.sqlite"
        self.clock = HandClock()
        self.store = ListStore()
        self.outbox = self.open()

    def open(self) -> Outbox:
        self.outbox = Outbox(self.path, ["log"], self.store, self.clock, ROOM, 30)  # type: ignore[arg-type]
        return self.outbox

    def put(self, number: int, size: int) -> None:
        row = Row(f"id{number}", "acme", "log", "sha256:k", f"{number:064x}", b"d" * 32, b"sig", b"spki")
        kept = Kept(row.audit_id, row.tenant, row.keyid, row.bundle_sha256, "e", bytes(size))
        self.outbox.put_many([row], [kept])

    def logged(self) -> None:
        """Let the log have all that waits."""
        self.outbox.turn({"log": lambda row, done: done(ENTRY)})
        self.outbox.turn({})

    def sizes(self) -> dict[str, int | None]:
        with sqlite3.connect(self.path) as database:
            rows = database.execute("SELECT audit_id, length(bundle) FROM kept ORDER BY id").fetchall()
        database.close()
        return dict(rows)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_oldest_whose_entries_have_come_make_room(bench: Bench) -> None:
    bench.put(1, 400)
    bench.put(2, 400)
    bench.logged()
    bench.put(3, 400)
    assert bench.sizes() == {"id1": None, "id2": 400, "id3": 400}
    bench.put(4, 900)
    # What still waits for its entry is not dropped: the new one has no room, and is told so by its absence.
    assert bench.sizes() == {"id1": None, "id2": None, "id3": 400, "id4": None}
    bench.put(5, 600)
    assert bench.sizes()["id5"] == 600


def test_the_room_is_counted_anew_at_each_start(bench: Bench) -> None:
    bench.put(1, 900)
    bench.open()
    bench.put(2, 200)
    assert bench.sizes() == {"id1": 900, "id2": None}


def test_one_that_is_too_large_is_not_kept(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    roomy = Outbox(tmp_path / "other" / "outbox.sqlite", ["log"], bench.store, bench.clock)  # type: ignore[arg-type]
    bench.path, bench.outbox = tmp_path / "other" / "outbox.sqlite", roomy
    bench.put(1, LARGEST_KEPT)
    bench.put(2, LARGEST_KEPT + 1)
    assert bench.sizes() == {"id1": LARGEST_KEPT, "id2": None}


def test_what_ended_long_ago_is_forgotten_as_new_comes(bench: Bench) -> None:
    for number in range(1, 5):
        bench.put(number, 100)
    bench.logged()
    bench.clock.move(29 * DAY_MS / 1000)
    bench.put(5, 100)
    assert set(bench.sizes()) == {"id1", "id2", "id3", "id4", "id5"}
    bench.clock.move(2 * DAY_MS / 1000)
    bench.put(6, 100)
    assert set(bench.sizes()) == {"id3", "id4", "id5", "id6"}, "two for one"
    bench.put(7, 100)
    assert set(bench.sizes()) == {"id5", "id6", "id7"}, "what waits stays, however old"
    bench.put(8, 700)
    assert bench.sizes()["id8"] == 700, "and what was forgotten takes no room"


def test_a_commit_that_fails_changes_no_count(bench: Bench, tmp_path: Path) -> None:
    bench.put(1, 400)
    with sqlite3.connect(bench.path) as database:
        database.execute("CREATE TRIGGER no BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'no'); END")
        database.commit()
        with pytest.raises(Fault):
            bench.put(2, 500)
        database.execute("DROP TRIGGER no")
    database.close()
    bench.put(3, 600)
    assert bench.sizes() == {"id1": 400, "id3": 600}
