import signal
import sqlite3
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fakes.ssh import SshSigner
from signerd.attestation.canonical import canonical_json
from signerd.errors import Fault, Refusal
from signerd.host.config_approvals import Approvals, Approver
from signerd.sealer.approvals import KEPT_MS, MOST_LISTED, MOST_OPEN, ApprovalLedger
from signerd.sealer.audit import FILE_NAME, AuditReader, SqliteAuditStore
from signerd.sealer.ring import RingStore
from signerd.verification.ssh_keys import SshPublicKey
from signerd.wire.ceremonies import LARGEST_PAYLOAD, NAMESPACE

NOW = 1_750_000_000_000
LIFE = 3600
ADMIN = 500
PAYLOAD = canonical_json({"key": "file:default", "reason": "compromised"})
OTHER = canonical_json({"key": "file:other", "reason": "compromised"})
SIGNERS = {name: SshSigner.make("ssh-ed25519") for name in ("alice", "bob", "carol")}
UIDS = {"alice": 1001, "bob": 1002, "carol": None}
APPROVERS = tuple(Approver(name, signer.line, UIDS[name]) for name, signer in SIGNERS.items())
APPROVALS = Approvals({"keys.revoke": 2, "keys.rotate": 1}, LIFE, APPROVERS)


class Bench:
    """A ledger and a log in a state directory, which can be closed and opened again."""

    def __init__(self, state, approvals=APPROVALS):
        self.state, self.approvals = state, approvals
        self.open()

    def open(self):
        self.audit = SqliteAuditStore(self.state / FILE_NAME)
        self.ledger = ApprovalLedger(self.state / "ring.sqlite", self.approvals, self.audit)

    def close(self):
        self.ledger.close()
        self.audit.close()

    def restart(self, approvals=None):
        self.close()
        self.approvals = approvals or self.approvals
        self.open()

    def leaves(self):
        reader = AuditReader(self.state / FILE_NAME)
        try:
            return [msgspec.json.decode(leaf) for leaf in reader.read(None).records]
        finally:
            reader.close()

    def asked(self, operation="keys.revoke", payload=PAYLOAD, uid=ADMIN, now=NOW):
        return self.ledger.request(operation, payload, uid, now)

    def approve(self, ceremony, *names, now=NOW):
        for name in names:
            signature = SIGNERS[name].sign(ceremony.message, NAMESPACE)
            ceremony = self.ledger.submit(ceremony.ceremony, signature, ADMIN, now)
        return ceremony


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def refused(call, code="approval.required"):
    with pytest.raises(Refusal) as caught:
        call()
    assert caught.value.code == code
    return caught.value.reason


def test_a_ceremony_from_the_request_to_its_one_use(bench):
    assert (bench.ledger.needed("keys.revoke"), bench.ledger.needed("keys.suspend")) == (2, 0)
    asked = bench.asked()
    assert (asked.state, asked.needed, asked.approved_by, asked.requester) == ("open", 2, (), "uid:500")
    assert asked.message == canonical_json(
        {
            "ceremony": asked.ceremony,
            "operation": "keys.revoke",
            "payload_sha256": sha256(PAYLOAD).hexdigest(),
            "requester": "uid:500",
            "requester_uid": ADMIN,
            "expires_at": NOW + LIFE * 1000,
            "daemon": bench.ledger.daemon,
        }
    )
    assert bench.asked(now=NOW + 1) == asked
    assert bench.approve(asked, "alice").state == "open"
    approved = bench.approve(asked, "carol", now=NOW + 1)
    assert (approved.state, approved.approved_by) == ("approved", ("alice", "carol"))
    used = bench.ledger.consume(asked.ceremony, "keys.revoke", PAYLOAD, 1002, NOW + 5)
    assert used.state == "used"
    assert refused(lambda: bench.ledger.consume(asked.ceremony, "keys.revoke", PAYLOAD, ADMIN, NOW + 6)) == "used"
    assert refused(lambda: bench.approve(asked, "bob")) == "used"
    assert bench.asked(now=NOW + 7).ceremony != asked.ceremony
    leaves = bench.leaves()
    changes = [(leaf["change"], leaf["by"], leaf["uid"], leaf["time"]) for leaf in leaves]
    assert changes == [
        ("requested", "uid:500", ADMIN, NOW),
        ("approved", "alice", ADMIN, NOW),
        ("approved", "carol", ADMIN, NOW + 1),
        ("used", "bob", 1002, NOW + 5),
        ("requested", "uid:500", ADMIN, NOW + 7),
    ]
    assert leaves[0]["payload"] == msgspec.json.decode(PAYLOAD)
    assert {leaf["kind"] for leaf in leaves} == {"approval"}


