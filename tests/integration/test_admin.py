"""The admin plane of a real daemon: keys are ordered about while it signs, exceptions show in receipts, approvals are
made with OpenSSH; and the same by ``signerd keys`` on a stopped daemon's state."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running.client import ARTEFACT, SBOM, SBOM_TYPE, Client, verified
from running.configured import configuration
from running.daemon import RELEASE, Running

PROGRAM = Path(sys.executable).parent / "signerd"
UNKNOWN = "sha256:" + "cd" * 32
HOUR_MS = 3_600_000


def administered(base: Path, more: str = "") -> str:
    return configuration(base, {}).replace("[limits]", f"[sockets.admin]\n{more}[limits]")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path, config=administered(tmp_path))
    try:
        yield made.wait_ready()
    finally:
        made.close()


def admin(daemon: Running) -> Client:
    client = Client(daemon.socket.with_name("admin.sock"))
    assert client.greet() is not None
    return client


def order(release: str = RELEASE) -> dict[str, Any]:
    return {
        "subject": [{"name": "a", "digest": {"sha256": ARTEFACT}}],
        "predicate_type": SBOM_TYPE,
        "predicate": SBOM,
        "scanner_image_digest": release,
    }


def signed(daemon: Running, release: str = RELEASE) -> dict[str, Any]:
    with Client(daemon.socket) as client:
        client.greet()
        return client.call("sign.dsse", order(release))


def keyid(answer: dict[str, Any]) -> str:
    found: str = answer["result"]["signing_identity"][0]["keyid"]
    return found


def run(daemon: Running, *arguments: str, status: int = 0) -> Any:
    command = [PROGRAM, *arguments, "--state", daemon.state, "--output", "json"]
    command += ["--config", daemon.base / "signerd.toml", "--socket", daemon.socket.with_name("admin.sock")]
    done = subprocess.run(list(map(os.fspath, command)), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout) if status == 0 and done.stdout else done.stderr


def test_a_key_is_rotated_suspended_and_revoked_under_a_signing_daemon(daemon: Running) -> None:
    first = signed(daemon)
    with admin(daemon) as client:
        why = {"key": "file:default", "reason": "a year has gone by"}
        new, old = client.result("keys.rotate", why)["keys"]
        assert (new["version"], new["status"], old["version"]) == (2, "active", 1)
        assert keyid(first) == old["keyid"]
        second = signed(daemon)
        assert keyid(second) == new["keyid"]
        client.result("keys.suspend", why)
        assert signed(daemon)["code"] == "key.suspended"
        client.result("keys.resume", why)
        assert keyid(signed(daemon)) == new["keyid"]
        (gone,) = client.result("keys.revoke", {**why, "cause": "compromised"})["keys"]
        assert (gone["status"], gone["cause"]) == ("revoked", "compromised")
        assert signed(daemon)["code"] == "key.revoked"
        changes = client.result("keys.history", {"key": "file:default"})["changes"]
        assert [change["change"] for change in changes] == [
            "generate", "rotate", "rotate", "suspend", "resume", "revoke",
        ]  # fmt: skip
        assert {change.get("by") for change in changes[1:]} == {f"uid:{os.geteuid()}"}
        assert client.result("keys.history", {})["changes"] == changes
        published = client.result("keys.publish", {})
        revoked = json.loads(published["revocations"])["revoked"]
        assert [entry["version"] for entry in revoked] == [2]
        assert client.error("keys.rotate", {**why, "key": "file:other"})["code"] == "key.not_found"
        records = client.result("audit.query", {"filters": {}, "limit": 200})["records"]
        kinds = [json.loads(record["leaf"])["kind"] for record in records]
        assert (kinds.count("ring"), "decided" in kinds, "start" in kinds) == (len(changes), True, True)


def test_a_bypass_stands_in_every_receipt_under_it(daemon: Running) -> None:
    with admin(daemon) as client:
        ends = int(time.time() * 1000) + HOUR_MS
        bypass = {"tenant": "local", "plan": "gold", "reason": "licence server down", "expires_at": ends}
        assert client.result("admin.bypass", bypass)["expires_at"] == ends
    result = signed(daemon)["result"]
    assert result["receipt"]["decision"]["plan"] == "gold"
    assert result["receipt"]["decision"]["degraded"] == ["bypass"]
    # It replaces the entitlement source and nothing else.
    assert signed(daemon, UNKNOWN)["code"] == "release.untrusted"


def test_an_approved_release_is_the_last_resort_and_the_record_says_so(daemon: Running) -> None:
    assert signed(daemon, UNKNOWN)["code"] == "release.untrusted"
    with admin(daemon) as client:
        approval = {"digest": UNKNOWN, "reason": "vendor's call", "expires_at": int(time.time() * 1000) + HOUR_MS}
        client.result("admin.approve_release", approval)
    decision = signed(daemon, UNKNOWN)["result"]["receipt"]["decision"]
    assert (decision["release"]["how"], decision["degraded"]) == ("approval", ["release_approved"])
    assert signed(daemon)["result"]["receipt"]["decision"]["release"]["how"] == "allowlist"


def test_what_waits_for_nobody_is_unsupported_and_a_reload_reloads(daemon: Running) -> None:
    with admin(daemon) as client:
        for what in ("clock", "rollback"):
            error = client.error("admin.confirm", {"what": what, "reason": "seen"})
            assert (error["code"], error["details"]["name"]) == ("request.unsupported", what)
        assert client.result("admin.confirm", {"what": "pin", "reason": "seen"}) == {"backends": []}
        file = daemon.base / "signerd.toml"
        file.write_text(file.read_text().replace(RELEASE, UNKNOWN).replace("[limits]", "[limits]\nsubjects = 9"))
        assert client.result("admin.reload", {"reason": "new release"}) == {"waiting": ["limits"]}
        file.write_text("nonsense")
        assert client.error("admin.reload", {})["details"]["reason"] == "configuration"
    assert "result" in signed(daemon, UNKNOWN)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen (package openssh-client)")
def test_two_people_approve_with_openssh_and_it_runs_once(tmp_path: Path) -> None:
    approvers = ""
    for name in ("alice", "bob"):
        key = tmp_path / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        public = key.with_suffix(".pub").read_text().strip()
        approvers += f'[[approvals.approvers]]\nname = "{name}"\nkey = "{public}"\n'
    approvals = f'[approvals]\noperations = {{ "keys.rotate" = 2 }}\n{approvers}'
    daemon = Running(tmp_path, config=administered(tmp_path, approvals))
    try:
        daemon.wait_ready()
        before = keyid(signed(daemon))
        rotate = ["keys", "rotate", "file:default", "--reason", "planned"]
        said = run(daemon, *rotate, status=3)
        (waiting,) = run(daemon, "approve")
        ceremony = waiting["ceremony"]
        assert (waiting["state"], waiting["needed"], ceremony in said) == ("open", 2, True)
        assert run(daemon, "approve", ceremony, "--key", str(tmp_path / "alice"))[0]["approvals"] == ["alice"]
        assert "not_enough" in run(daemon, *rotate, "--approval", ceremony, status=3)
        message = subprocess.run(
            [PROGRAM, "approve", ceremony, "--print", "--socket", daemon.socket.with_name("admin.sock"), "--state",
             daemon.state],
            capture_output=True, check=True, timeout=60,
        ).stdout  # fmt: skip
        (tmp_path / "message").write_bytes(message)
        sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "approval@signerd", "-f", "bob", "message"]
        subprocess.run(sign, cwd=tmp_path, check=True, capture_output=True)
        done = run(daemon, "approve", ceremony, "--signature", str(tmp_path / "message.sig"))
        assert (done[0]["state"], done[0]["approvals"]) == ("approved", ["alice", "bob"])
        assert "other_payload" in run(daemon, *rotate[:-1], "another", "--approval", ceremony, status=3)
        assert run(daemon, *rotate, "--approval", ceremony)[0]["version"] == 2
        assert keyid(signed(daemon)) != before
        assert "used" in run(daemon, *rotate, "--approval", ceremony, status=3)
    finally:
        daemon.close()


def test_the_same_commands_on_a_stopped_daemons_state(daemon: Running, tmp_path: Path) -> None:
    first = signed(daemon)
    (row,) = run(daemon, "keys", "list")
    assert (row["status"], row["keyid"]) == ("active", keyid(first))
    assert daemon.terminate() == 0
    assert run(daemon, "keys", "list", "file:default") == [row]
    assert run(daemon, "keys", "rotate", "file:default", "--reason", "stopped")[0]["version"] == 2
    assert [change["change"] for change in run(daemon, "keys", "history")] == ["generate", "rotate", "rotate"]
    out = tmp_path / "published"
    command = [PROGRAM, "keys", "publish", "--out", out, "--state", daemon.state]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    assert sorted(file.name for file in out.iterdir()) == ["jwks.json", "revocations.json", "trusted_root.json"]
    kids = {key["kid"] for key in json.loads((out / "jwks.json").read_bytes())["keys"]}
    assert keyid(first) in kids
    assert "no_such_key" in run(daemon, "keys", "suspend", "file:no", "--reason", "x", status=4)
    again = Running(tmp_path, config=administered(tmp_path))
    try:
        again.wait_ready()
        assert keyid(signed(again)) in kids - {keyid(first)}
    finally:
        again.close()


def test_a_running_daemon_without_the_socket_names_the_setting(tmp_path: Path) -> None:
    daemon = Running(tmp_path)
    try:
        daemon.wait_ready()
        command = [PROGRAM, "keys", "list", "--state", daemon.state]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 3
        assert "[sockets.admin]" in done.stderr
        assert not daemon.socket.with_name("admin.sock").exists()
    finally:
        daemon.close()


def test_a_kill_in_the_middle_of_a_rotation_leaves_ring_and_log_equal(daemon: Running) -> None:
    for _ in range(3):
        sealer = daemon.child("sealer")
        with admin(daemon) as client:
            client.ask("keys.rotate", {"key": "file:default", "reason": "killed"})
            os.kill(sealer, 9)
            client.take()  # an answer, or that nobody knows
        daemon.child("sealer", other_than=sealer)
    deadline = time.monotonic() + 20
    while "result" not in (answer := signed(daemon)) and time.monotonic() < deadline:
        time.sleep(0.05)
    with admin(daemon) as client:
        versions = client.result("keys.versions", {"key": "file:default"})["keys"]
    with sqlite3.connect(f"file:{daemon.state}/ring.sqlite?mode=ro", uri=True) as ring:
        rows = dict(ring.execute("SELECT version, keyid FROM ring WHERE key = 'file:default'"))
    logged: dict[int, str] = {}
    for leaf in daemon.leaves():
        said = json.loads(bytes(leaf["leaf"]))  # type: ignore[call-overload]  # a blob
        if said["kind"] == "ring":
            logged[said["entry"]["version"]] = said["entry"]["keyid"]
    assert rows == logged == {row["version"]: row["keyid"] for row in versions}
    assert keyid(answer) == rows[max(rows)]
    (newest,) = [row for row in versions if row["version"] == max(rows)]
    with Client(daemon.socket) as client:
        client.greet()
        described = client.result("keys.describe", {"key": newest["keyid"]})
    assert verified(answer["result"]["bundles"][0], described["spki"])
