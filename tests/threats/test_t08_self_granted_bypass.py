"""T8: a local user grants himself a bypass or an approval.

The attacker has what a front end that was broken into has: the sealer's link, on which he orders what he likes in the
name of any admin. Where the configuration asks for approvals, only signatures of enrolled keys over this very order, on
this daemon, in time, count; each use is the last. Whatever was tried is on record. He may also be another user of the
host, at the admin socket's file.
"""

import grp
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.front_end import SealerProcess, leaves_of
from fakes.ssh import SshSigner
from running.client import Client
from running.configured import configuration
from running.daemon import Running
from signerd.daemon.listener import bind
from signerd.host.config import embedded
from signerd.host.config_approvals import Approvals, Approver
from signerd.host.config_model import AdminSocket, Config, Sockets
from signerd.wire.ceremonies import NAMESPACE
from signerd.wire.links import AdminAnswer, AdminCall, Opened
from signerd.wire.ring import GrantsChanged

ME = os.geteuid()
HOUR_MS = 3_600_000
SIGNERS = {name: SshSigner.make("ssh-ed25519") for name in ("mallory", "alice", "bob")}
APPROVALS = Approvals(
    {"admin.bypass": 2, "admin.approve_release": 1, "keys.revoke": 1, "keys.rotate": 1},
    86_400,
    (
        Approver("mallory", SIGNERS["mallory"].line, ME),  # the attacker is an approver: of what others ask for
        Approver("alice", SIGNERS["alice"].line, ME + 1),
        Approver("bob", SIGNERS["bob"].line),
    ),
)


def guarded(state: Path, approvals: Approvals = APPROVALS) -> Config:
    made = embedded(state, state.parent / "sign.sock")
    sockets = Sockets(made.sockets.sign, AdminSocket(str(state.parent / "admin.sock"), (ME,)))
    return msgspec.structs.replace(made, sockets=sockets, approvals=approvals)


@pytest.fixture
def sealer(tmp_path: Path) -> Iterator[SealerProcess]:
    made = SealerProcess(tmp_path / "state", guarded(tmp_path / "state"))
    made.open()
    yield made
    made.close()


def soon() -> int:
    return int(time.time() * 1000) + HOUR_MS


def bypass(sealer: SealerProcess, **more: Any) -> AdminAnswer:
    asked = {"tenant": "local", "plan": "gold", "reason": "mine", "expires_at": soon(), **more}
    return sealer.administer("admin.bypass", **asked)


def refused(answer: AdminAnswer) -> str:
    assert answer.error is not None, answer
    return f"{answer.error.code}/{answer.error.reason}"


def approve(sealer: SealerProcess, ceremony: object, *names: str, namespace: str = NAMESPACE) -> list[AdminAnswer]:
    described = result(sealer.administer("approval.describe", ceremony=ceremony))
    signatures = [SIGNERS[name].sign(described["message"], namespace) for name in names]
    return [sealer.administer("approval.submit", ceremony=ceremony, signature=each) for each in signatures]


def result(answer: AdminAnswer) -> dict[str, Any]:
    assert answer.error is None, answer
    decoded: dict[str, Any] = msgspec.msgpack.decode(answer.result)
    return decoded


def granted(sealer: SealerProcess) -> list[Any]:
    told = [*sealer.got(Opened), *sealer.got(GrantsChanged)]
    return list(told[-1].grants)


def test_nothing_is_granted_unsigned_and_the_attempt_is_on_record(sealer: SealerProcess) -> None:
    answer = bypass(sealer)
    assert refused(answer) == "approval.required/not_enough"
    assert answer.details["needed"] == 2
    again = bypass(sealer, expires_at=answer.details["expires_at"], approval_id=answer.details["ceremony"])
    assert refused(again) == "approval.required/other_payload"
    made_up = bypass(sealer, approval_id="ab" * 16)
    assert refused(made_up) == "approval.required/unknown_ceremony"
    forged = sealer.administer("approval.submit", ceremony=answer.details["ceremony"], signature="alice says yes")
    assert refused(forged).startswith("verification.failed/")
    assert granted(sealer) == []
    tried = [leaf for leaf in leaves_of(sealer.state) if leaf["kind"] == "refused"]
    assert [(leaf["request"]["method"], leaf["reason"]) for leaf in tried] == [
        ("admin.bypass", "not_enough"),
        ("admin.bypass", "other_payload"),
        ("admin.bypass", "unknown_ceremony"),
        ("approval.submit", tried[3]["reason"]),
    ]
    assert all(leaf["request"]["peer"]["uid"] == ME for leaf in tried)


