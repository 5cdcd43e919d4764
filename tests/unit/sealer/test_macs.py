import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from fakes.sealing import NOW, HandClock, ListStore, SoftKey, open_here
from signerd.errors import Fault
from signerd.host.memfd import sealed_memfd
from signerd.sealer.backends import Backend
from signerd.sealer.job import Pinned, Violation
from signerd.sealer.macs import AT_ONCE_BYTES, GRACE_S, MOST_FILES, MacSealing
from signerd.sealer.worker_call import Call
from signerd.sealer.worker_errors import KEY
from signerd.wire.links import Close, KeyUse, PeerFacts, RequestFacts
from signerd.wire.mac_calls import CheckHmacResult, HmacResult
from signerd.wire.mac_links import MacDecision, MacItem, MacOutcome
from signerd.wire.params import Descriptor
from signerd.wire.ring import RingEntry
from signerd.wire.worker_calls import CallError

KEYID = "sha256:" + "ab" * 32
ENTRY = RingEntry("hmac:k", "local", 1, KEYID, "HMAC-SHA256", b"", "hmac", "active", NOW - 1000)
MAC = bytes(range(32))


@dataclass
class HandWorker:
    """Holds calls until the test answers them; knows what was withdrawn and why it was condemned."""

    calls: list[Call] = field(default_factory=list)
    withdrawn: list[Callable[..., None]] = field(default_factory=list)
    condemned: list[str] = field(default_factory=list)

    def call_many(self, calls: list[Call]) -> None:
        self.calls += calls

    def flush(self) -> None:
        pass

    def withdraw(self, done: Callable[..., None]) -> None:
        self.withdrawn.append(done)

    def condemn(self, why: str) -> None:
        self.condemned.append(why)


class Bench:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.store = ListStore()
        self.worker = HandWorker()
        self.ring = {KEYID: Pinned(ENTRY, None, "mac", False, purposes=frozenset({"signing"}))}
        backends = cast("dict[str, Backend]", {"mac": self.worker})
        self.macs = MacSealing(self.store, self.ring, backends, self.clock)
        self.ids = 0

    def item(self, data: bytes | Descriptor = b"data", mac: bytes | None = None, **changes: Any) -> MacItem:
        """``changes`` are fields of the item or of its decision."""
        self.ids += 1
        size = len(data) if isinstance(data, bytes) else data.size
        use = KeyUse("hmac:k", "hmac", KEYID, 1)
        decision = MacDecision("uid:1000", "local", "default", use, "HMAC-SHA256", "signing", size)
        wanted = {name: changes.pop(name) for name in list(changes) if name in decision.__struct_fields__}
        facts = RequestFacts("hmac.compute", PeerFacts(1000, 1), "local", "uid:1000")
        fields = {"audit_id": f"id{self.ids}", "request": facts, "deadline_ms": 10_000, **changes}
        return MacItem(decision=msgspec.structs.replace(decision, **wanted), data=data, mac=mac, **fields)

    def admit(self, data: bytes | Descriptor = b"data", mac: bytes | None = None, **changes: Any) -> str:
        fd = None if isinstance(data, bytes) else sealed_memfd("data", bytes(data.size))
        item = self.item(data, mac, **changes)
        try:
            self.macs.admit(item, fd)
        except Violation:
            if fd is not None:
                os.close(fd)
            raise
        return item.audit_id

    def answer(self, result: msgspec.Struct | CallError | None = None) -> None:
        """Answer the oldest call."""
        call = self.worker.calls.pop(0)
        call.close()
        if result is None:
            result = HmacResult(MAC, KEYID) if call.method == "hmac" else CheckHmacResult(True, KEYID)
        if call.over is not None:
            call.over()
        call.done(result if isinstance(result, CallError) else msgspec.Raw(msgspec.msgpack.encode(result)))

    def turn(self) -> None:
        self.macs.turn()
        look = self.macs.next_look()
        if look is not None:
            self.clock.move(max(0.0, look - self.clock.monotonic()))
            self.macs.turn()

    def outcome(self, audit_id: str) -> MacOutcome:
        (found,) = [outcome for outcome, _ in self.macs.answers.ready if outcome.audit_id == audit_id]
        return found

    def kinds(self, audit_id: str) -> list[str]:
        return [
            ":".join(part for part in (leaf.kind, leaf.outcome, leaf.code) if part)
            for leaf in self.store.leaves
            if leaf.audit_id == audit_id
        ]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for call in made.worker.calls:
        call.close()


