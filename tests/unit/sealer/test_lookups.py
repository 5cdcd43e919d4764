"""Lookups: written down before a record is closed, asked until they are answered, told once."""

import base64
import json
import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from fakes.sealing import HandClock, ListStore
from fakes.sigstore import Sigstore, b64, jcs, new_key, spki
from signerd.errors import Fault
from signerd.host.config import embedded
from signerd.sealer.leaves import decided_leaf
from signerd.sealer.lookups import MOST_FLYING, SETTLE_S, Lookup, Lookups, begun, judged, lookups_of
from signerd.sealer.mac_leaves import decided_mac_leaf
from signerd.verification.keys import PublicKey
from signerd.wire.links import DecisionFacts, KeyUse, PeerFacts, ReleaseFacts, RequestFacts
from signerd.wire.mac_links import MacDecision, MacItem
from signerd.wire.worker_calls import MOST_FOUND, CallError, FindResult

STACK = Sigstore()
KEY = new_key()
KEYID = PublicKey.from_spki(spki(KEY)).keyid
DIGEST = sha256(b"m").digest()
DOWN = CallError("transparency.unavailable", "unreachable", "no")
ABSENT = FindResult((), 0, 9)
Done = Callable[[FindResult | CallError], None]


def proof(key: ec.EllipticCurvePrivateKey = KEY, message: bytes = b"m") -> bytes:
    signature = key.sign(message, ec.ECDSA(SHA256()))
    verifier = {"publicKey": {"rawBytes": b64(spki(key))}}
    return jcs(STACK.entry2(STACK.hashedrekord2(sha256(message).digest(), signature, verifier)))


def lookup(number: int = 1, publisher: str = "log", keyids: tuple[str, ...] = (KEYID,)) -> Lookup:
    return Lookup(f"id{number}", "acme", publisher, DIGEST, keyids)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox.sqlite"
        self.clock = HandClock()
        self.store = ListStore()
        self.asked: list[tuple[Lookup, Done]] = []
        self.open()

    def open(self) -> None:
        self.lookups = Lookups(self.path, ["log"], self.store, self.clock)  # type: ignore[arg-type]

    def turn(self, *names: str) -> list[str]:
        before = len(self.asked)
        find = lambda one, done: self.asked.append((one, done))  # noqa: E731
        self.lookups.turn(dict.fromkeys(names or ("log",), find))
        return [one.audit_id for one, _ in self.asked[before:]]

    def answer(self, result: FindResult | CallError) -> None:
        asked, self.asked = self.asked, []
        for _, done in asked:
            done(result)

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(leaf.text) for leaf in self.store.leaves if leaf.kind == "looked_up"]

    def left(self) -> int:
        with sqlite3.connect(self.path) as database:
            (count,) = database.execute("SELECT count(*) FROM lookups").fetchone()
        database.close()
        return int(count)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_what_is_found_is_told_once_and_forgotten(bench: Bench) -> None:
    bench.lookups.put_many([lookup()])
    assert bench.turn() == ["id1"]
    assert bench.turn() == []
    found = proof()
    bench.answer(FindResult((found,), 0, 9))
    bench.turn()
    (leaf,) = bench.told()
    body = json.loads(found)["canonicalizedBody"]
    assert (leaf["state"], leaf["record"], leaf["tenant"]) == ("found", "id1", "acme")
    assert (leaf["first"], leaf["size"]) == (0, 9)
    (entry,) = leaf["entries"]
    assert (entry["keyid"], entry["log_index"]) == (KEYID, 2)
    assert entry["entry_sha256"] == sha256(base64.b64decode(body)).hexdigest()
    assert (bench.left(), bench.lookups.next_look()) == (0, None)


def test_it_survives_a_second_kill_and_is_written_down_once(bench: Bench) -> None:
    bench.lookups.put_many([lookup(1), lookup(2)])
    bench.turn()
    bench.open()
    bench.lookups.put_many([lookup(2), lookup(3)])
    bench.asked = []
    assert bench.turn() == ["id1", "id2", "id3"]


def test_absent_is_not_said_while_a_post_may_still_be_taken(bench: Bench) -> None:
    bench.lookups.put_many([lookup()])
    bench.turn()
    bench.answer(ABSENT)
    assert bench.turn() == []
    assert (bench.told(), bench.left()) == ([], 1)
    look = bench.lookups.next_look()
    assert look is not None
    assert look - bench.clock.monotonic() == pytest.approx(SETTLE_S, abs=1)
    bench.clock.move(SETTLE_S)
    assert bench.turn() == ["id1"]
    bench.answer(ABSENT)
    bench.turn()
    assert [(leaf["state"], leaf["first"], leaf["size"]) for leaf in bench.told()] == [("absent", 0, 9)]


def test_a_log_that_does_not_answer_is_asked_later_and_at_last_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signerd.sealer.lookups.MOST_ATTEMPTS", 2)
    bench.lookups.put_many([lookup()])
    bench.turn()
    bench.answer(DOWN)
    assert bench.turn() == []
    bench.clock.move(600)
    assert bench.turn() == ["id1"]
    bench.answer(DOWN)
    bench.turn()
    assert [(leaf["state"], leaf["reason"]) for leaf in bench.told()] == [("not_looked", "unreachable")]


def test_who_cannot_look_and_who_is_not_there_any_more(bench: Bench) -> None:
    bench.lookups.put_many([lookup(1), lookup(2, "gone"), lookup(3, "")])
    bench.lookups.turn({"log": None})
    bench.lookups.turn({})
    told = {leaf["record"]: leaf["reason"] for leaf in bench.told()}
    assert told == {"id1": "log_cannot_look", "id2": "log_not_configured", "id3": "log_not_configured"}