def test_his_own_key_does_not_count_for_what_he_asks(sealer: SealerProcess) -> None:
    ends = soon()
    ceremony = bypass(sealer, expires_at=ends).details["ceremony"]
    assert refused(approve(sealer, ceremony, "mallory")[0]) == "approval.required/own_approval"
    assert result(approve(sealer, ceremony, "bob", "bob")[1])["approvals"] == ["bob"]  # nor one key twice
    assert refused(bypass(sealer, expires_at=ends, approval_id=ceremony)) == "approval.required/not_enough"
    approve(sealer, ceremony, "alice")
    made = result(bypass(sealer, expires_at=ends, approval_id=ceremony))
    assert made["expires_at"] == ends
    told = [message for message in sealer.said if isinstance(message, AdminAnswer | GrantsChanged)]
    assert isinstance(told[-2], GrantsChanged)  # the front end knows before who asked is told that it is done
    assert [(grant.tenant, grant.subject) for grant in granted(sealer)] == [("local", "gold")]
    (leaf,) = [leaf for leaf in leaves_of(sealer.state) if leaf["kind"] == "admin"]
    assert (leaf["act"], leaf["by"], leaf["ceremony"]) == ("admin.bypass", f"uid:{ME}", ceremony)


def test_an_approval_is_used_once_and_for_nothing_else(sealer: SealerProcess) -> None:
    digest, ends = "sha256:" + "ab" * 32, soon()
    order = {"digest": digest, "reason": "the vendor's word", "expires_at": ends}
    ceremony = sealer.administer("admin.approve_release", **order).details["ceremony"]
    approve(sealer, ceremony, "bob")
    wrong = [
        bypass(sealer, expires_at=ends, approval_id=ceremony),
        sealer.administer("keys.revoke", key="file:default", reason="mine", approval_id=ceremony),
        sealer.administer("admin.approve_release", **{**order, "digest": "sha256:" + "cd" * 32}, approval_id=ceremony),
        sealer.administer("admin.approve_release", **{**order, "expires_at": ends + 1}, approval_id=ceremony),
        sealer.administer("admin.approve_release", **order, tenant="local", approval_id=ceremony),
    ]
    assert [refused(answer).partition("/")[2] for answer in wrong] == [
        "other_operation",
        "other_operation",
        "other_payload",
        "other_payload",
        "other_payload",
    ]
    result(sealer.administer("admin.approve_release", **order, approval_id=ceremony))
    replayed = sealer.administer("admin.approve_release", **order, approval_id=ceremony)
    assert refused(replayed) == "approval.required/used"
    assert len(granted(sealer)) == 1


def test_a_signature_for_a_file_or_for_another_daemon_is_no_approval(sealer: SealerProcess, tmp_path: Path) -> None:
    ceremony = bypass(sealer).details["ceremony"]
    assert refused(approve(sealer, ceremony, "bob", namespace="file")[0]).startswith("verification.failed/")
    other = SealerProcess(tmp_path / "other", guarded(tmp_path / "other"))
    try:
        other.open()
        theirs = bypass(other).details["ceremony"]
        message = result(other.administer("approval.describe", ceremony=theirs))["message"]
        signature = SIGNERS["bob"].sign(message, NAMESPACE)
        answer = sealer.administer("approval.submit", ceremony=ceremony, signature=signature)
        assert refused(answer).startswith("verification.failed/")
        moved = sealer.administer("approval.submit", ceremony=theirs, signature=signature)
        assert refused(moved) == "approval.required/unknown_ceremony"
    finally:
        other.close()


@pytest.mark.parametrize(("ahead", "reason"), [(25 * HOUR_MS, "over_cap"), (-1, "expires_at")])
def test_no_approval_lifts_the_cap(sealer: SealerProcess, ahead: int, reason: str) -> None:
    ends = int(time.time() * 1000) + ahead
    assert refused(bypass(sealer, expires_at=ends)) == f"request.malformed/{reason}"
    release = sealer.administer(
        "admin.approve_release", digest="sha256:" + "ab" * 32, reason="mine", expires_at=ends + 7 * 24 * HOUR_MS
    )
    assert refused(release) == ("request.malformed/over_cap" if ahead > 0 else "approval.required/not_enough")
    assert sum(leaf["kind"] == "approval" for leaf in leaves_of(sealer.state)) == (0 if ahead > 0 else 1)


