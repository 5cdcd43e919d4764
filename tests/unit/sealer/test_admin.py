"""The desk of the admin plane over a real ring, a real log and a real ledger."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.life import Keys
from fakes.ssh import SshSigner
from signerd.errors import Fault, SignerdError
from signerd.host.config_approvals import Approvals, Approver
from signerd.sealer.admin import PAGE, AdminDesk
from signerd.sealer.approvals import ApprovalLedger
from signerd.sealer.audit import FILE_NAME, AuditReader
from signerd.sealer.grants import Grants
from signerd.sealer.job import Violation
from signerd.sealer.ring import FILE_NAME as RING_FILE
from signerd.wire.ceremonies import NAMESPACE
from signerd.wire.links import AdminAnswer, AdminCall, Answer, Query

UID = 1000
SIGNER = SshSigner.make("ssh-ed25519")
APPROVALS = Approvals(
    {"keys.rotate": 1, "admin.bypass": 1, "admin.confirm": 1}, 3600, (Approver("alice", SIGNER.line),)
)


class Office:
    """The desk, and its hands: work aside is done when :meth:`ask` looks at it."""

    def __init__(self, folder: Path, approvals: Approvals = Approvals()) -> None:  # noqa: B008  # frozen
        self.keys = Keys(folder)
        self.folder = folder
        self.ledger = ApprovalLedger(folder / RING_FILE, approvals, self.keys.audit)
        self.grants = Grants(self.keys.audit, self.keys.clock)
        self.answers: list[tuple[AdminAnswer, tuple[int, ...]]] = []
        self.confirmed = 0
        self.desk = AdminDesk(
            self, self.keys.life, self.ledger, self.grants, self.keys.audit, self.keys.clock, {UID}, {"local"}
        )

    def answer(self, answer: AdminAnswer, fds: tuple[int, ...]) -> None:
        self.answers.append((answer, fds))

    def aside(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        try:
            result = work()
        except SignerdError as error:
            result = error
        done(result)

    def read_log(self, query: Query) -> Answer:
        reader = AuditReader(self.folder / FILE_NAME)
        try:
            page = reader.read(query.tenant, query.filters, query.cursor, query.limit)
        finally:
            reader.close()
        return Answer(query.id, page.records, page.indices, page.next)

    def confirm_pins(self) -> tuple[str, ...]:
        self.confirmed += 1
        return ("hsm",)

    def ask(self, method: str, inline_max: int = 1 << 20, **params: Any) -> AdminAnswer:
        before = len(self.answers)
        self.desk.call(AdminCall(before + 1, method, msgspec.msgpack.encode(params), UID, inline_max))
        (found,) = [answer for answer, _ in self.answers[before:]]
        return found

    def result(self, method: str, **params: Any) -> dict[str, Any]:
        answer = self.ask(method, **params)
        assert answer.error is None, answer.error
        decoded: dict[str, Any] = msgspec.msgpack.decode(answer.result)
        return decoded

    def refused(self, method: str, **params: Any) -> str:
        answer = self.ask(method, **params)
        assert answer.error is not None
        return f"{answer.error.code}/{answer.error.reason}"

    def leaves(self, kind: str) -> list[dict[str, Any]]:
        answer = self.read_log(Query(0, None, {"kind": kind}, 0, 200))
        return [json.loads(text) for text in answer.records]

    def close(self) -> None:
        self.ledger.close()
        self.keys.close()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path, APPROVALS)
    yield made
    made.close()


WHY = {"key": "file:a", "reason": "planned"}


def test_orders_reach_the_ring_in_the_name_of_who_gave_them(office: Office) -> None:
    assert [row["version"] for row in office.result("keys.generate", **WHY, algorithm="ES384")["keys"]] == [1]
    new, old = office.result("keys.rotate", **WHY, overlap_s=60)["keys"]
    assert (new["status"], new["algorithm"], old["status"]) == ("active", "ES384", "retiring")
    assert office.result("keys.suspend", **WHY)["keys"][0]["status"] == "suspended"
    assert office.result("keys.resume", **WHY, version=2)["keys"][0]["status"] == "active"
    revoked = office.result("keys.revoke", **WHY, version=1, cause="compromised")["keys"][0]
    assert (revoked["status"], revoked["cause"]) == ("revoked", "compromised")
    assert office.result("keys.retire", **WHY)["keys"][0]["status"] == "retired"
    assert {leaf["by"] for leaf in office.leaves("ring")} == {"uid:1000"}
    versions = office.result("keys.versions", key="file:a")["keys"]
    assert [(row["version"], row["status"]) for row in versions] == [(1, "revoked"), (2, "retired")]


def test_history_of_one_key_and_of_all(office: Office) -> None:
    office.result("keys.generate", **WHY)
    office.result("keys.generate", key="file:b", reason="too")
    one = office.result("keys.history", key="file:b")["changes"]
    assert [(change["key"], change["change"], change["reason"]) for change in one] == [("file:b", "generate", "too")]
    every = office.result("keys.history")
    assert [change["key"] for change in every["changes"]] == ["file:a", "file:b"]
    assert "next" not in every
    for _ in range(PAGE):
        office.result("keys.suspend", **WHY)
        office.result("keys.resume", **WHY)
    page = office.result("keys.history", key="file:a")
    assert len(page["changes"]) == PAGE
    rest = office.result("keys.history", key="file:a", cursor=page["next"])
    assert len(rest["changes"]) == PAGE
    total, cursor = 0, "0"
    while cursor:
        found = office.result("keys.history", cursor=cursor)
        total, cursor = total + len(found["changes"]), found.get("next", "")
    assert total == 2 + 2 * PAGE


def test_documents_go_by_descriptor_above_what_the_caller_wants(office: Office) -> None:
    office.result("keys.generate", **WHY)
    inline = office.result("keys.publish")
    answer, fds = office.ask("keys.publish", inline_max=0), office.answers[-1][1]
    moved = msgspec.msgpack.decode(answer.result)
    try:
        for name in ("jwks", "trusted_root", "revocations"):
            assert os.pread(fds[moved[name]["fd"]], moved[name]["size"] + 1, 0) == inline[name]
        assert json.loads(inline["jwks"])["keys"][0]["key"] == "file:a"
    finally:
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize(
    ("method", "params", "said"),
    [
        ("keys.rotate", WHY, "key.not_found/no_such_key"),
        ("keys.generate", {"key": "file:no", "reason": "x"}, "key.not_found/no_such_key"),
        ("keys.suspend", {"key": "file:a"}, "request.malformed/missing_field"),
        ("admin.confirm", {"what": "clock", "reason": "x"}, "request.unsupported/nothing_waits"),
        ("approval.withdraw", {"ceremony": "ab" * 16}, "approval.required/unknown_ceremony"),
    ],
)
def test_what_is_refused_is_on_record(office: Office, method: str, params: dict[str, Any], said: str) -> None:
    assert office.refused(method, **params) == said
    (leaf,) = office.leaves("refused")
    assert (leaf["request"]["method"], leaf["request"]["principal"]) == (method, "uid:1000")
    assert f"{leaf['code']}/{leaf['reason']}" == said


def test_reads_that_are_refused_are_not(office: Office) -> None:
    assert office.refused("approval.describe", ceremony="ab" * 16) == "approval.required/unknown_ceremony"
    assert office.leaves("refused") == []


def test_exceptions_are_for_configured_tenants(office: Office) -> None:
    ends = office.keys.clock.now_ms() + 5000
    bypass = {"plan": "gold", "reason": "outage", "expires_at": ends}
    assert office.refused("admin.bypass", tenant="no", **bypass) == "request.malformed/no_such_tenant"
    made = office.result("admin.bypass", tenant="local", **bypass)
    release = {"digest": "sha256:" + "a" * 64, "reason": "vendor", "expires_at": ends}
    assert office.refused("admin.approve_release", tenant="no", **release) == "request.malformed/no_such_tenant"
    office.result("admin.approve_release", **release, version="2026.1")
    first, second = office.grants.snapshot()
    assert (first.id, first.tenant, second.tenant, second.version) == (made["bypass_id"], "local", "", "2026.1")


def test_a_confirmation_and_a_reload_are_recorded_first(office: Office) -> None:
    assert office.result("admin.confirm", what="pin", reason="the token is mine") == {"backends": ["hsm"]}
    assert office.result("admin.reload", reason="new plans") == {}
    assert [(leaf["act"], leaf["reason"]) for leaf in office.leaves("admin")] == [
        ("admin.confirm", "the token is mine"),
        ("admin.reload", "new plans"),
    ]
    assert office.confirmed == 1


def test_a_pin_is_presented_again_once_for_each_approval_where_that_takes_one(guarded: Office) -> None:
    """A broken front end could use up a token's tries otherwise (T18, T27)."""
    word = {"what": "pin", "reason": "the token is mine"}
    answer = guarded.ask("admin.confirm", **word)
    assert answer.error is not None
    assert (answer.error.code, answer.error.reason, guarded.confirmed) == ("approval.required", "not_enough", 0)
    ceremony = answer.details["ceremony"]
    message = guarded.result("approval.describe", ceremony=ceremony)["message"]
    guarded.result("approval.submit", ceremony=ceremony, signature=SIGNER.sign(message, NAMESPACE))
    assert guarded.result("admin.confirm", **word, approval_id=ceremony) == {"backends": ["hsm"]}
    assert guarded.refused("admin.confirm", **word, approval_id=ceremony) == "approval.required/used"
    assert guarded.confirmed == 1
    assert [leaf["ceremony"] for leaf in guarded.leaves("admin")] == [ceremony]


