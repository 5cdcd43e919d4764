import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fakes.sealing import NOW, TENANT, Bench, SoftKey, open_here
from signerd.attestation.dsse import pae, parse_envelope
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.errors import Fault
from signerd.host.memfd import sealed_memfd
from signerd.sealer.audit import AuditReader, SqliteAuditStore
from signerd.sealer.job import Violation
from signerd.verification.bundle import verify_bundle, verify_envelope
from signerd.verification.cose import verify_cose
from signerd.wire.links import Close, DecisionFacts, KeyUse, PeerFacts, RefusedRecord, ReleaseFacts, RequestFacts
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import SignParams, SignResultParams

STATEMENT = (
    b'{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"https://example.org/p",'
    b'"subject":[{"digest":{"sha256":"' + b"a" * 64 + b'"},"name":"s"}]}'
)
LARGE = STATEMENT.replace(b"{},", b'{"text":"' + b"large " * 100_001 + b'"},')
"""Its length is no multiple of 3, and its base64 needs several slices."""
DISK_FULL = Fault("audit.unavailable", "disk_full", "the audit log cannot be used")
REQUEST = RequestFacts("sign.dsse", PeerFacts(1000, 1), TENANT, "uid:1000")


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


@pytest.fixture
def large() -> Iterator[Bench]:
    """Two keys: one signs a digest, the other the message itself, from a memfd."""
    made = Bench(SoftKey(), SoftKey("file:ed", "Ed25519"))
    yield made
    made.close()


def hand_over(bench: Bench, payload: bytes = LARGE, **changes: object) -> str:
    return bench.admit(Descriptor(0, len(payload)), sealed_memfd("payload", payload), **changes)


def test_what_is_durable_and_verified_is_released_and_closed(bench: Bench) -> None:
    one = bench.admit(STATEMENT)
    bench.turn()
    assert bench.kinds(one) == ["decided"]
    assert bench.outcomes() == {}, "the worker has not answered"
    bench.backend.answer()
    ok = bench.outcomes()[one].ok
    assert ok is not None
    (signature,) = ok.signatures
    assert isinstance(signature.bundle, bytes)
    assert verify_bundle(signature.bundle, bench.keys[0].public).verified
    assert signature.bundle_sha256 == hashlib.sha256(signature.bundle).hexdigest()
    envelope = json.loads(signature.bundle)["dsseEnvelope"]
    envelope_bytes = json.dumps(envelope, separators=(",", ":"), sort_keys=True).encode()
    assert signature.envelope_sha256 == hashlib.sha256(envelope_bytes).hexdigest()
    decided = bench.store.leaves[ok.index]
    assert ok.leaf_hash == hashlib.sha256(b"\0" + decided.text).hexdigest()
    assert ok.statement_sha256 == hashlib.sha256(STATEMENT).hexdigest()
    assert json.loads(decided.text)["statement_sha256"] == ok.statement_sha256
    bench.sealing.close(Close(one, "signed"))
    bench.turn()
    assert bench.kinds(one) == ["decided", "outcome:signed"]
    assert json.loads(bench.store.leaves[-1].text)["bundle_sha256"] == [signature.bundle_sha256]


def test_a_worker_that_answers_before_the_commit_releases_nothing(bench: Bench) -> None:
    one = bench.admit(STATEMENT)
    (call,) = bench.sealing._calls.pop("soft")  # the worker is quicker than the disk
    bench.backend.call_many([call])
    bench.backend.answer()
    assert bench.outcomes() == {}
    bench.turn()
    assert bench.outcomes()[one].ok is not None
    assert bench.kinds(one) == ["decided"]


def test_a_group_is_one_commit_and_its_items_end_each_in_its_own_way(bench: Bench) -> None:
    ids = [bench.admit(STATEMENT) for _ in range(3)]
    bench.sealing.refuse(RefusedRecord("refused1", REQUEST, "refused", "release.untrusted", "unknown"))
    bench.turn()
    assert [leaf.kind for leaf in bench.store.leaves] == ["refused", "decided", "decided", "decided"]
    assert bench.sealing.answers.recorded == [(("refused1",), None)]
    seen: list[str] = []

    def second(signature: bytes) -> bytes:
        seen.append("")
        return signature if len(seen) != 2 else bytes(len(signature))

    bench.backend.answer(second)
    answered = bench.outcomes()
    assert [answered[one].error is None for one in ids] == [True, False, True]
    assert answered[ids[1]].error.code == "key.backend_fault"  # type: ignore[union-attr]  # asserted above
    assert len(bench.backend.condemned) == 1
    bench.turn()
    assert bench.kinds(ids[1]) == ["decided", "outcome:fault:key.backend_fault"]


