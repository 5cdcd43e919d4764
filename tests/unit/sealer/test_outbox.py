"""The outbox: kept before it is told, tried until it is done, told at least once."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.sealing import HandClock, ListStore
from fakes.sigstore import Sigstore, jcs
from signerd.attestation.log_entry import LogEntry, parse_log_entry
from signerd.errors import Fault
from signerd.sealer.outbox import FIRST_S, LONGEST_S, MOST_FLYING, Outbox, Row
from signerd.wire.worker_calls import CallError

ENTRY = parse_log_entry(jcs(Sigstore().entry2({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {}})))
DOWN = CallError("transparency.unavailable", "unreachable", "no")
Done = Callable[[LogEntry | CallError], None]


class Bench:
    def __init__(self, folder: Path, store: ListStore | None = None) -> None:
        self.folder = folder
        self.clock = HandClock()
        self.store = store or ListStore()
        self.sent: list[tuple[Row, Done]] = []
        self.outbox = self.open()

    def open(self) -> Outbox:
        self.outbox = Outbox(self.folder / "outbox.sqlite", ["log", "mirror"], self.store, self.clock)  # type: ignore[arg-type]
        return self.outbox

    def put(self, *numbers: int, publisher: str = "log") -> None:
        self.outbox.put_many([row(number, publisher) for number in numbers])

    def turn(self, *names: str) -> list[str]:
        """One turn; who was sent, by audit id."""
        before = len(self.sent)
        send = lambda one, done: self.sent.append((one, done))  # noqa: E731
        self.outbox.turn(dict.fromkeys(names or ("log",), send))
        return [one.audit_id for one, _ in self.sent[before:]]

    def answer(self, result: LogEntry | CallError) -> None:
        sent, self.sent = self.sent, []
        for _, done in sent:
            done(result)

    def left(self) -> int:
        with sqlite3.connect(self.folder / "outbox.sqlite") as database:
            (count,) = database.execute("SELECT count(*) FROM outbox WHERE published_at = 0").fetchone()
        database.close()
        return int(count)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def row(number: int, publisher: str = "log") -> Row:
    return Row(f"id{number}", "acme", publisher, "sha256:k", f"{number:064x}", b"d" * 32, b"sig", b"spki")


def test_what_is_put_is_sent_once_and_told(bench: Bench) -> None:
    bench.put(1, 2)
    assert bench.turn() == ["id1", "id2"]
    assert bench.turn() == []
    bench.answer(ENTRY)
    bench.turn()
    assert [leaf.kind for leaf in bench.store.leaves] == ["published", "published"]
    assert {leaf.tenant for leaf in bench.store.leaves} == {"acme"}
    assert b'"record":"id1"' in bench.store.leaves[0].text
    assert bench.left() == 0
    assert bench.outbox.next_look() is None


def test_each_log_has_its_own(bench: Bench) -> None:
    bench.put(1)
    bench.put(2, publisher="mirror")
    assert bench.turn("mirror") == ["id2"]
    assert bench.turn("log", "mirror") == ["id1"]


def test_what_fails_is_tried_again_after_growing_pauses(bench: Bench) -> None:
    bench.put(1)
    pauses = []
    for _ in range(12):
        assert bench.turn() == ["id1"]
        bench.answer(DOWN)
        assert bench.turn() == []
        look = bench.outbox.next_look()
        assert look is not None
        pauses.append(look - bench.clock.monotonic())
        bench.clock.move(pauses[-1] - 0.1)
        assert bench.turn() == []
        bench.clock.move(0.2)
    assert pauses[:3] == pytest.approx([FIRST_S, 2 * FIRST_S, 4 * FIRST_S], abs=0.01)
    assert pauses[-1] == pytest.approx(LONGEST_S, abs=0.01)


def test_only_so_many_fly(bench: Bench) -> None:
    bench.put(*range(MOST_FLYING + 5))
    assert len(bench.turn()) == MOST_FLYING
    assert bench.turn() == []
    assert bench.outbox.next_look() is None
    bench.answer(ENTRY)
    assert len(bench.turn()) == 5


def test_what_waits_survives_and_what_flew_flies_again(bench: Bench) -> None:
    bench.put(1, 2)
    bench.turn()
    bench.open()
    assert bench.turn() == ["id1", "id2"]


def test_an_entry_that_was_stored_and_not_told_is_told_after_a_restart(bench: Bench) -> None:
    bench.put(1)
    bench.turn()
    bench.store.failing = Fault("audit.unavailable", "disk_full", "no")
    bench.answer(ENTRY)
    bench.turn()
    assert (bench.store.leaves, bench.left()) == ([], 1)
    bench.store.failing = None
    bench.open()
    assert bench.turn() == [], "it is not published twice"
    bench.turn()
    assert [leaf.kind for leaf in bench.store.leaves] == ["published"]
    assert bench.left() == 0


def test_a_log_that_cannot_be_written_is_waited_for_and_others_failures_are_not_forgotten(bench: Bench) -> None:
    bench.put(1, 2)
    bench.turn()
    (_, first), (_, second) = bench.sent
    first(ENTRY)
    second(DOWN)
    bench.store.failing = Fault("audit.unavailable", "disk_full", "no")
    bench.turn()
    bench.store.failing = None
    bench.clock.move(FIRST_S + 0.1)
    assert bench.turn() == ["id2"]
    assert len(bench.store.leaves) == 1


def test_a_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite").write_text("no database at all, whatever it is called")
    with pytest.raises(Fault) as raised:
        Bench(tmp_path)
    assert (raised.value.code, raised.value.reason) == ("transparency.unavailable", "outbox_corrupt")


def test_nothing_of_a_group_is_kept_where_one_cannot_be(bench: Bench) -> None:
    with pytest.raises(Fault, match="outbox_"):
        bench.outbox.put_many([row(1), Row("id2", None, "log", "", "", b"", b"", b"")])  # type: ignore[arg-type]
    assert bench.left() == 0
    bench.put(3)
    assert bench.turn() == ["id3"]


def test_a_log_that_has_said_no_for_a_week_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signerd.sealer.outbox.MOST_ATTEMPTS", 3)
    bench.put(1)
    for _ in range(3):
        assert bench.turn() == ["id1"]
        bench.answer(DOWN)
        bench.turn()
        bench.clock.move(LONGEST_S)
    assert bench.turn() == []
    assert bench.left() == 0
    (leaf,) = bench.store.leaves
    told = json.loads(leaf.text)
    assert (leaf.kind, leaf.tenant, told["record"], told["attempts"]) == ("unpublished", "acme", "id1", 3)
    assert bench.outbox.next_look() is None


def test_a_publisher_that_is_down_attempts_nothing(bench: Bench) -> None:
    bench.put(1)
    bench.clock.move(30 * 86_400)
    bench.turn("mirror")
    assert bench.left() == 1
