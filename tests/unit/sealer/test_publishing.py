"""What is published when: stepped by hand, with real signatures and the proofs of a small log."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from msgspec import UNSET

from fakes.sealing import TENANT, SoftKey
from fakes.sealing import Bench as SealingBench
from fakes.sigstore import Sigstore, jcs
from signerd.attestation.bundle import parse_bundle
from signerd.attestation.dsse import pae
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.errors import Fault
from signerd.host.memfd import sealed_memfd
from signerd.sealer.backends import Backend
from signerd.sealer.entries import EntryReader
from signerd.sealer.job import Violation
from signerd.sealer.kept import LARGEST_KEPT
from signerd.sealer.lookups import Lookups
from signerd.sealer.outbox import Outbox
from signerd.sealer.publishing import Publisher, Publishing
from signerd.sealer.seal import Sealing
from signerd.sealer.worker_call import Call
from signerd.wire.links import Close, SealItem, SealOutcome
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import CallError, SubmitParams, SubmitResult

STACK = Sigstore()
DOWN = CallError("transparency.unavailable", "worker_down", "no")


class HandPublisher:
    """A publisher that answers when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.condemned: list[str] = []
        self.up = True
        self.methods = frozenset({"submit", "batch"})

    def call_many(self, calls: Sequence[Call]) -> None:
        self.calls += calls

    def flush(self) -> None:
        """Nothing is queued."""

    def condemn(self, why: str) -> None:
        self.condemned.append(why)

    def answer(self, made: Callable[[SubmitParams], bytes | CallError]) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            proof = made(cast("SubmitParams", call.params))
            packed = msgspec.msgpack.encode(SubmitResult(proof)) if isinstance(proof, bytes) else b""
            call.done(proof if isinstance(proof, CallError) else msgspec.Raw(packed))


def entry(asked: SubmitParams, stack: Sigstore = STACK) -> bytes:
    spki = {"publicKey": {"rawBytes": _b64(asked.verifier)}}
    return jcs(stack.entry2(stack.hashedrekord2(asked.payload_digest, asked.signature, spki)))


def stamp(asked: SubmitParams) -> bytes:
    assert (asked.payload_digest, asked.verifier) == (b"", b"")
    return STACK.stamp(asked.signature)


def _b64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


class Bench(SealingBench):
    """The sealer with a log, a mirror and an authority."""

    def __init__(self, folder: Path, *keys: SoftKey) -> None:
        super().__init__(*keys)
        self.log, self.mirror, self.tsa = HandPublisher(), HandPublisher(), HandPublisher()
        publishers = [
            Publisher("log", "log", True, cast("Backend", self.log)),
            Publisher("mirror", "log", False, cast("Backend", self.mirror)),
            Publisher("tsa", "stamp", True, cast("Backend", self.tsa)),
        ]
        self.outbox = Outbox(folder / "outbox.sqlite", ["log", "mirror"], self.store, self.clock)
        backends = cast("dict[str, Backend]", {"soft": self.backend})
        publishing = Publishing(publishers, self.outbox)
        self.sealing = Sealing(self.store, self.ring, backends, self.clock, self.aside, publishing)

    def asked(self, transparency: str = "", *, timestamp: bool = False, **changes: Any) -> SealItem:
        item = self.item(**changes)
        decision = msgspec.structs.replace(
            item.decision, transparency=transparency or UNSET, timestamp=timestamp or UNSET
        )
        return msgspec.structs.replace(item, decision=decision)

    def signed(self, item: SealItem) -> str:
        """Have it decided and signed; what is published comes after that."""
        self.sealing.admit(item, None)
        self.sealing.turn()
        self.sealing.turn()
        self.backend.answer()
        return item.audit_id

    def outcome(self, audit_id: str) -> SealOutcome:
        return self.outcomes()[audit_id]


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path)
    yield made
    made.close()


def code(outcome: SealOutcome) -> tuple[str, str]:
    assert outcome.error is not None
    return outcome.error.code, outcome.error.reason


def test_nothing_is_signed_before_it_is_on_the_record_and_nothing_published_before_it_is_signed(bench: Bench) -> None:
    item = bench.asked("required", timestamp=True)
    bench.sealing.admit(item, None)
    assert bench.sealing.next_look() == float("-inf")
    bench.sealing.turn()
    assert bench.backend.calls == []
    assert bench.kinds(item.audit_id) == ["decided"]
    bench.sealing.turn()
    assert len(bench.backend.calls) == 1
    assert (bench.log.calls, bench.tsa.calls) == ([], [])
    bench.backend.answer()
    assert (len(bench.log.calls), len(bench.tsa.calls), bench.mirror.calls) == (1, 1, [])
    assert bench.outcomes() == {}