@pytest.mark.parametrize("outcome", ["cancelled", "fault", "refused", "unknown"])
@pytest.mark.parametrize("when", ["before durable", "durable", "answered"])
def test_the_front_end_may_give_up_at_any_time(bench: Bench, outcome: str, when: str) -> None:
    one = bench.admit(STATEMENT)
    if when != "before durable":
        bench.turn()
    if when == "answered":
        bench.backend.answer()
    bench.sealing.close(Close(one, outcome, "request.cancelled"))
    bench.turn()
    bench.backend.answer()
    bench.turn()
    expected = "signed_undelivered" if when == "answered" else outcome
    assert bench.kinds(one) == ["decided", f"outcome:{expected}:request.cancelled"]
    assert (bench.outcomes()[one].ok is not None) == (when == "answered")
    with pytest.raises(Violation, match="close_without_seal"):
        bench.sealing.close(Close(one, outcome))


@pytest.mark.parametrize(
    ("code", "outcome"), [("key.not_found", "refused"), ("key.algorithm_refused", "refused"), ("key.of_old", "fault")]
)
def test_a_record_ends_as_the_code_that_its_caller_gets(bench: Bench, code: str, outcome: str) -> None:
    one = bench.admit(STATEMENT)
    bench.turn()
    bench.backend.fail(code, "said_by_the_worker")
    bench.turn()
    assert bench.kinds(one) == ["decided", f"outcome:{outcome}:{code}"]


@pytest.mark.parametrize("how", ["worker", "principal", "log", "refused at once"])
def test_a_close_that_crosses_an_error_on_its_way_is_no_breach(bench: Bench, how: str) -> None:
    if how == "refused at once":
        one = bench.admit(STATEMENT, principal_expires_at=NOW)
    else:
        one = bench.admit(STATEMENT, principal_expires_at=NOW + 500)
    bench.store.failing = DISK_FULL if how == "log" else None
    bench.turn()
    if how == "worker":
        bench.backend.fail()
    elif how == "principal":
        bench.clock.move(0.5)
        bench.backend.answer()
    assert bench.outcomes()[one].error is not None
    bench.sealing.close(Close(one, "cancelled", "request.cancelled"))
    bench.store.failing = None
    bench.turn()
    assert len([kind for kind in bench.kinds(one) if kind != "decided"]) == (how != "log")
    with pytest.raises(Violation, match="close_without_seal"):
        bench.sealing.close(Close(one, "cancelled", "request.cancelled"))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "revoked"}, "key.revoked"),
        ({"revoked_at": NOW + 1}, "key.revoked"),
        ({"status": "suspended"}, "key.suspended"),
        ({"expires_at": NOW + 1}, "key.expired"),
        ({}, "auth.token_expired"),
    ],
)
@pytest.mark.parametrize("when", ["before", "during"])
def test_validity_is_read_before_and_after_the_call(
    bench: Bench, change: dict[str, object], code: str, when: str
) -> None:
    key = bench.keys[0].entry.keyid

    def happen() -> None:
        entry = msgspec.structs.replace(bench.keys[0].entry, **change)
        bench.ring[key] = bench.keys[0].pinned().__class__(entry, bench.keys[0].public, "soft", prehash=True)
        bench.clock.move(0.001)

    expires = 0 if change else NOW + 1
    if when == "before":
        happen()
        one = bench.admit(STATEMENT, principal_expires_at=expires)
        assert not bench.backend.calls
    else:
        one = bench.admit(STATEMENT, principal_expires_at=expires)
        bench.turn()
        happen()
        bench.backend.answer()
    bench.turn()
    error = bench.outcomes()[one].error
    assert error is not None
    assert error.code == code
    wanted = [f"refused:refused:{code}"] if when == "before" else ["decided", f"outcome:refused:{code}"]
    assert bench.kinds(one) == wanted