def test_an_order_that_waits_runs_once_with_its_approvals(guarded: Office) -> None:
    guarded.result("keys.generate", **WHY)
    answer = guarded.ask("keys.rotate", **WHY)
    assert answer.error is not None
    ceremony = answer.details["ceremony"]
    assert set(answer.details) == {"ceremony", "needed", "expires_at"}
    assert guarded.ask("keys.rotate", **WHY).details["ceremony"] == ceremony
    (row,) = guarded.result("approval.list")["approvals"]
    assert (row["ceremony"], row["operation"], row["state"], row["requester"]) == (
        ceremony, "keys.rotate", "open", "uid:1000",
    )  # fmt: skip
    shown = guarded.result("approval.describe", ceremony=ceremony)
    assert json.loads(shown["payload"]) == WHY
    signature = SIGNER.sign(shown["message"], NAMESPACE)
    assert guarded.result("approval.submit", ceremony=ceremony, signature=signature)["state"] == "approved"
    assert guarded.refused("keys.rotate", **WHY, overlap_s=5, approval_id=ceremony).endswith("other_payload")
    assert guarded.result("keys.rotate", **WHY, approval_id=ceremony)["keys"][0]["version"] == 2
    assert guarded.refused("keys.rotate", **WHY, approval_id=ceremony) == "approval.required/used"
    assert guarded.keys.life.versions("file:a")[-1].version == 2