def test_the_answer_waits_for_all_that_it_needs(bench: Bench) -> None:
    audit_id = bench.signed(bench.asked("required", timestamp=True))
    bench.log.answer(entry)
    assert bench.outcomes() == {}
    bench.tsa.answer(stamp)
    bench.sealing.turn()
    ok = bench.outcome(audit_id).ok
    assert ok is not None
    bundle = parse_bundle(cast("bytes", ok.signatures[0].bundle))
    assert (len(bundle.log_entries), len(bundle.timestamps)) == (1, 1)
    assert len(bench.mirror.calls) == 1, "a mirror has it later"
    bench.sealing.close(Close(audit_id, "signed"))
    bench.turn()
    assert bench.kinds(audit_id) == ["decided", "outcome:signed"]


def test_every_signature_has_its_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SoftKey("file:a"), SoftKey("file:b"))
    audit_id = bench.signed(bench.asked("required"))
    assert len(bench.log.calls) == 2
    bench.log.answer(entry)
    bench.sealing.turn()
    ok = bench.outcome(audit_id).ok
    assert ok is not None
    bodies = {parse_bundle(cast("bytes", s.bundle)).log_entries[0].body for s in ok.signatures}
    assert len(bodies) == 2
    bench.close()


def test_where_it_is_required_and_cannot_be_had_nothing_is_released(bench: Bench) -> None:
    audit_id = bench.signed(bench.asked("required"))
    bench.log.answer(lambda asked: DOWN)
    bench.turn()
    assert code(bench.outcome(audit_id)) == ("transparency.unavailable", "worker_down")
    assert bench.kinds(audit_id) == ["decided", "outcome:fault:transparency.unavailable"]


def other_signature(asked: SubmitParams) -> bytes:
    return entry(msgspec.structs.replace(asked, signature=asked.signature[:-1]))


def other_root(asked: SubmitParams) -> bytes:
    told = json.loads(entry(asked))
    told["inclusionProof"]["rootHash"] = _b64(bytes(32))
    return jcs(told)


def unproven(asked: SubmitParams) -> bytes:
    told = json.loads(entry(asked))
    del told["inclusionProof"]
    return jcs(told)


@pytest.mark.parametrize("lie", [other_signature, other_root, unproven, stamp, lambda asked: b"<html>"])
def test_a_publisher_that_lies_is_taken_down(lie: Callable[[SubmitParams], bytes], bench: Bench) -> None:
    audit_id = bench.signed(bench.asked("required"))
    if lie is stamp:
        bench.log.answer(lambda asked: STACK.stamp(asked.signature))
    else:
        bench.log.answer(lie)
    assert code(bench.outcome(audit_id)) == ("transparency.unavailable", "proof_refused")
    assert len(bench.log.condemned) == 1


def test_a_stamp_over_other_bytes_is_none(bench: Bench) -> None:
    audit_id = bench.signed(bench.asked(timestamp=True))
    bench.tsa.answer(lambda asked: STACK.stamp(asked.signature + b"x"))
    assert code(bench.outcome(audit_id)) == ("transparency.unavailable", "proof_refused")
    assert len(bench.tsa.condemned) == 1


def test_who_gave_up_meanwhile_is_answered_once_and_gets_no_signature(bench: Bench) -> None:
    audit_id = bench.signed(bench.asked("required"))
    bench.sealing.close(Close(audit_id, "cancelled", "request.cancelled"))
    bench.log.answer(entry)
    bench.turn()
    assert bench.outcome(audit_id).ok is None
    assert bench.kinds(audit_id) == ["decided", "outcome:cancelled:request.cancelled"]


def test_a_key_that_was_revoked_meanwhile_publishes_nothing(bench: Bench) -> None:
    item = bench.asked("required")
    bench.sealing.admit(item, None)
    bench.sealing.turn()
    bench.sealing.turn()
    (keyid,) = bench.ring
    bench.ring[keyid] = replace(bench.ring[keyid], unfit=CallError("key.revoked", "revoked", "no"))
    bench.backend.answer()
    assert bench.log.calls == []
    assert code(bench.outcome(item.audit_id)) == ("key.revoked", "revoked")