def test_time_that_is_over_before_the_call_or_after_it_releases_nothing(bench: Bench) -> None:
    late = bench.admit(STATEMENT, deadline_ms=0)
    one = bench.admit(STATEMENT, deadline_ms=10)
    bench.turn()
    bench.clock.move(0.010)
    bench.backend.answer()
    bench.turn()
    assert [outcome.error.code for outcome in bench.outcomes().values() if outcome.error] == 2 * ["request.deadline"]
    assert bench.kinds(late) == ["refused:fault:request.deadline"]
    assert bench.kinds(one) == ["decided", "outcome:fault:request.deadline"]


def test_a_commit_that_fails_releases_nothing_and_keeps_what_belongs_to_earlier_records(bench: Bench) -> None:
    released = bench.admit(STATEMENT)
    bench.turn()
    bench.backend.answer()
    bench.sealing.close(Close(released, "signed"))
    waiting = bench.admit(STATEMENT)
    refused = bench.admit(STATEMENT, principal_expires_at=NOW)
    bench.sealing.refuse(RefusedRecord("refused1", REQUEST, "refused", "quota.rate", "rate"))
    bench.store.failing = DISK_FULL
    bench.turn()
    bench.backend.answer()
    for one in (waiting, refused):
        outcome = bench.outcomes()[one]
        assert outcome.ok is None
        assert outcome.error is not None
        assert (outcome.error.code, outcome.recorded) == ("audit.unavailable", False)
    ((ids, error),) = bench.sealing.answers.recorded
    assert ids == ("refused1",)
    assert error is not None
    assert error.code == "audit.unavailable"
    assert bench.kinds(released) == ["decided"]
    bench.sealing.turn()
    assert bench.kinds(released) == ["decided"], "nothing is tried again at once"
    bench.store.failing = None
    look = bench.sealing.next_look()
    assert look is not None
    bench.clock.move(look - bench.clock.monotonic())
    bench.turn()
    assert bench.kinds(released) == ["decided", "outcome:signed"]
    assert bench.sealing.next_look() is None
    assert bench.kinds(waiting) == bench.kinds(refused) == bench.kinds("refused1") == []


def test_a_backend_that_is_down_is_an_outcome_and_an_answer(bench: Bench) -> None:
    bench.backend.up = False
    one = bench.admit(STATEMENT)
    bench.sealing.turn()
    error = bench.outcomes()[one].error
    assert error is not None
    assert error.code == "key.backend_unavailable"
    assert bench.sealing.next_look() is not None, "the outcome must not wait for the next request"
    bench.turn()
    assert bench.kinds(one) == ["decided", "outcome:fault:key.backend_unavailable"]


def test_several_signers_are_all_there_or_nothing_is(large: Bench) -> None:
    both = large.admit(STATEMENT, envelope=True)
    spoiled = large.admit(STATEMENT, envelope=True)
    large.turn()
    digests = {type(call.params.message) for call in large.backend.calls}  # type: ignore[attr-defined]  # SignParams
    assert digests == {bytes}
    first, second = large.backend.calls[:2], large.backend.calls[2:]
    large.backend.calls = list(second)
    large.backend.answer(lambda s: s if len(s) != 64 else bytes(64), of="file:ed")
    large.backend.calls = [*first, *large.backend.calls]
    large.backend.answer()
    large.turn()
    ok = large.outcomes()[both].ok
    assert ok is not None
    assert [s.key for s in ok.signatures] == ["file:default", "file:ed"]
    for signature, key in zip(ok.signatures, large.keys, strict=True):
        assert isinstance(signature.bundle, bytes)
        assert verify_bundle(signature.bundle, key.public).verified
    assert isinstance(ok.envelope, bytes)
    assert verify_envelope(ok.envelope, [key.public for key in large.keys], threshold=2).verified
    assert large.outcomes()[spoiled].ok is None
    assert large.kinds(spoiled) == ["decided", "outcome:fault:key.backend_fault"]