def test_nothing_is_answered_before_it_is_on_the_record(bench: Bench) -> None:
    first = bench.admit()
    bench.answer()
    assert bench.macs.answers.ready == []
    bench.turn()
    assert bench.kinds(first) == ["decided"]
    assert bench.outcome(first).ok is not None
    second = bench.admit()
    bench.turn()
    assert len(bench.macs.answers.ready) == 1
    bench.answer()
    made = bench.outcome(second).ok
    assert made is not None
    assert made.mac == MAC


@pytest.mark.parametrize(
    ("mac", "found", "closed", "outcome"),
    [
        (None, HmacResult(MAC, KEYID), "computed", "computed"),
        (None, HmacResult(MAC, KEYID), "computed_undelivered", "computed_undelivered"),
        (None, HmacResult(MAC, KEYID), "cancelled", "computed_undelivered"),
        (MAC, CheckHmacResult(True, KEYID), "checked", "valid"),
        (MAC, CheckHmacResult(False, KEYID), "checked", "invalid"),
        (MAC, CheckHmacResult(False, KEYID), "checked_undelivered", "invalid"),
        (MAC, CheckHmacResult(False, KEYID), "fault", "invalid"),
    ],
)
def test_how_a_record_ends(
    bench: Bench, mac: bytes | None, found: msgspec.Struct, closed: str, outcome: str
) -> None:
    audit_id = bench.admit(mac=mac)
    bench.answer(found)
    bench.turn()
    assert bench.macs.holds(audit_id)
    bench.macs.close(Close(audit_id, closed))
    bench.turn()
    assert bench.kinds(audit_id) == ["decided", f"outcome:{outcome}"]
    assert not bench.macs.holds(audit_id)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"audit_id": "no id"}, "audit_id_shape"),
        ({"tenant": "foreign"}, "decision_shape"),
        ({"key": KeyUse("hmac:k", "hmac", "sha256:" + "00" * 32, 1)}, "foreign_key"),
        ({"key": KeyUse("hmac:other", "hmac", KEYID, 1)}, "foreign_key"),
        ({"key": KeyUse("hmac:k", "hmac", KEYID, 2)}, "foreign_key_version"),
        ({"algorithm": "HMAC-SHA512"}, "mac_algorithm"),
        ({"purpose": "authentication"}, "foreign_purpose"),
        ({"mac": bytes(16)}, "mac_length"),
        ({"mac": b""}, "mac_length"),
        ({"size": 5}, "mac_size"),
        ({"data": Descriptor(0, 9), "size": 8}, "mac_size"),
    ],
)
def test_what_no_honest_front_end_sends(bench: Bench, changes: dict[str, Any], reason: str) -> None:
    before = open_here()
    with pytest.raises(Violation, match=reason):
        bench.admit(**changes)
    bench.turn()
    assert (bench.worker.calls, bench.store.leaves) == ([], [])
    assert open_here() == before


def test_a_key_that_signs_makes_no_mac_and_one_of_another_tenant_is_foreign(bench: Bench) -> None:
    signing = SoftKey()
    bench.ring[signing.entry.keyid] = signing.pinned("mac")
    with pytest.raises(Violation, match="mac_algorithm"):
        bench.admit(key=KeyUse("file:default", "file", signing.entry.keyid, 1))
    foreign = msgspec.structs.replace(ENTRY, tenant="foreign")
    bench.ring[KEYID] = Pinned(foreign, None, "mac", False, purposes=frozenset({"signing"}))
    with pytest.raises(Violation, match="foreign_key"):
        bench.admit()
    bench.ring[KEYID] = Pinned(ENTRY, None, "mac", False, None, frozenset({"gold"}), purposes=frozenset({"signing"}))
    with pytest.raises(Violation, match="foreign_plan"):
        bench.admit()


def test_an_id_that_comes_twice_costs_no_other_its_record(bench: Bench) -> None:
    used = bench.admit()
    bench.answer()
    bench.turn()
    bench.macs.close(Close(used, "computed"))
    bench.turn()
    refused = bench.admit(principal_expires_at=NOW)
    bench.admit(audit_id=used)
    with pytest.raises(Violation, match="audit_id_twice"):
        bench.turn()
    bench.macs.give_up()
    assert bench.kinds(refused)[0].startswith("refused:")