def test_later_is_durable_before_the_answer(bench: Bench) -> None:
    item = bench.asked("async")
    bench.sealing.admit(item, None)
    bench.sealing.turn()
    bench.backend.answer()
    assert bench.outcomes() == {}
    assert bench.sealing.next_look() == float("-inf")
    bench.sealing.turn()
    ok = bench.outcome(item.audit_id).ok
    assert ok is not None
    assert parse_bundle(cast("bytes", ok.signatures[0].bundle)).log_entries == ()
    assert (len(bench.log.calls), len(bench.mirror.calls)) == (1, 1)
    for log in (bench.log, bench.mirror):
        log.answer(entry)
    bench.sealing.turn()
    told = [json.loads(leaf.text) for leaf in bench.store.leaves if leaf.kind == "published"]
    assert {leaf["publisher"] for leaf in told} == {"log", "mirror"}
    assert {leaf["bundle_sha256"] for leaf in told} == {ok.signatures[0].bundle_sha256}


def test_where_later_cannot_be_kept_nothing_is_released(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(rows: object, kept: object) -> None:
        raise Fault("transparency.unavailable", "outbox_disk_full", "no")

    monkeypatch.setattr(bench.outbox, "put_many", full)
    audit_id = bench.signed(bench.asked("async"))
    bench.turn()
    assert code(bench.outcome(audit_id)) == ("transparency.unavailable", "outbox_disk_full")
    assert bench.kinds(audit_id) == ["decided", "outcome:fault:transparency.unavailable"]


def test_what_was_not_asked_for_is_not_published(bench: Bench) -> None:
    item = bench.asked()
    bench.sealing.admit(item, None)
    bench.sealing.turn()
    bench.backend.answer()
    assert bench.outcome(item.audit_id).ok is not None
    bench.sealing.turn()
    assert (bench.log.calls, bench.mirror.calls, bench.tsa.calls) == ([], [], [])


@pytest.mark.parametrize(
    ("asked", "reason"), [({"transparency": "async"}, "foreign_publisher"), ({"timestamp": True}, "foreign_publisher")]
)
def test_a_front_end_that_asks_for_what_is_not_there_is_broken(
    asked: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    bench = Bench(tmp_path)
    backends = cast("dict[str, Backend]", {"soft": bench.backend})
    bench.sealing = Sealing(bench.store, bench.ring, backends, bench.clock, bench.aside)
    with pytest.raises(Violation) as raised:
        bench.sealing.admit(bench.asked(**asked), None)
    assert raised.value.reason == reason
    bench.close()


@pytest.mark.parametrize("asked", [{"transparency": "required"}, {"rekor_request": True}])
def test_a_key_that_no_log_takes_is_not_asked_to_sign_for_one(asked: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(tmp_path, SoftKey(algorithm="Ed25519"))
    with pytest.raises(Violation) as raised:
        bench.sealing.admit(bench.asked(**asked), None)
    assert raised.value.reason == "unlogged_key"
    bench.close()


def test_in_profile_dsse_the_companion_alone_is_published(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SoftKey("file:ed", "Ed25519"), SoftKey("file:a"), SoftKey("file:b"))
    try:
        one = bench.signed(bench.asked("required", timestamp=True, profile="dsse", rekor_request=True))
        assert (len(bench.log.calls), len(bench.tsa.calls)) == (1, 1)
        bench.log.answer(entry)
        bench.tsa.answer(stamp)
        bench.sealing.turn()  # the mirror's entry, for later
        ok = bench.outcome(one).ok
        assert ok is not None
        ed, companion, other = ok.signatures
        assert [(bool(s.bundle), bool(s.rekor_request)) for s in ok.signatures] == [
            (False, False),
            (True, True),
            (False, False),
        ]
        read = parse_bundle(cast("bytes", companion.bundle))
        assert (len(read.log_entries), len(read.timestamps)) == (1, 1)
        bench.turn()
        (later,) = bench.mirror.calls
        assert cast("SubmitParams", later.params).verifier == bench.keys[1].entry.spki
        assert ed.keyid != companion.keyid != other.keyid
    finally:
        bench.close()


def reader(bench: Bench, folder: Path) -> EntryReader:
    return EntryReader(folder / "outbox.sqlite", ["log", "mirror"])


def test_what_comes_later_can_be_fetched_whole(bench: Bench, tmp_path: Path) -> None:
    audit_id = bench.signed(bench.asked("async"))
    bench.sealing.turn()
    ok = bench.outcome(audit_id).ok
    assert ok is not None
    answered = ok.signatures[0]
    later = reader(bench, tmp_path)
    (waiting,) = later.read(TENANT, audit_id).bundles
    assert (waiting.state, waiting.entries, waiting.bundle) == ("pending", (), UNSET)
    bench.log.answer(entry)
    bench.sealing.turn()
    assert later.read(TENANT, audit_id).state == "pending", "the mirror has not said it yet"
    bench.mirror.answer(partial(entry, stack=Sigstore()))
    bench.sealing.turn()
    found = later.read(TENANT, audit_id)
    later.close()
    (one,) = found.bundles
    assert (found.state, one.state, one.keyid) == ("logged", "logged", answered.keyid)
    assert (one.bundle_sha256, one.envelope_sha256) == (answered.bundle_sha256, answered.envelope_sha256)
    assert isinstance(one.bundle, bytes)
    assert hashlib.sha256(one.bundle).hexdigest() == one.complete_sha256
    before, after = parse_bundle(cast("bytes", answered.bundle)), parse_bundle(one.bundle)
    assert after.content == before.content
    assert len(after.log_entries) == len(one.entries) == 2


def large(bench: Bench, size: int) -> str:
    """Sign a payload that comes as a memfd, to be logged later."""
    payload = b'{"a":"' + b"x" * size + b'"}'
    item = bench.asked("async", payload=Descriptor(0, len(payload)))
    bench.sealing.admit(item, sealed_memfd("payload", payload))
    bench.settle()
    bench.sealing.turn()
    bench.sealing.turn()
    bench.backend.answer()
    bench.settle()
    bench.sealing.turn()
    return item.audit_id


@pytest.mark.parametrize(("size", "kept"), [(300 * 1024, True), (LARGEST_KEPT, False)])
def test_of_a_very_large_bundle_the_entries_alone_are_kept(
    size: int, kept: bool, bench: Bench, tmp_path: Path
) -> None:
    audit_id = large(bench, size)
    for log in (bench.log, bench.mirror):
        log.answer(entry)
    bench.sealing.turn()
    later = reader(bench, tmp_path)
    (one,) = later.read(TENANT, audit_id).bundles
    later.close()
    assert (one.state, len(one.entries), one.bundle is not UNSET) == ("logged", 2, kept)
    ok = bench.outcome(audit_id).ok
    assert ok is not None
    assert one.envelope_sha256 == ok.signatures[0].envelope_sha256


def test_a_record_says_by_which_digests_a_log_would_have_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SoftKey("file:a"), SoftKey("file:b", "ES384"), SoftKey("file:c", "ES512"))
    message = pae(PAYLOAD_TYPE, b"{}")
    for transparency in ("required", ""):
        bench.signed(bench.asked(transparency))
    logged, other = [json.loads(leaf.text) for leaf in bench.store.leaves if leaf.kind == "decided"]
    wanted = [hashed(message).hexdigest() for hashed in (hashlib.sha256, hashlib.sha384, hashlib.sha512)]
    assert logged["log_digests"] == sorted(wanted)
    assert "log_digests" not in other
    bench.close()


def test_what_the_end_cuts_short_is_to_be_looked_for(tmp_path: Path) -> None:
    """Only what a log was asked for: before that there is nothing, and what comes later the outbox has."""
    bench = Bench(tmp_path)
    lookups = Lookups(tmp_path / "outbox.sqlite", ["log"], cast("Any", bench.store), bench.clock)
    publishers = [
        Publisher("log", "log", True, cast("Backend", bench.log)),
        Publisher("tsa", "stamp", True, cast("Backend", bench.tsa)),
    ]
    backends = cast("dict[str, Backend]", {"soft": bench.backend})
    publishing = Publishing(publishers, bench.outbox, lookups)
    bench.sealing = Sealing(bench.store, bench.ring, backends, bench.clock, bench.aside, publishing)
    asked = bench.signed(bench.asked("required"))
    bench.signed(bench.asked(timestamp=True))
    unsigned = bench.asked("required")
    bench.sealing.admit(unsigned, None)
    bench.sealing.turn()
    bench.sealing.give_up()
    database = sqlite3.connect(tmp_path / "outbox.sqlite")
    rows = database.execute("SELECT audit_id, publisher, digest FROM lookups").fetchall()
    database.close()
    assert rows == [(asked, "log", hashlib.sha256(pae(PAYLOAD_TYPE, b"{}")).digest())]
    bench.close()
