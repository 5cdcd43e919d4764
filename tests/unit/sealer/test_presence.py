import base64
import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule
from msgspec import structs

from fakes.credential import UP, UV, SoftCredential
from fakes.presence import ALICE, SECONDS, PresenceBench
from fakes.sealing import TENANT, SoftKey
from signerd.attestation.dsse import pae, parse_envelope
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.errors import Fault
from signerd.sealer.job import Violation
from signerd.sealer.presence import MOST_OVER, MOST_PENDING_OF_TENANT, RETRY_MS
from signerd.sealer.seal import Sealing
from signerd.verification.fido2 import verify_assertion

UNKNOWN = ("request.conflict", "unknown_approval")
OTHER = ("request.conflict", "other_request")
EXPIRED = ("key.presence_required", "approval_expired")
REFUTED = ("key.backend_fault", "assertion_refused")


@pytest.fixture
def bench():
    made = PresenceBench()
    yield made
    made.close()


def digest(payload=b"{}"):
    return hashlib.sha256(pae(PAYLOAD_TYPE, payload)).digest()


def leaves(bench, kind):
    return [json.loads(leaf.text) for leaf in bench.store.leaves if leaf.kind == kind]


def test_the_first_request_is_refused_with_an_approval_and_signs_nothing(bench):
    outcome = bench.ask()
    assert outcome.error.code == "key.presence_required"
    assert outcome.details["key"] == ALICE
    assert outcome.details["expires_at"] == bench.clock.now_ms() + SECONDS * 1000
    assert len(bytes.fromhex(outcome.details["approval_id"])) == 16
    assert outcome.retry_after_ms == RETRY_MS
    assert bench.kinds(outcome.audit_id) == ["refused:refused:key.presence_required"]
    assert bench.touch.asked == [(ALICE, digest())]
    assert bench.backend.calls == []


def test_nobody_is_asked_to_touch_before_the_refusal_is_on_the_record(bench):
    bench.store.failing = Fault("audit.unavailable", "full", "no")
    assert bench.refused() == ("audit.unavailable", "full")
    bench.turn()
    assert bench.touch.asked == []
    assert len(bench.presence) == 0


def test_a_repeat_before_the_touch_waits_again_at_once_and_asks_nobody_twice(bench):
    approval = bench.approval()
    assert bench.approval(approval_id=approval) == approval
    assert len(bench.touch.calls) == 1


def test_the_same_request_without_the_id_joins_the_approval_that_waits(bench):
    approval = bench.approval()
    assert bench.approval() == approval
    bench.touch.answer()
    assert bench.approval() == approval, "it has been given: the next repeat under its id signs"
    assert bench.signed(approval_id=approval).ok


def test_after_the_touch_the_repeat_signs_and_the_evidence_is_on_the_record(bench):
    approval = bench.approval()
    bench.touch.answer()
    outcome = bench.signed(approval_id=approval, envelope=True)
    assert bench.kinds(outcome.audit_id) == ["decided"]
    given = outcome.ok.presence
    assert (given.approval_id, given.key, given.counter) == (approval, ALICE, 1)
    (accepted,) = leaves(bench, "presence")
    (decided,) = leaves(bench, "decided")
    assert decided["presence"] == {
        "approval_id": approval,
        "assertion_sha256": hashlib.sha256(given.assertion).hexdigest(),
        "counter": 1,
        "key": ALICE,
        "keyid": bench.alice.keyid,
    }
    assert (accepted["approval_id"], accepted["counter"], accepted["tenant"]) == (approval, 1, TENANT)
    assert accepted["statement_sha256"] == decided["statement_sha256"]
    kinds = [leaf.kind for leaf in bench.store.leaves]
    assert kinds.index("presence") < kinds.index("decided")


def test_the_assertion_is_the_second_signature_of_the_envelope_and_in_no_bundle(bench):
    approval = bench.approval()
    bench.touch.answer()
    ok = bench.signed(approval_id=approval, envelope=True).ok
    first, second = parse_envelope(ok.envelope).signatures
    bench.keys[0].public.verify(first.sig, pae(PAYLOAD_TYPE, b"{}"))
    assert second.keyid == f"fido2:{bench.alice.keyid}"
    credential = bench.approvers[ALICE].credential
    assert verify_assertion(second.sig, digest(), credential, 0).user_present
    assert len(json.loads(ok.signatures[0].bundle)["dsseEnvelope"]["signatures"]) == 1