def test_an_id_comes_once(bench: Bench) -> None:
    audit_id = bench.admit()
    with pytest.raises(Violation, match="audit_id_twice"):
        bench.admit(audit_id=audit_id)
    bench.answer()
    bench.turn()
    with pytest.raises(Violation, match="audit_id_twice"):
        bench.admit(audit_id=audit_id)
    bench.macs.close(Close(audit_id, "computed"))
    bench.turn()
    bench.admit(audit_id=audit_id)
    with pytest.raises(Violation, match="audit_id_twice"):
        bench.turn()


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"status": "suspended"}, "key.suspended"), ({"revoked_at": NOW, "status": "revoked"}, "key.revoked")],
)
def test_a_key_that_is_not_valid_is_one_leaf_and_no_call(bench: Bench, changes: dict[str, Any], code: str) -> None:
    entry = msgspec.structs.replace(ENTRY, **changes)
    bench.ring[KEYID] = Pinned(entry, None, "mac", False, purposes=frozenset({"signing"}))
    before = open_here()
    audit_id = bench.admit(Descriptor(0, 9))
    assert bench.macs.answers.ready == []
    bench.turn()
    assert bench.kinds(audit_id) == [f"refused:refused:{code}"]
    error = bench.outcome(audit_id).error
    assert error is not None
    assert error.code == code
    assert bench.worker.calls == []
    bench.macs.close(Close(audit_id, "fault", code))
    assert not bench.macs.holds(audit_id)
    assert open_here() == before


def test_a_key_that_was_revoked_meanwhile_releases_nothing(bench: Bench) -> None:
    audit_id = bench.admit()
    bench.turn()
    revoked = msgspec.structs.replace(ENTRY, status="revoked", revoked_at=NOW)
    bench.ring[KEYID] = Pinned(revoked, None, "mac", False, purposes=frozenset({"signing"}))
    bench.answer()
    outcome = bench.outcome(audit_id)
    assert outcome.ok is None
    bench.turn()
    assert bench.kinds(audit_id) == ["decided", "outcome:refused:key.revoked"]


def test_time_and_principal_end_it(bench: Bench) -> None:
    expired = bench.admit(principal_expires_at=NOW)
    bench.turn()
    assert bench.kinds(expired) == ["refused:refused:auth.token_expired"]
    late = bench.admit(deadline_ms=1000)
    bench.turn()
    bench.clock.move(1.0)
    bench.answer()
    bench.turn()
    assert bench.kinds(late) == ["decided", "outcome:fault:request.deadline"]


@pytest.mark.parametrize(
    "lie",
    [
        HmacResult(MAC, "sha256:" + "cd" * 32),
        HmacResult(MAC[:31], KEYID),
        HmacResult(b"", KEYID),
        CheckHmacResult(True, KEYID),
    ],
)
def test_a_worker_that_answers_with_something_else_is_condemned(bench: Bench, lie: msgspec.Struct) -> None:
    audit_id = bench.admit()
    bench.turn()
    bench.answer(lie)
    assert len(bench.worker.condemned) == 1
    error = bench.outcome(audit_id).error
    assert error is not None
    assert (error.code, error.reason) == ("key.backend_fault", "answer")
    bench.turn()
    assert bench.kinds(audit_id) == ["decided", "outcome:fault:key.backend_fault"]


def test_what_is_given_up_is_withdrawn_and_closed_once(bench: Bench) -> None:
    audit_id = bench.admit(Descriptor(0, 9))
    call = bench.worker.calls[0]
    bench.turn()
    bench.macs.close(Close(audit_id, "cancelled", "request.cancelled"))
    assert bench.worker.withdrawn == [call.done]
    assert bench.outcome(audit_id).ok is None
    bench.turn()
    assert bench.kinds(audit_id) == ["decided", "outcome:cancelled:request.cancelled"]
    before = bench.admit()
    bench.macs.close(Close(before, "cancelled", "request.cancelled"))
    with pytest.raises(Violation, match="close_twice"):
        bench.macs.close(Close(before, "cancelled", "request.cancelled"))
    bench.turn()
    assert bench.kinds(before) == ["decided", "outcome:cancelled:request.cancelled"]