def test_a_log_that_is_down_is_waited_for(bench: Bench) -> None:
    bench.lookups.put_many([lookup()])
    bench.lookups.turn({})
    assert (bench.told(), bench.left()) == ([], 1)
    assert bench.turn() == ["id1"]


def test_few_are_under_way_at_a_time(bench: Bench) -> None:
    bench.lookups.put_many([lookup(number) for number in range(MOST_FLYING + 2)])
    assert len(bench.turn()) == MOST_FLYING
    assert bench.lookups.next_look() is None
    bench.answer(FindResult((proof(),), 0, 9))
    assert len(bench.turn()) == 2


def test_where_the_audit_log_cannot_be_written_it_is_told_later(bench: Bench) -> None:
    bench.lookups.put_many([lookup()])
    bench.turn()
    bench.answer(FindResult((proof(),), 0, 9))
    bench.store.failing = Fault("audit.unavailable", "disk_full", "no")
    bench.turn()
    assert bench.left() == 1
    bench.store.failing = None
    bench.turn()
    assert bench.told() == []
    bench.clock.move(6)
    bench.turn()
    assert (len(bench.told()), bench.left()) == (1, 0)


def test_whose_entries_count() -> None:
    mine, other = proof(), proof(new_key())
    assert [entry.keyid for entry in entries(judged(lookup(), FindResult((other, mine), 0, 9)))] == [KEYID]
    assert judged(lookup(), FindResult((other,), 0, 9)) == judged(lookup(), ABSENT)
    # Which key a keyless one would have had was not known when it was decided.
    assert len(entries(judged(lookup(keyids=()), FindResult((other, mine), 0, 9)))) == 2
    many = judged(lookup(), FindResult((other,) * MOST_FOUND, 0, 9))
    assert (many.state, many.reason) == ("not_looked", "too_many")  # type: ignore[union-attr]


def entries(judgement: Any) -> Any:
    assert judgement.state == "found"
    return judgement.entries


@pytest.mark.parametrize(
    "lie", [b"<html>", proof(message=b"other"), proof().replace(b'"logIndex":"2"', b'"logIndex":"3"')]
)
def test_a_publisher_that_lies_is_not_believed(lie: bytes) -> None:
    found = judged(lookup(), FindResult((proof(), lie), 0, 9))
    assert isinstance(found, CallError)
    assert found.reason == "proof_refused"


def decided(transparency: str, *keys: KeyUse, digests: tuple[str, ...] = (DIGEST.hex(),)) -> Any:
    facts = DecisionFacts(
        "uid:1", "acme", "embedded", ReleaseFacts("exempt"), keys, transparency=transparency or msgspec.UNSET
    )
    request = RequestFacts("sign.dsse", PeerFacts(1, 1))
    return decided_leaf(request, facts, "id1", "0" * 64, "t", 1, log_digests=digests)[0]


def test_what_a_record_asks_for() -> None:
    key, keyless = KeyUse("file:a", "request", KEYID, 1), KeyUse("fulcio:ci", "request")
    assert lookups_of(decided("required", key), ["log", "other"]) == [lookup(), lookup(publisher="other")]
    assert lookups_of(decided("required", key, keyless), ["log"]) == [lookup(keyids=())]
    assert lookups_of(decided("required", key), []) == [lookup(publisher="")]
    assert lookups_of(decided("async", key), ["log"]) == []
    assert lookups_of(decided("", key, digests=()), ["log"]) == []


def test_the_record_of_a_mac_asks_for_nothing() -> None:
    facts = MacDecision("uid:1", "acme", "embedded", KeyUse("hmac:a", "hmac", KEYID, 1), "HMAC-SHA256", "signing", 4)
    item = MacItem("id1", RequestFacts("hmac.compute", PeerFacts(1, 1)), facts, b"data", 1000)
    assert lookups_of(decided_mac_leaf(item, 1), ["log"]) == []


@pytest.mark.parametrize(
    "text", [b"\xff", b"{}", b'{"audit_id":"i","decision":{"tenant":"t","keys":[]},"log_digests":["x"]}']
)
def test_a_decision_that_cannot_be_read_stops_the_start(text: bytes) -> None:
    leaf = msgspec.structs.replace(decided("required"), text=text)
    with pytest.raises(Fault) as raised:
        lookups_of(leaf, ["log"])
    assert (raised.value.code, raised.value.reason) == ("audit.unavailable", "corrupt")


def test_without_logs_and_records_there_is_no_file(tmp_path: Path) -> None:
    config = embedded(tmp_path / "state", tmp_path / "sock", [])
    store, clock = ListStore(), HandClock()
    assert begun(config, [], tmp_path, store, clock) is None  # type: ignore[arg-type]
    assert not (tmp_path / "outbox.sqlite").exists()
    left = [decided("required", KeyUse("file:a", "request", KEYID, 1))]
    made = begun(config, left, tmp_path, store, clock)  # type: ignore[arg-type]
    assert made is not None
    made.turn({})
    made.turn({})
    assert [json.loads(leaf.text)["reason"] for leaf in store.leaves] == ["log_not_configured"]


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite").write_bytes(b"no database, and long enough to be none" * 50)
    (tmp_path / "outbox.sqlite").chmod(0o600)
    with pytest.raises(Fault) as raised:
        Lookups(tmp_path / "outbox.sqlite", ["log"], ListStore(), HandClock())  # type: ignore[arg-type]
    assert (raised.value.code, raised.value.reason) == ("transparency.unavailable", "outbox_corrupt")