def test_messages_are_signed_each_over_its_own_bytes(large: Bench) -> None:
    one = large.admit(STATEMENT, profile="cose")
    spoiled = large.admit(STATEMENT, profile="cose")
    dsse = large.admit(STATEMENT)
    large.turn()
    asked = [cast("SignParams", call.params).message for call in large.backend.calls]
    assert len(set(asked)) == 4, "the same request twice, and other bytes for an envelope"
    first, second, rest = large.backend.calls[:2], large.backend.calls[2:4], large.backend.calls[4:]
    large.backend.calls = list(second)
    large.backend.answer(lambda s: s if len(s) != 64 else bytes(64), of="file:ed")
    large.backend.calls = [*first, *large.backend.calls, *rest]
    large.backend.answer()
    large.turn()
    ok = large.outcomes()[one].ok
    assert ok is not None
    for signature, key in zip(ok.signatures, large.keys, strict=True):
        assert isinstance(signature.bundle, bytes)
        assert verify_cose(signature.bundle, key.public) == STATEMENT
    assert ok.envelope is None
    assert large.outcomes()[spoiled].ok is None
    assert large.kinds(spoiled) == ["decided", "outcome:fault:key.backend_fault"]
    assert large.outcomes()[dsse].ok is not None


def test_a_dsse_signature_is_no_answer_to_a_request_for_a_message(bench: Bench) -> None:
    """T17: a worker that signs other bytes than it was asked for is refuted, whatever it has signed rightly."""
    one = bench.admit(STATEMENT, profile="cose")
    bench.turn()
    (call,) = bench.backend.calls
    bench.backend.calls = []
    digest = hashlib.sha256(pae(PAYLOAD_TYPE, STATEMENT)).digest()
    (key,) = bench.keys
    call.done(msgspec.Raw(msgspec.msgpack.encode(SignResultParams(key.sign(digest), key.entry.keyid))))
    bench.turn()
    assert bench.outcomes()[one].ok is None
    assert bench.backend.condemned


def test_a_large_message_frees_every_descriptor(large: Bench) -> None:
    large.settle()
    before = open_here()
    inline = large.admit(LARGE, profile="cose")
    one = hand_over(large, profile="cose")
    large.settle()
    large.turn()
    large.backend.answer()
    large.settle()
    ok, plain = large.outcomes()[one].ok, large.outcomes()[inline].ok
    assert ok is not None
    assert plain is not None
    fds = next(fds for outcome, fds in large.sealing.answers.ready if outcome.audit_id == one)
    assert len(fds) == 2
    large.sealing.answers.ready.clear()
    for signature, other in zip(ok.signatures, plain.signatures, strict=True):
        assert isinstance(signature.bundle, Descriptor)
        assert os.pread(fds[signature.bundle.fd], signature.bundle.size + 1, 0) == other.bundle
    for fd in fds:
        os.close(fd)
    large.sealing.close(Close(one, "signed"))
    large.sealing.close(Close(inline, "signed"))
    large.settle()
    assert open_here() == before


def test_a_bare_document_leaves_in_an_envelope_alone(large: Bench) -> None:
    bare = "application/vnd.example.record+json"
    one = large.admit(b"{}", profile="dsse", payload_type=bare)
    large.turn()
    large.backend.answer()
    large.turn()
    ok = large.outcomes()[one].ok
    assert ok is not None
    assert [signature.bundle for signature in ok.signatures] == [b"", b""]
    assert isinstance(ok.envelope, bytes)
    envelope = parse_envelope(ok.envelope)
    assert (envelope.payload_type, envelope.payload) == (bare, b"{}")
    for signature, key in zip(envelope.signatures, large.keys, strict=True):
        key.public.verify(signature.sig, pae(bare, b"{}"))
    (leaf,) = [leaf for leaf in large.store.leaves if leaf.kind == "decided"]
    assert msgspec.json.decode(leaf.text)["payload_type"] == bare