def test_no_front_end_says_that_something_was_delivered_before_it_was_made(bench: Bench) -> None:
    audit_id = bench.admit()
    with pytest.raises(Violation, match="close_before_sealed"):
        bench.macs.close(Close(audit_id, "computed"))


def test_short_data_has_the_workers_usual_time_and_long_data_its_own(bench: Bench) -> None:
    bench.admit(bytes(AT_ONCE_BYTES))
    bench.admit(bytes(AT_ONCE_BYTES + 1))
    bench.admit(Descriptor(0, 9))
    assert [call.seconds for call in bench.worker.calls] == [None, 10 + GRACE_S, 10 + GRACE_S]
    assert all(call.alone for call in bench.worker.calls)


def test_a_worker_that_is_late_is_asked_whether_it_hangs(bench: Bench) -> None:
    late = bench.admit(Descriptor(0, 9))
    bench.turn()
    bench.answer(KEY.late)
    assert [call.method for call in bench.worker.calls] == ["describe"]
    bench.answer(CallError("key.backend_unavailable", "call_deadline", "late"))
    bench.turn()
    assert bench.kinds(late) == ["decided", "outcome:fault:key.backend_unavailable"]
    other = bench.admit(Descriptor(0, 9))
    bench.turn()
    bench.macs.close(Close(other, "fault", "request.deadline"))
    assert [call.method for call in bench.worker.calls] == ["hmac", "describe"]


def test_a_tenant_has_so_many_files_at_once_those_included_that_nobody_waits_for(bench: Bench) -> None:
    """T15, T19: files on a disk that hangs hold threads of the worker, whatever becomes of their requests."""
    foreign = msgspec.structs.replace(ENTRY, keyid="sha256:" + "cd" * 32, tenant="foreign", key="hmac:f")
    bench.ring[foreign.keyid] = Pinned(foreign, None, "mac", False, purposes=frozenset({"signing"}))
    for _ in range(MOST_FILES):
        audit_id = bench.admit(Descriptor(0, 9))
        bench.turn()
        bench.macs.close(Close(audit_id, "fault", "request.deadline"))
    refused = bench.admit(Descriptor(0, 9))
    inline = bench.admit()
    bench.turn()
    assert bench.kinds(refused) == ["refused:fault:daemon.overloaded"]
    assert bench.kinds(inline) == ["decided"]
    use = KeyUse("hmac:f", "hmac", foreign.keyid, 1)
    facts = RequestFacts("hmac.compute", PeerFacts(2000, 1), "foreign", "uid:2000")
    other = bench.admit(Descriptor(0, 9), key=use, tenant="foreign", request=facts)
    bench.turn()
    assert bench.kinds(other) == ["decided"]
    bench.answer()
    again = bench.admit(Descriptor(0, 9))
    bench.turn()
    assert bench.kinds(again) == ["decided"]


def test_where_the_log_cannot_be_written_nothing_is_released(bench: Bench) -> None:
    audit_id = bench.admit()
    bench.answer()
    bench.store.failing = Fault("audit.unavailable", "disk_full", "the audit log cannot be used")
    bench.macs.turn()
    outcome = bench.outcome(audit_id)
    assert (outcome.ok, outcome.recorded) == (None, False)
    assert bench.worker.withdrawn
    bench.macs.close(Close(audit_id, "fault", "audit.unavailable"))
    assert not bench.macs.holds(audit_id)


def test_what_is_open_at_the_end_is_unknown(bench: Bench) -> None:
    decided, undecided, released = bench.admit(), "", bench.admit()
    bench.turn()
    bench.answer()
    bench.answer()
    undecided = bench.admit()
    bench.macs.give_up()
    assert bench.kinds(decided) == ["decided", "outcome:unknown"]
    assert bench.kinds(released) == ["decided", "outcome:unknown"]
    assert bench.kinds(undecided) == ["refused:fault:audit.unavailable"]


def test_descriptors_end_with_their_calls(bench: Bench) -> None:
    before = open_here()
    for result in (None, KEY.died):
        bench.admit(Descriptor(0, 9))
        bench.turn()
        bench.answer(result)
    limit = time.monotonic() + 10
    while open_here() != before:
        assert time.monotonic() < limit