@pytest.mark.parametrize("algorithms", [("ES256",), ("ES256", "Ed25519")])
def test_it_is_the_pae_that_is_approved_where_keys_sign_a_cose_structure(algorithms):
    bench = PresenceBench(*[SoftKey(f"file:{name}", name) for name in algorithms])
    approval = bench.approval(profile="cose")
    assert bench.touch.asked == [(ALICE, digest())]
    assert bench.approval(profile="dsse") == approval, "it is for the statement, whatever it leaves in"
    bench.touch.answer()
    ok = bench.signed(approval_id=approval, profile="cose").ok
    assert len(ok.signatures) == len(algorithms)
    assert ok.presence.approval_id == approval
    assert bench.refused(approval_id="never there", profile="cose") == UNKNOWN
    bench.close()


def test_an_assertion_by_webauthn_counts_for_the_enrolled_origin(bench):
    approval = bench.approval()
    bench.touch.answer(SoftCredential.touch_in_browser)
    assert bench.signed(approval_id=approval).ok


def test_an_approval_is_used_once(bench):
    approval = bench.approval()
    bench.touch.answer()
    assert bench.signed(approval_id=approval).ok
    assert bench.refused(approval_id=approval) == UNKNOWN


def test_an_approval_is_used_up_although_the_log_cannot_be_written(bench):
    approval = bench.approval()
    bench.touch.answer()
    bench.store.failing = Fault("audit.unavailable", "full", "no")
    assert bench.refused(approval_id=approval) == ("audit.unavailable", "full")
    bench.store.failing = None
    assert bench.refused(approval_id=approval) == UNKNOWN


def test_other_bytes_keys_tenants_and_callers_are_a_conflict(bench):
    other = SoftKey("file:other")
    bench.need(other, ALICE)
    approval = bench.approval()
    bench.touch.answer()
    assert bench.refused(b'{"a":1}', approval_id=approval) == OTHER
    assert bench.refused(approval_id=approval, **bench.asked_by(other)) == OTHER
    assert bench.refused(approval_id=approval, **bench.asked_by(bench.keys[0], "uid:1")) == UNKNOWN
    foreign = SoftKey("file:foreign", tenant="else")
    bench.need(foreign, "")
    assert bench.refused(approval_id=approval, **bench.asked_by(foreign)) == UNKNOWN
    assert bench.refused(approval_id="never there") == UNKNOWN
    assert bench.signed(approval_id=approval).ok, "none of them has used it up"


def test_a_key_that_needs_nobody_signs_at_once_and_knows_no_approval(bench):
    bench.need(bench.keys[0], "")
    assert bench.refused(approval_id="never there") == UNKNOWN
    assert bench.signed().ok.presence is None
    (decided,) = leaves(bench, "decided")
    assert "presence" not in decided


def test_what_comes_after_the_deadline_is_thrown_away(bench):
    approval = bench.approval()
    bench.clock.move(SECONDS)
    bench.turn()
    bench.touch.answer()
    assert leaves(bench, "presence") == []
    assert bench.refused(approval_id=approval) == EXPIRED
    assert bench.refused(approval_id=approval) == UNKNOWN, "it is said once"


def test_a_touch_that_is_used_too_late_signs_nothing(bench):
    approval = bench.approval()
    bench.touch.answer()
    bench.clock.move(SECONDS)
    assert bench.refused(approval_id=approval) == EXPIRED
    assert bench.backend.calls == []


def test_the_touch_that_comes_with_the_deadline_is_late(bench):
    approval = bench.approval()
    bench.clock.move(SECONDS)
    bench.touch.answer()
    assert bench.refused(approval_id=approval) == EXPIRED


def test_after_its_time_the_same_request_gets_a_new_approval(bench):
    approval = bench.approval()
    bench.clock.move(SECONDS)
    again = bench.approval()
    assert again != approval
    assert [key for key, _ in bench.touch.asked] == [ALICE], "one touch at a time"
    bench.touch.answer()
    bench.turn()
    bench.touch.answer()
    assert bench.signed(approval_id=again).ok