def test_each_key_counts_once_and_that_of_who_asks_never(bench):
    asked = bench.asked(uid=1001)
    assert asked.requester == "alice"
    assert refused(lambda: bench.approve(asked, "alice")) == "own_approval"
    assert bench.approve(asked, "bob", "bob").approved_by == ("bob",)
    with pytest.raises(Refusal) as caught:
        bench.ledger.consume(asked.ceremony, "keys.revoke", PAYLOAD, ADMIN, NOW)
    assert caught.value.details == {"reason": "not_enough", "needed": 2, "approved": 1}
    assert [leaf["change"] for leaf in bench.leaves()] == ["requested", "approved"]


def test_approvals_hold_for_one_operation_with_one_content(bench):
    asked = bench.asked()
    bench.approve(asked, "alice", "bob")
    consume = bench.ledger.consume
    assert refused(lambda: consume(asked.ceremony, "keys.rotate", PAYLOAD, ADMIN, NOW)) == "other_operation"
    assert refused(lambda: consume(asked.ceremony, "keys.revoke", OTHER, ADMIN, NOW)) == "other_payload"
    for name in ("0" * 32, "", "\ud800", asked.ceremony + "\n"):
        call = lambda name=name: consume(name, "keys.revoke", PAYLOAD, ADMIN, NOW)  # noqa: E731
        assert refused(call) == "unknown_ceremony"
    other = bench.asked(payload=OTHER)
    signature = SIGNERS["alice"].sign(asked.message, NAMESPACE)
    call = lambda: bench.ledger.submit(other.ceremony, signature, ADMIN, NOW)  # noqa: E731
    assert refused(call, "verification.failed") == "signature_invalid"
    assert consume(asked.ceremony, "keys.revoke", PAYLOAD, ADMIN, NOW).state == "used"


def test_an_approval_of_another_daemon_does_not_count(bench, tmp_path):
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other")
    try:
        assert other.ledger.daemon != bench.ledger.daemon
        asked = bench.asked()
        fields = {**msgspec.json.decode(asked.message), "daemon": other.ledger.daemon}
        signature = SIGNERS["alice"].sign(canonical_json(fields), NAMESPACE)
        call = lambda: bench.ledger.submit(asked.ceremony, signature, ADMIN, NOW)  # noqa: E731
        assert refused(call, "verification.failed") == "signature_invalid"
    finally:
        other.close()


@pytest.mark.parametrize(
    ("sign", "reason"),
    [
        (lambda message: SIGNERS["alice"].sign(message, "file"), "namespace"),
        (lambda message: SshSigner.make("ssh-ed25519").sign(message, NAMESPACE), "key_not_enrolled"),
        (lambda message: "unsigned", "not_armoured"),
        (lambda message: "x" * 20_000, "too_large"),
    ],
)
def test_a_signature_that_is_no_approval_is_refused(bench, sign, reason):
    asked = bench.asked()
    call = lambda: bench.ledger.submit(asked.ceremony, sign(asked.message), ADMIN, NOW)  # noqa: E731
    assert refused(call, "verification.failed") == reason
    assert bench.ledger.ceremony(asked.ceremony, NOW) == asked