def test_a_large_payload_gives_the_same_bytes_and_frees_every_descriptor(large: Bench) -> None:
    large.settle()
    before = open_here()
    inline = large.admit(LARGE, envelope=True)
    one = hand_over(large, envelope=True)
    large.settle()
    large.turn()
    large.backend.answer()
    large.settle()
    ok, plain = large.outcomes()[one].ok, large.outcomes()[inline].ok
    assert ok is not None
    assert plain is not None
    assert ok.statement_sha256 == plain.statement_sha256
    fds = next(fds for outcome, fds in large.sealing.answers.ready if outcome.audit_id == one)
    assert len(fds) == 3
    large.sealing.answers.ready.clear()

    def content(memfd: bytes | Descriptor | None) -> bytes:
        assert isinstance(memfd, Descriptor)
        text = os.pread(fds[memfd.fd], memfd.size + 1, 0)
        assert len(text) == memfd.size
        return text

    for signature, other, key in zip(ok.signatures, plain.signatures, large.keys, strict=True):
        assert content(signature.bundle) == other.bundle
        assert verify_bundle(content(signature.bundle), key.public).verified
        assert signature.bundle_sha256 == other.bundle_sha256
        assert signature.envelope_sha256 == other.envelope_sha256
    assert content(ok.envelope) == plain.envelope
    for fd in fds:
        os.close(fd)
    large.sealing.close(Close(one, "signed"))
    large.sealing.close(Close(inline, "signed"))
    large.settle()  # the thread lets go of a job when it takes the next one
    assert open_here() == before


@pytest.mark.parametrize("when", ["hashed", "assembled"])
def test_a_large_payload_that_is_given_up_while_it_is_worked_on(large: Bench, when: str) -> None:
    large.settle()
    before = open_here()
    one = hand_over(large)
    if when == "assembled":
        large.settle()
        large.turn()
        large.backend.answer()
    large.sealing.close(Close(one, "cancelled", "request.cancelled"))
    large.settle()
    large.turn()
    large.backend.answer()
    large.settle()
    large.turn()
    assert large.outcomes()[one].ok is None
    record = (
        ["refused:cancelled:request.cancelled"]
        if when == "hashed"
        else ["decided", "outcome:cancelled:request.cancelled"]
    )
    assert large.kinds(one) == record
    large.settle()
    assert open_here() == before


def test_validity_is_read_again_after_a_large_payload_was_hashed(large: Bench) -> None:
    one = hand_over(large, principal_expires_at=NOW + 100)
    large.clock.move(0.1)
    large.settle()
    large.turn()
    assert not large.backend.calls
    assert large.kinds(one) == ["refused:refused:auth.token_expired"]


DECISION = DecisionFacts("uid:1000", TENANT, "embedded", ReleaseFacts("asserted"), ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"audit_id": ""}, "audit_id_shape"),
        ({"audit_id": "x" * 65}, "audit_id_shape"),
        ({"audit_id": "a\n"}, "audit_id_shape"),
        ({"payload_type": "text/plain"}, "payload_type"),
        ({"decision": DECISION}, "decision_shape"),
        ({"request": msgspec.structs.replace(REQUEST, tenant="other")}, "decision_shape"),
        ({"decision": msgspec.structs.replace(DECISION, keys=(KeyUse("file:none", "t"),))}, "foreign_key"),
        (
            {"decision": msgspec.structs.replace(DECISION, keys=(KeyUse("file:default", "t", "sha256:1", 1),))},
            "foreign_key",
        ),
    ],
)
def test_what_no_honest_front_end_sends(bench: Bench, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Violation) as caught:
        bench.admit(STATEMENT, **changes)
    assert caught.value.reason == reason
    bench.turn()
    assert not bench.backend.calls
    assert not bench.store.leaves


def test_a_foreign_tenants_key_is_no_key_at_all() -> None:
    bench = Bench(SoftKey(tenant="other"))
    with pytest.raises(Violation, match="foreign_key"):
        bench.admit(STATEMENT)
    bench.close()


def test_a_payload_that_is_not_what_was_said_is_a_breach_and_stays_the_callers_to_close(bench: Bench) -> None:
    before = open_here()
    unsealed = os.memfd_create("x")
    os.write(unsealed, STATEMENT)
    sealed = sealed_memfd("x", STATEMENT)
    for fd, size, reason in (
        (unsealed, len(STATEMENT), "not_sealed"),
        (sealed, len(STATEMENT) + 1, "size_mismatch"),
        (sealed, 0, "descriptor_size"),
        (sealed, -1, "descriptor_size"),
    ):
        with pytest.raises(Violation, match=reason):
            bench.admit(Descriptor(0, size), fd)
    os.close(unsealed)
    os.close(sealed)
    assert open_here() == before