def test_suspending_a_key_waits_for_nobody_but_lifting_it_may(tmp_path: Path) -> None:
    approvals = msgspec.structs.replace(APPROVALS, operations={"keys.resume": 1})
    sealer = SealerProcess(tmp_path / "state", guarded(tmp_path / "state", approvals))
    try:
        sealer.open()
        (row,) = result(sealer.administer("keys.suspend", key="file:default", reason="stolen?"))["keys"]
        assert row["status"] == "suspended"
        back = sealer.administer("keys.resume", key="file:default", reason="mine")
        assert refused(back) == "approval.required/not_enough"
    finally:
        sealer.close()


@pytest.mark.parametrize(
    ("method", "uid"), [("keys.suspend", ME + 7), ("sign.dsse", ME), ("keys.list", ME), ("no.such", ME)]
)
def test_a_broken_front_end_that_names_a_stranger_or_another_method_loses_its_link(
    sealer: SealerProcess, method: str, uid: int
) -> None:
    params = msgspec.msgpack.encode({"key": "file:default", "reason": "mine"})
    sealer.send(AdminCall(9, method, params, uid, 0))
    assert sealer.ended()
    assert not sealer.got(AdminAnswer)
    assert sealer.status() == 0
    assert [leaf["reason"] for leaf in leaves_of(sealer.state) if leaf["kind"] == "refused"] == ["admin_call"]


def test_where_the_admin_socket_is_off_no_front_end_can_order_anything(tmp_path: Path) -> None:
    sealer = SealerProcess(tmp_path / "state")
    try:
        sealer.open()
        params = msgspec.msgpack.encode({"key": "file:default", "reason": "mine"})
        sealer.send(AdminCall(1, "keys.revoke", params, ME, 0))
        assert sealer.ended()
        assert not any(leaf["kind"] == "ring" and leaf["change"] == "revoke" for leaf in leaves_of(sealer.state))
    finally:
        sealer.close()


def test_what_is_no_params_of_a_method_is_refused_and_harms_nothing(sealer: SealerProcess) -> None:
    for number, params in enumerate((b"", b"\xc1", b"\x91" * 600, b"\x81\xa3key\xc0", b"\x80")):
        sealer.send(AdminCall(100 + number, "keys.revoke", params, ME, -5))
    sealer.wait(lambda: len(sealer.got(AdminAnswer)) == 5)
    assert {answer.error.code for answer in sealer.got(AdminAnswer) if answer.error} == {"request.malformed"}
    assert result(sealer.administer("keys.versions"))["keys"][0]["status"] == "active"


def test_a_grant_that_no_leaf_backs_is_none_and_one_with_a_leaf_outlives_a_crash(tmp_path: Path) -> None:
    approvals = msgspec.structs.replace(APPROVALS, operations={})
    first = SealerProcess(tmp_path / "state", guarded(tmp_path / "state", approvals))
    first.open()
    result(bypass(first))
    first.process.kill()
    assert first.ended()
    first.close()
    again = SealerProcess(tmp_path / "state", guarded(tmp_path / "state", approvals))
    try:
        again.open()
        assert [(grant.kind, grant.tenant, grant.subject) for grant in granted(again)] == [("bypass", "local", "gold")]
    finally:
        again.close()


def test_the_socket_is_closed_to_other_users(tmp_path: Path) -> None:
    file = configuration(tmp_path, {}).replace("[limits]", "[sockets.admin]\n[limits]")
    daemon = Running(tmp_path, config=file)
    try:
        daemon.wait_ready()
        path = daemon.socket.with_name("admin.sock")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with Client(path) as client:  # what the kernel says of us is that we are the daemon's own user
            hello = client.greet()
            assert hello is not None
            assert "keys.rotate" in hello["methods"]
            assert "sign.dsse" not in hello["methods"]
    finally:
        daemon.close()


def test_a_named_group_opens_the_file_and_nothing_more(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getegid()).gr_name
    listening = bind(tmp_path / "run" / "admin.sock", 0o660, group)
    try:
        found = (tmp_path / "run" / "admin.sock").stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, os.getegid())
    finally:
        listening.close()


def test_another_uid_is_refused_by_the_kernels_word(tmp_path: Path) -> None:
    text = configuration(tmp_path, {}).replace("[limits]", f"[sockets.admin]\nuids = [{ME + 1}]\n[limits]")
    daemon = Running(tmp_path, config=text)
    try:
        daemon.wait_ready()
        with Client(daemon.socket.with_name("admin.sock")) as client:
            last = client.take()
            assert last is not None
            assert (last["code"], last["details"]["reason"]) == ("auth.peer_denied", "uid_not_let_in")
    finally:
        daemon.close()