def test_it_ends_at_its_time_whoever_looks(bench):
    asked = bench.asked()
    bench.approve(asked, "alice", "bob", now=asked.expires_at - 1)
    consume = lambda now: bench.ledger.consume(asked.ceremony, "keys.revoke", PAYLOAD, ADMIN, now)  # noqa: E731
    assert refused(lambda: consume(asked.expires_at)) == "expired"
    # A clock that is set back revives nothing.
    assert refused(lambda: consume(NOW)) == "expired"
    assert bench.ledger.ceremony(asked.ceremony, NOW).state == "expired"
    assert bench.leaves()[-1]["change"] == "expired"
    assert [each.state for each in bench.ledger.ceremonies(NOW)] == ["expired"]
    assert bench.ledger.ceremonies(asked.expires_at + KEPT_MS) == ()


def test_who_withdraws_ends_it(bench):
    asked = bench.asked()
    bench.approve(asked, "alice", "bob")
    assert bench.ledger.withdraw(asked.ceremony, 1001, NOW).state == "withdrawn"
    assert refused(lambda: bench.ledger.withdraw(asked.ceremony, 1001, NOW)) == "withdrawn"
    call = lambda: bench.ledger.consume(asked.ceremony, "keys.revoke", PAYLOAD, ADMIN, NOW)  # noqa: E731
    assert refused(call) == "withdrawn"
    assert (bench.leaves()[-1]["change"], bench.leaves()[-1]["by"]) == ("withdrawn", "alice")