@pytest.mark.parametrize("when", ["in flight", "answered", "refused", "closed", "refusal first"])
def test_an_id_begins_one_record(bench: Bench, when: str) -> None:
    if when == "refusal first":
        bench.sealing.refuse(RefusedRecord("twice", REQUEST, "refused", "quota.rate", "rate"))
        bench.turn()
    else:
        bench.admit(STATEMENT, audit_id="twice", principal_expires_at=NOW if when == "refused" else 0)
        bench.turn()
        if when in ("answered", "closed"):
            bench.backend.answer()
        if when == "closed":
            bench.sealing.close(Close("twice", "signed"))
            bench.turn()
    before = bench.kinds("twice")
    honest = bench.admit(STATEMENT)

    def again() -> None:
        """What is in use shows at once, what was used when it is written."""
        bench.admit(STATEMENT, audit_id="twice")
        bench.turn()

    with pytest.raises(Violation, match="audit_id_twice"):
        again()
    bench.sealing.record_violation(Violation("audit_id_twice", "twice"))
    bench.sealing.give_up()
    after = bench.kinds("twice")
    assert after[: len(before)] == before
    assert len([kind for kind in after if not kind.startswith("outcome")]) == 1
    assert [kind for kind in bench.kinds(honest) if kind != "decided"], "closed like everything else"
    assert bench.store.leaves[-1].outcome == "fault" or any(
        leaf.outcome == "fault" and not leaf.audit_id for leaf in bench.store.leaves
    )
    assert not bench.store.open_records()


def test_a_refusal_with_an_id_in_use_is_a_breach(bench: Bench) -> None:
    one = bench.admit(STATEMENT)
    with pytest.raises(Violation, match="audit_id_twice"):
        bench.sealing.refuse(RefusedRecord(one, REQUEST, "refused", "quota.rate", "rate"))


def test_a_close_that_says_signed_of_what_was_not_sealed_is_a_breach(bench: Bench) -> None:
    one = bench.admit(STATEMENT)
    with pytest.raises(Violation, match="close_before_sealed"):
        bench.sealing.close(Close(one, "signed"))


def test_giving_up_closes_what_is_open_and_records_what_was_not_decided(bench: Bench) -> None:
    released, asked = bench.admit(STATEMENT), bench.admit(STATEMENT)
    bench.turn()
    call = bench.backend.calls.pop()
    bench.backend.answer()
    bench.backend.calls.append(call)
    waiting = bench.admit(STATEMENT)
    bench.sealing.give_up()
    assert bench.kinds(released) == ["decided", "outcome:unknown"]
    assert bench.kinds(asked) == ["decided", "outcome:unknown"]
    assert bench.kinds(waiting) == ["refused:fault:audit.unavailable"]
    bench.backend.answer()
    assert [one for one, outcome in bench.outcomes().items() if outcome.ok] == [released]


def test_the_real_log_holds_what_was_answered(tmp_path: Path) -> None:
    store = SqliteAuditStore(tmp_path / "audit.sqlite")
    bench = Bench(store=store)
    ids = [bench.admit(STATEMENT) for _ in range(5)]
    bench.turn()
    bench.backend.answer()
    assert set(bench.outcomes()) == set(ids)
    bench.sealing.close(Close(ids[0], "signed"))
    bench.close()
    store.close()
    reader = AuditReader(tmp_path / "audit.sqlite")
    records = [json.loads(leaf) for leaf in reader.read(None).records]
    reader.close()
    ends = {leaf["audit_id"]: leaf["outcome"] for leaf in records if leaf["kind"] == "outcome"}
    assert ends == {ids[0]: "signed", **dict.fromkeys(ids[1:], "unknown")}
    assert [leaf["audit_id"] for leaf in records if leaf["kind"] == "decided"] == ids