def test_a_ceremony_can_be_withdrawn(guarded: Office) -> None:
    guarded.result("keys.generate", **WHY)
    ceremony = guarded.ask("keys.rotate", **WHY).details["ceremony"]
    assert guarded.result("approval.withdraw", ceremony=ceremony)["state"] == "withdrawn"
    assert guarded.refused("keys.rotate", **WHY, approval_id=ceremony) == "approval.required/withdrawn"


@pytest.mark.parametrize(("method", "uid"), [("keys.rotate", UID + 1), ("sign.dsse", UID), ("", UID)])
def test_what_no_honest_front_end_relays_is_a_violation(office: Office, method: str, uid: int) -> None:
    with pytest.raises(Violation):
        office.desk.call(AdminCall(1, method, b"\x80", uid, 0))
    assert office.answers == []


def test_a_full_disk_refuses_and_changes_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.result("keys.generate", **WHY)

    def full(leaves: object) -> int:
        raise Fault("audit.unavailable", "disk_full", "no")

    monkeypatch.setattr(office.keys.audit, "append_many", full)
    assert office.refused("keys.suspend", **WHY) == "audit.unavailable/disk_full"
    assert office.refused("keys.rotate", key="file:b", reason="x") == "key.not_found/no_such_key"
    assert office.refused("admin.reload", reason="x") == "audit.unavailable/disk_full"
    assert office.keys.life.versions("file:a")[0].status == "active"