@pytest.mark.parametrize(
    ("code", "reason"),
    [("key.presence_required", "no_touch"), ("key.backend_unavailable", "no_device"), ("key.backend_fault", "device")],
)
def test_why_nobody_touched_is_told_once(bench, code, reason):
    approval = bench.approval()
    bench.touch.fail(code, reason)
    bench.turn()
    outcome = bench.ask(approval_id=approval)
    assert (outcome.error.code, outcome.error.reason) == (code, reason)
    assert outcome.details == {}
    assert bench.refused(approval_id=approval) == UNKNOWN
    assert bench.approval() != approval


LIES = {
    "another PAE": lambda key, _: key.touch(digest(b"[]")),
    "another credential": lambda _, pae_sha256: SoftCredential().touch(pae_sha256),
    "another relying party": lambda key, pae_sha256: key.touch(pae_sha256, rp_id="evil.example"),
    "another origin": lambda key, pae_sha256: key.touch_in_browser(pae_sha256, origin="https://evil.example"),
    "nobody there": lambda key, pae_sha256: key.touch(pae_sha256, flags=UV),
    "no assertion": lambda *_: b"signature",
    "nothing": lambda *_: b"",
    "huge": lambda *_: bytes(1 << 20),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_worker_that_lies_is_condemned_and_nothing_is_signed(bench, lie):
    approval = bench.approval()
    bench.touch.answer(LIES[lie])
    assert len(bench.touch.condemned) == 1
    assert leaves(bench, "presence") == []
    assert bench.refused(approval_id=approval) == REFUTED
    assert bench.refused(approval_id=approval) == UNKNOWN


def test_an_assertion_that_names_another_credential_is_a_lie(bench):
    approval = bench.approval()
    bench.touch.answer(keyid="sha256:" + 64 * "0")
    assert bench.touch.condemned
    assert bench.refused(approval_id=approval) == REFUTED


def test_an_answer_out_of_shape_is_a_lie(bench):
    approval = bench.approval()
    bench.touch.say(bench.touch.calls.pop(), {"signature": 1})
    assert bench.touch.condemned
    assert bench.refused(approval_id=approval) == REFUTED


def test_a_touch_is_not_enough_where_the_user_must_be_verified(bench):
    alice = bench.approvers[ALICE]
    bench.approvers[ALICE] = replace(alice, credential=replace(alice.credential, user_verification=True))
    approval = bench.approval()
    bench.touch.answer(lambda key, pae_sha256: key.touch(pae_sha256, flags=UP))
    assert bench.refused(approval_id=approval) == REFUTED
    approval = bench.approval()
    bench.touch.answer()
    assert bench.signed(approval_id=approval).ok


def test_an_assertion_of_before_is_refused_also_after_a_restart(bench):
    made = []
    approval = bench.approval()
    bench.touch.answer(lambda key, pae_sha256: made.append(key.touch(pae_sha256)) or made[0])
    assert bench.signed(approval_id=approval).ok
    for restart in (False, True):
        if restart:
            bench.restart()
        approval = bench.approval()
        bench.touch.answer(lambda *_: made[0])
        assert bench.refused(approval_id=approval) == REFUTED
    assert ["counter" in why for why in bench.touch.condemned] == [True, True]


def test_a_restart_forgets_what_is_pending_and_what_was_given(bench):
    given = bench.approval()
    bench.touch.answer()
    pending = bench.approval(b"[]")
    assert len(bench.touch.calls) == 1
    bench.restart()
    for approval, payload in ((pending, b"[]"), (given, b"{}")):
        assert bench.refused(payload, approval_id=approval) == UNKNOWN
    again = bench.approval()
    bench.touch.answer()
    assert bench.signed(approval_id=again).ok, "the counter went on"


def test_nothing_is_approved_where_the_counter_cannot_be_kept(bench):
    approval = bench.approval()
    bench.store.failing = Fault("audit.unavailable", "full", "no")
    bench.touch.answer()
    bench.store.failing = None
    assert bench.touch.condemned == []
    assert bench.refused(approval_id=approval) == ("audit.unavailable", "full")


@pytest.mark.parametrize(
    ("status", "code"), [({"status": "suspended"}, "key.suspended"), ({"revoked_at": 1}, "key.revoked")]
)
def test_a_credential_that_is_not_valid_approves_nothing(bench, status, code):
    given = bench.approval(b"[]")
    bench.touch.answer()
    bench.change(ALICE, **status)
    assert bench.refused(b"[]", approval_id=given)[0] == code, "it was when it was touched"
    assert bench.refused()[0] == code
    assert bench.touch.calls == []


def test_a_credential_that_is_revoked_while_the_key_signs_releases_nothing(bench):
    approval = bench.approval()
    bench.touch.answer()
    audit_id = bench.admit(approval_id=approval)
    bench.turn()
    bench.change(ALICE, revoked_at=1)
    bench.backend.answer()
    bench.turn()
    assert bench.outcomes()[audit_id].error.code == "key.revoked"
    assert bench.kinds(audit_id) == ["decided", "outcome:refused:key.revoked"]


def test_a_credential_that_nobody_has_described_yet_is_not_asked(bench):
    bench.approvers.pop(ALICE)
    assert bench.refused() == ("key.backend_unavailable", "no_credential")


def test_a_worker_that_is_down_is_told_of(bench):
    bench.touch.up = False
    approval = bench.approval()
    assert bench.refused(approval_id=approval) == ("key.backend_unavailable", "worker_down")


def test_a_credential_signs_nothing_itself(bench):
    (use,) = bench.item().decision.keys
    decision = structs.replace(bench.item().decision, keys=(structs.replace(use, key=ALICE, keyid=bench.alice.keyid),))
    with pytest.raises(Violation, match="approver_key"):
        bench.admit(decision=decision)


def test_one_touch_approves_all_keys_of_a_request_and_those_that_need_none():
    keys = [SoftKey("file:a"), SoftKey("file:b", "Ed25519"), SoftKey("file:c")]
    bench = PresenceBench(*keys)
    bench.need(keys[1], ALICE, 5.0)
    bench.need(keys[2], "")
    outcome = bench.ask()
    assert outcome.details["expires_at"] == bench.clock.now_ms() + 5000, "the shortest of them"
    bench.touch.answer()
    ok = bench.signed(approval_id=outcome.details["approval_id"], envelope=True).ok
    assert len(parse_envelope(ok.envelope).signatures) == 4
    bench.close()


def test_keys_that_different_people_approve_do_not_sign_together():
    keys = [SoftKey("file:a"), SoftKey("file:b")]
    bench = PresenceBench(*keys)
    bench.need(keys[1], "fido2:bob")
    assert bench.refused() == ("key.forbidden", "several_approvers")
    bench.close()


def test_touches_of_one_worker_come_one_after_the_other(bench):
    first, second = bench.approval(b"[1]"), bench.approval(b"[2]")
    assert bench.touch.asked == [(ALICE, digest(b"[1]"))]
    bench.touch.answer()
    bench.turn()
    assert bench.touch.asked == [(ALICE, digest(b"[2]"))]
    bench.touch.answer()
    assert bench.signed(b"[2]", approval_id=second).ok
    assert bench.signed(b"[1]", approval_id=first).ok


def test_a_touch_that_nobody_waits_for_any_more_is_not_asked_for(bench):
    bench.approval(b"[1]")
    bench.approval(b"[2]")
    bench.clock.move(SECONDS)
    bench.turn()
    bench.touch.fail("key.presence_required", "no_touch")
    bench.turn()
    assert bench.touch.calls == []
    assert len(bench.presence) == 0


def test_the_worker_has_the_approval_s_time_and_some_more(bench):
    bench.approval(b"[1]")
    bench.clock.move(10)
    bench.approval(b"[2]")
    (call,) = bench.touch.calls
    assert call.deadline_s == SECONDS + 5
    bench.clock.move(20)
    bench.touch.answer()
    bench.turn()
    (call,) = bench.touch.calls
    assert call.deadline_s == SECONDS - 20 + 5


def test_one_that_waits_is_joined_although_there_is_no_room_for_another(bench):
    for number in range(MOST_PENDING_OF_TENANT):
        bench.approval(b"[%d]" % number)
    assert bench.refused() == ("daemon.overloaded", "approvals_pending")
    assert bench.approval(b"[1]")
    bench.clock.move(SECONDS)
    bench.turn()
    assert len(bench.presence) == 0
    assert bench.approval()


def test_of_what_is_over_the_oldest_is_forgotten(bench):
    bench.need(bench.keys[0], ALICE, 1.0)
    approvals = []
    while len(approvals) <= MOST_OVER:
        approvals.append(bench.approval(b"[%d]" % len(approvals)))
        bench.clock.move(1)
        bench.turn()
        while bench.touch.calls:
            bench.touch.fail("key.presence_required", "no_touch")
            bench.turn()
    assert bench.refused(b"[0]", approval_id=approvals[0]) == UNKNOWN
    assert bench.refused(b"[1]", approval_id=approvals[1]) == EXPIRED


def test_a_turn_is_due_when_an_approval_ends(bench):
    bench.approval()
    assert bench.sealing.next_look() == bench.clock.monotonic() + SECONDS
    bench.clock.move(SECONDS)
    bench.turn()
    assert bench.presence.next_look() is None


def test_a_sealer_that_knows_no_credential_signs_nothing_that_needs_one(bench):
    bench.sealing = Sealing(bench.store, bench.ring, {}, bench.clock, bench.aside)
    assert bench.refused() == ("key.backend_unavailable", "no_credential")


PAYLOADS = st.sampled_from([b"[1]", b"[2]"])
CALLERS = st.sampled_from(["uid:1", "uid:2"])


class Approvals(RuleBasedStateMachine):
    """Callers, a person, a clock and crashes in any order: what is signed was approved, by these bytes, once."""

    known = Bundle("approvals")

    def __init__(self):
        super().__init__()
        self.bench = PresenceBench()

    def teardown(self):
        self.bench.close()

    def asked(self, caller, payload, approval_id=""):
        return self.bench.admit(payload, approval_id=approval_id, **self.bench.asked_by(self.bench.keys[0], caller))

    @rule(target=known, caller=CALLERS, payload=PAYLOADS)
    def begin(self, caller, payload):
        audit_id = self.asked(caller, payload)
        self.bench.turn()
        outcome = self.bench.outcomes()[audit_id]
        assert (outcome.error.code, outcome.error.reason) == ("key.presence_required", "touch")
        return outcome.details["approval_id"], caller, payload

    @rule(approval=known)
    def repeat(self, approval):
        self.repeated(*approval)

    @rule(caller=CALLERS, payload=PAYLOADS, approval=known)
    def misuse(self, caller, payload, approval):
        self.repeated(approval[0], caller, payload)

    def repeated(self, approval, caller, payload):
        given = {leaf["approval_id"]: leaf for leaf in leaves(self.bench, "presence")}
        used = [leaf["presence"]["approval_id"] for leaf in leaves(self.bench, "decided")]
        audit_id = self.asked(caller, payload, approval)
        self.bench.turn()
        self.bench.backend.answer()
        self.bench.turn()
        outcome = self.bench.outcomes()[audit_id]
        if outcome.ok is not None:
            leaf = given[approval]
            assert approval not in used
            assert (leaf["principal"], leaf["pae_sha256"]) == (caller, digest(payload).hex())
            assert self.bench.clock.now_ms() < leaf["time"] + SECONDS * 1000
            asked = self.bench.asked_by(self.bench.keys[0], caller)
            assert self.bench.refused(payload, approval_id=approval, **asked) == UNKNOWN
        elif outcome.error.code == "request.conflict" and outcome.error.reason == "other_request":
            assert approval not in used

    @precondition(lambda self: self.bench.touch.calls)
    @rule()
    def touched(self):
        self.bench.touch.answer()
        self.bench.turn()

    @precondition(lambda self: self.bench.touch.calls and leaves(self.bench, "presence"))
    @rule()
    def replayed(self):
        kept = base64.b64decode(leaves(self.bench, "presence")[0]["assertion"])
        self.bench.touch.answer(lambda *_: kept)
        self.bench.turn()

    @precondition(lambda self: self.bench.touch.calls)
    @rule()
    def declined(self):
        self.bench.touch.fail("key.backend_unavailable", "no_touch")
        self.bench.turn()

    @rule(seconds=st.sampled_from([0.0, 1.0, 20.0, SECONDS]))
    def later(self, seconds):
        self.bench.clock.move(seconds)
        self.bench.turn()

    @rule()
    def killed(self):
        self.bench.restart()

    @invariant()
    def nothing_is_signed_that_was_not_approved_once(self):
        given = [leaf["approval_id"] for leaf in leaves(self.bench, "presence")]
        used = [leaf["presence"]["approval_id"] for leaf in leaves(self.bench, "decided")]
        assert len(set(used)) == len(used)
        assert set(used) <= set(given)
        counters = [leaf["counter"] for leaf in leaves(self.bench, "presence")]
        assert counters == sorted(set(counters))
        assert len(self.bench.touch.calls) <= 1


TestApprovals = Approvals.TestCase
TestApprovals.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