class Lives(RuleBasedStateMachine):
    """Whatever comes in whatever order: one closed record for each id, nothing released that is not on the record."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(SoftKey(), SoftKey("file:ed", "Ed25519"))
        self.known: list[str] = []
        self.closed: set[str] = set()
        self.failed_log: set[str] = set()

    def open(self) -> list[str]:
        return [one for one in self.known if one not in self.closed]

    @rule(expires=st.sampled_from([0, 0, 5, 50]), deadline=st.sampled_from([30_000, 20]), large=st.booleans())
    def seal(self, expires: int, deadline: int, large: bool) -> None:
        at = self.bench.clock.ms + expires if expires else 0
        changes = {"principal_expires_at": at, "deadline_ms": deadline}
        one = hand_over(self.bench, STATEMENT, **changes) if large else self.bench.admit(STATEMENT, **changes)
        self.known.append(one)

    @rule()
    def refuse(self) -> None:
        self.bench.ids += 1
        one = f"id{self.bench.ids}"
        self.bench.sealing.refuse(RefusedRecord(one, REQUEST, "refused", "quota.rate", "rate"))
        self.known.append(one)
        self.closed.add(one)

    @rule()
    def turn(self) -> None:
        self.bench.turn()

    @rule()
    def work_aside(self) -> None:
        self.bench.settle()

    @rule(key=st.sampled_from([None, "file:default", "file:ed"]))
    def sign(self, key: str | None) -> None:
        self.bench.backend.answer(of=key)

    @rule(at=st.integers(0, 63))
    def lie(self, at: int) -> None:
        self.bench.backend.answer(lambda s: s[:at] + bytes([s[at] ^ 1]) + s[at + 1 :])

    @rule()
    def worker_dies(self) -> None:
        self.bench.backend.fail()

    @rule(up=st.booleans())
    def worker_comes_or_goes(self, up: bool) -> None:
        self.bench.backend.up = up

    @rule(seconds=st.sampled_from([0.004, 0.03, 1.5]))
    def time_passes(self, seconds: float) -> None:
        self.bench.clock.move(seconds)

    @rule(bad=st.booleans())
    def disk(self, bad: bool) -> None:
        self.bench.store.failing = DISK_FULL if bad else None

    @precondition(lambda self: self.open())
    @rule(data=st.data())
    def close_early(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.open()))
        self.bench.sealing.close(Close(one, "cancelled", "request.cancelled"))
        self.closed.add(one)

    @precondition(lambda self: self.released())
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.released()))
        self.bench.sealing.close(Close(one, "signed"))
        self.closed.add(one)

    def released(self) -> list[str]:
        answered = self.bench.outcomes()
        return [one for one in self.open() if one in answered and answered[one].ok is not None]

    @invariant()
    def nothing_is_released_that_is_not_durable_and_verified(self) -> None:
        for outcome, fds in self.bench.sealing.answers.ready:
            if outcome.ok is None:
                continue
            assert self.bench.kinds(outcome.audit_id)[0] == "decided"
            assert self.bench.store.leaves[outcome.ok.index].audit_id == outcome.audit_id
            assert len(outcome.ok.signatures) == 2
            for signature, key in zip(outcome.ok.signatures, self.bench.keys, strict=True):
                bundle = signature.bundle
                text = bundle if isinstance(bundle, bytes) else os.pread(fds[bundle.fd], bundle.size, 0)
                assert verify_bundle(text, key.public).verified

    @invariant()
    def an_id_has_one_beginning_and_at_most_one_end(self) -> None:
        for one in self.known:
            kinds = self.bench.kinds(one)
            assert len([k for k in kinds if not k.startswith("outcome")]) <= 1
            assert len([k for k in kinds if k.startswith("outcome")]) <= 1

    def teardown(self) -> None:
        self.bench.store.failing = None
        self.bench.close()
        answered = self.bench.outcomes()
        unrecorded = {one for one, outcome in answered.items() if not outcome.recorded}
        unrecorded |= {one for ids, error in self.bench.sealing.answers.recorded if error is not None for one in ids}
        for one in self.known:
            kinds = [kind.split(":")[0] for kind in self.bench.kinds(one)]
            assert kinds in ([["refused"], ["decided", "outcome"]] if one not in unrecorded else [[]])
        assert not self.bench.store.open_records()


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