@pytest.mark.parametrize(
    ("operation", "payload", "code", "reason"),
    [
        ("keys.suspend", PAYLOAD, "request.unsupported", "approval_not_needed"),
        ("keys.revoke", b'{"b":1,"a":2}', "request.malformed", "payload_not_canonical"),
        ("keys.revoke", b"[]", "request.malformed", "payload_not_canonical"),
        ("keys.revoke", b"\xff", "request.malformed", "payload_not_canonical"),
        (
            "keys.revoke",
            canonical_json({"reason": "x" * LARGEST_PAYLOAD}),
            "request.too_large",
            "payload",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_refused(bench, operation, payload, code, reason):
    assert refused(lambda: bench.asked(operation, payload), code) == reason
    assert bench.leaves() == []


def test_so_many_wait_and_no_more_and_a_list_is_bounded(bench):
    for number in range(MOST_OPEN):
        last = bench.asked(payload=canonical_json({"n": number}))
    assert refused(bench.asked, "request.conflict") == "ceremonies_open"
    bench.ledger.withdraw(last.ceremony, ADMIN, NOW + 1)
    assert len(bench.ledger.ceremonies(NOW + 1)) == MOST_OPEN
    for number in range(MOST_LISTED):
        made = bench.asked(payload=canonical_json({"m": number}), now=NOW + 2)
        bench.ledger.withdraw(made.ceremony, ADMIN, NOW + 2)
    listed = bench.ledger.ceremonies(NOW + 3)
    assert len(listed) == MOST_LISTED
    assert [each.state for each in listed[: MOST_OPEN - 1]] == ["open"] * (MOST_OPEN - 1)
    assert last.ceremony not in {each.ceremony for each in listed[MOST_OPEN - 1 :]}


def test_the_configuration_of_now_decides_who_counts(bench):
    asked = bench.asked(uid=1001)
    bench.approve(asked, "bob", "carol")
    fewer = msgspec.structs.replace(APPROVALS, approvers=tuple(a for a in APPROVERS if a.name != "carol"))
    bench.restart(fewer)
    assert bench.ledger.ceremony(asked.ceremony, NOW).approved_by == ("bob",)
    # Whose uid is taken out of the configuration stays who asked.
    nameless = tuple(Approver(each.name, each.key) for each in APPROVERS)
    bench.restart(msgspec.structs.replace(APPROVALS, approvers=nameless))
    assert refused(lambda: bench.approve(asked, "alice")) == "own_approval"
    more = msgspec.structs.replace(APPROVALS, operations={"keys.revoke": 3})
    bench.restart(more)
    assert bench.ledger.ceremony(asked.ceremony, NOW).state == "open"
    bench.restart(Approvals({}, LIFE, APPROVERS))
    call = lambda: bench.ledger.consume(asked.ceremony, "keys.revoke", PAYLOAD, ADMIN, NOW)  # noqa: E731
    assert refused(call) == "not_enough"


def test_who_writes_into_the_file_does_not_approve(bench):
    asked = bench.asked()
    other = bench.asked(payload=OTHER)
    bench.approve(asked, "alice", "bob")
    writer = sqlite3.connect(bench.state / "ring.sqlite", isolation_level=None)
    moved = writer.execute("UPDATE ceremony_approvals SET ceremony = ?", (other.ceremony,))
    assert moved.rowcount == 2
    assert bench.ledger.ceremony(other.ceremony, NOW).approved_by == ()
    # One signature under the names of two keys.
    alice = SshPublicKey.from_line(SIGNERS["alice"].line).fingerprint
    signature = SIGNERS["alice"].sign(other.message, NAMESPACE)
    writer.execute("UPDATE ceremony_approvals SET signature = ?", (signature,))
    assert bench.ledger.ceremony(other.ceremony, NOW).approved_by == ("alice",)
    # What does not count does not stand in the way of what does.
    assert bench.approve(other, "bob").approved_by == ("alice", "bob")
    writer.execute("DELETE FROM ceremony_approvals WHERE key <> ?", (alice,))
    writer.close()
    assert bench.ledger.ceremony(other.ceremony, NOW).state == "open"


def test_approvals_of_one_order_are_not_those_of_one_that_was_written_in_its_place(bench):
    approved = bench.approve(bench.asked(), "alice", "carol")
    assert approved.state == "approved"
    writer = sqlite3.connect(bench.state / "ring.sqlite", isolation_level=None)
    writer.execute("UPDATE ceremonies SET payload = ?", (OTHER,))
    writer.close()
    assert bench.ledger.ceremony(approved.ceremony, NOW).state == "open"
    use = lambda: bench.ledger.consume(approved.ceremony, "keys.revoke", OTHER, ADMIN, NOW)  # noqa: E731
    assert refused(use) == "not_enough"


@pytest.mark.parametrize("column", ["requester", "requester_uid", "requester, requester_uid"])
@pytest.mark.parametrize("when", ["before the approvals", "after them"])
def test_who_asked_is_who_the_log_says_whatever_is_written_in_his_place(bench, column, when):
    asked = bench.asked(uid=1001)
    if when == "after them":
        asked = bench.approve(asked, "bob", "carol")
    writer = sqlite3.connect(bench.state / "ring.sqlite", isolation_level=None)
    if "requester" in column.split(", "):
        writer.execute("UPDATE ceremonies SET requester = 'uid:500'")
    if "requester_uid" in column:
        writer.execute("UPDATE ceremonies SET requester_uid = ?", (ADMIN,))
    forged = bench.ledger.ceremony(asked.ceremony, NOW)
    for signer in SIGNERS.values():
        signature = signer.sign(forged.message, NAMESPACE)
        call = lambda signature=signature: bench.ledger.submit(asked.ceremony, signature, ADMIN, NOW)  # noqa: E731
        assert refused(call) in ("request_unlogged", "own_approval")
        key = SshPublicKey.from_line(signer.line).fingerprint
        row = (asked.ceremony, key, signature, ADMIN, NOW)
        writer.execute("INSERT OR REPLACE INTO ceremony_approvals VALUES (?, ?, ?, ?, ?)", row)
    writer.close()
    assert bench.ledger.ceremony(asked.ceremony, NOW).approved_by == ()
    use = lambda: bench.ledger.consume(asked.ceremony, "keys.revoke", PAYLOAD, ADMIN, NOW)  # noqa: E731
    assert refused(use) == "not_enough"


def test_a_request_that_the_log_does_not_have_gets_no_approval(bench):
    asked = bench.asked()
    writer = sqlite3.connect(bench.state / "ring.sqlite", isolation_level=None)
    writer.execute("UPDATE ceremonies SET ceremony = ?", ("ab" * 16,))
    writer.close()
    planted = bench.ledger.ceremony("ab" * 16, NOW)
    assert planted.payload == asked.payload
    assert refused(lambda: bench.approve(planted, "bob")) == "request_unlogged"


def test_an_old_copy_of_the_ledger_brings_no_used_approval_back(bench):
    asked = bench.asked()
    bench.approve(asked, "alice", "bob")
    bench.close()
    old = (bench.state / "ring.sqlite").read_bytes()
    bench.open()
    bench.ledger.consume(asked.ceremony, "keys.revoke", PAYLOAD, ADMIN, NOW)
    bench.close()
    (bench.state / "ring.sqlite").write_bytes(old)
    bench.open()
    assert bench.ledger.ceremony(asked.ceremony, NOW).state == "approved"
    for _ in range(2):
        call = lambda: bench.ledger.consume(asked.ceremony, "keys.revoke", PAYLOAD, ADMIN, NOW)  # noqa: E731
        assert refused(call) == "used"
    assert [leaf["change"] for leaf in bench.leaves()].count("used") == 1


def test_without_a_log_nothing_changes(bench):
    asked = bench.asked()
    bench.approve(asked, "alice", "bob")
    blocker = sqlite3.connect(bench.state / FILE_NAME, isolation_level=None)
    blocker.execute("ALTER TABLE leaves RENAME TO kept")
    blocker.execute("CREATE VIEW leaves AS SELECT 1 AS leaf_index")
    ledger = bench.ledger
    for call in (
        lambda: ledger.consume(asked.ceremony, "keys.revoke", PAYLOAD, ADMIN, NOW),
        lambda: ledger.withdraw(asked.ceremony, ADMIN, NOW),
        lambda: bench.approve(asked, "carol"),
        lambda: bench.asked(payload=OTHER),
    ):
        with pytest.raises(Fault) as caught:
            call()
        assert caught.value.code == "audit.unavailable"
    blocker.execute("DROP VIEW leaves")
    blocker.execute("ALTER TABLE kept RENAME TO leaves")
    blocker.close()
    assert ledger.ceremony(asked.ceremony, NOW).approved_by == ("alice", "bob")
    assert len(ledger.ceremonies(NOW)) == 1


def test_a_file_that_cannot_be_used_is_a_typed_fault(bench, tmp_path):
    (tmp_path / "bad.sqlite").write_bytes(b"no database" * 500)
    with pytest.raises(Fault) as caught:
        ApprovalLedger(tmp_path / "bad.sqlite", APPROVALS, bench.audit)
    assert (caught.value.code, caught.value.reason) == ("internal", "approvals_corrupt")


def test_it_stands_beside_the_ring_in_one_file(bench):
    ring = RingStore(bench.state / "ring.sqlite")
    try:
        asked = bench.asked()
        assert ring.load() == []
        bench.restart()
        assert bench.ledger.ceremony(asked.ceremony, NOW) == asked
    finally:
        ring.close()


KILLED = """
import os, sys
from pathlib import Path
from signerd.host.config_approvals import Approvals
from signerd.sealer.approvals import ApprovalLedger
from signerd.sealer.audit import SqliteAuditStore
import msgspec

class Killed(SqliteAuditStore):
    def append_many(self, leaves):
        if when == "before":
            os.kill(os.getpid(), 9)
        super().append_many(leaves)
        os.kill(os.getpid(), 9)

state, when, ceremony, payload, now = Path(sys.argv[1]), *sys.argv[2:]
approvals = msgspec.json.decode(sys.stdin.buffer.read(), type=Approvals)
ledger = ApprovalLedger(state / "ring.sqlite", approvals, Killed(state / "audit.sqlite"))
ledger.consume(ceremony, "keys.revoke", payload.encode(), 500, int(now))
print("ran")
"""


@pytest.mark.parametrize(("when", "then"), [("before", None), ("between", "used")])
def test_a_kill_in_the_middle_never_lets_it_run_twice(bench, when, then):
    asked = bench.asked()
    bench.approve(asked, "alice", "bob")
    bench.close()
    try:
        killed = subprocess.run(
            [sys.executable, "-P", "-c", KILLED, bench.state, when, asked.ceremony, PAYLOAD.decode(), str(NOW)],
            input=msgspec.json.encode(APPROVALS),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, b""), killed.stderr
    finally:
        bench.open()
    call = lambda: bench.ledger.consume(asked.ceremony, "keys.revoke", PAYLOAD, ADMIN, NOW)  # noqa: E731
    if then is None:
        assert call().state == "used"
    else:
        assert refused(call) == then
    assert [leaf["change"] for leaf in bench.leaves()].count("used") == 1


class Ceremonies(RuleBasedStateMachine):
    """Against a model: what was validly approved by whom, and how often each ceremony was used."""

    @initialize()
    def begin(self):
        self.folder = TemporaryDirectory()
        self.bench = Bench(Path(self.folder.name))
        self.now = NOW
        self.made = {}
        self.approved = {}
        self.ended = set()

    def teardown(self):
        if hasattr(self, "bench"):
            self.bench.close()
            self.folder.cleanup()

    def pick(self, data):
        # By place: the ids are random, and what hypothesis draws from must not be.
        return list(self.made.values())[data.draw(st.integers(0, len(self.made) - 1))]

    @rule(operation=st.sampled_from(["keys.revoke", "keys.rotate"]), payload=st.sampled_from([PAYLOAD, OTHER]),
          uid=st.sampled_from([500, 1001, 1002]))  # fmt: skip
    def request(self, operation, payload, uid):
        made = self.bench.asked(operation, payload, uid, self.now)
        if made.ceremony in self.made:
            assert made.ceremony not in self.ended
            assert self.now < made.expires_at
        else:
            self.made[made.ceremony] = made
            self.approved[made.ceremony] = set()

    @precondition(lambda self: self.made)
    @rule(data=st.data(), name=st.sampled_from(sorted(SIGNERS)), flaw=st.sampled_from(["", "", "", "message", "space"]))
    def submit(self, data, name, flaw):
        ceremony = self.pick(data)
        message = ceremony.message + b" " if flaw == "message" else ceremony.message
        signature = SIGNERS[name].sign(message, "file" if flaw == "space" else NAMESPACE)
        try:
            self.bench.ledger.submit(ceremony.ceremony, signature, ADMIN, self.now)
        except Refusal:
            own = UIDS[name] == ceremony.requester_uid
            assert flaw or own or ceremony.ceremony in self.ended or self.now >= ceremony.expires_at
            return
        assert not flaw
        assert UIDS[name] != ceremony.requester_uid
        self.approved[ceremony.ceremony].add(name)

    @precondition(lambda self: self.made)
    @rule(data=st.data(), other=st.booleans())
    def consume(self, data, other):
        ceremony = self.pick(data)
        payload = ceremony.payload if not other else b"{}"
        enough = len(self.approved[ceremony.ceremony]) >= ceremony.needed
        living = ceremony.ceremony not in self.ended and self.now < ceremony.expires_at
        try:
            self.bench.ledger.consume(ceremony.ceremony, ceremony.operation, payload, ADMIN, self.now)
        except Refusal:
            assert other or not enough or not living
            return
        assert enough
        assert living
        assert not other
        self.ended.add(ceremony.ceremony)

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def withdraw(self, data):
        ceremony = self.pick(data)
        try:
            self.bench.ledger.withdraw(ceremony.ceremony, ADMIN, self.now)
        except Refusal:
            assert ceremony.ceremony in self.ended or self.now >= ceremony.expires_at
            return
        self.ended.add(ceremony.ceremony)

    @rule(seconds=st.sampled_from([1, 600, LIFE]))
    def wait(self, seconds):
        self.now += seconds * 1000

    @rule()
    def restart(self):
        before = self.bench.ledger.ceremonies(self.now), self.bench.ledger.daemon
        self.bench.restart()
        assert (self.bench.ledger.ceremonies(self.now), self.bench.ledger.daemon) == before

    @invariant()
    def the_log_has_each_end_once(self):
        if not hasattr(self, "bench"):
            return
        ends = [leaf["ceremony"] for leaf in self.bench.leaves() if leaf["change"] in ("used", "withdrawn", "expired")]
        assert len(ends) == len(set(ends))


TestCeremonies = Ceremonies.TestCase
TestCeremonies.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
