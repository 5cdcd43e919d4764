"""Approval by user presence with a real daemon, the FIDO2 plugin and an authenticator of software."""

import asyncio
import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.fido2_device import SoftAuthenticator
from running.callers import request
from running.configured import records, until
from running.daemon import Running, running
from running.touching import ORIGIN, RP_ID, touching
from signerd.attestation.dsse import pae, parse_envelope
from signerd.errors import SignerdError
from signerd.verification.fido2 import Credential, verify_assertion
from signerd.wire.params import Options
from signerd_client import Approval, AsyncSigner, Signer, SignRequest
from signerd_client.presence import approval_of
from signerd_client.results import Signed
from signerd_key_fido2.backend import Fido2Backend

Plugged = tuple[Running, SoftAuthenticator]


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugged]:
    with touching(tmp_path_factory.mktemp("presence")) as started:
        yield started


@pytest.fixture
def signer(plugged: Plugged) -> Iterator[Signer]:
    with Signer.connect(plugged[0].socket) as connected:
        yield connected


def refused(signer: Signer, asked: SignRequest) -> SignerdError:
    with pytest.raises(SignerdError) as caught:
        signer.sign_dsse(asked)
    return caught.value


def begin(signer: Signer, asked: SignRequest) -> Approval:
    approval = approval_of(refused(signer, asked))
    assert approval is not None
    return approval


def finish(signer: Signer, asked: SignRequest, approval: Approval, seconds: float = 20) -> Signed:
    """Repeat the request until it is signed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            return signer.sign_dsse(replace(asked, approval_id=approval.approval_id))
        except SignerdError as error:
            if approval_of(error) != approval:
                raise
        time.sleep(0.02)
    raise AssertionError("nobody touched it")


def leaves(daemon: Running, kind: str) -> list[dict[str, object]]:
    return [json.loads(bytes(row["leaf"])) for row in daemon.leaves() if row["kind"] == kind]  # type: ignore[call-overload]  # a blob


def enveloped(number: int, *keys: str) -> SignRequest:
    options = Options(include=("envelope",), keys=keys) if keys else Options(include=("envelope",))
    return replace(request(number), options=options)


def test_a_touch_has_the_same_request_signed_and_stands_beside_the_signature(plugged: Plugged, signer: Signer) -> None:
    daemon, device = plugged
    asked = enveloped(1)
    error = refused(signer, asked)
    assert (error.code, error.reason, error.retryable, error.retry_after_ms) == (
        "key.presence_required",
        "touch",
        True,
        1000,
    )
    approval = approval_of(error)
    assert approval is not None
    assert approval.key == "fido2:alice"
    assert 0 < approval.expires_at - time.time() * 1000 <= 60_000
    assert begin(signer, replace(asked, approval_id=approval.approval_id)) == approval, "nobody has touched it yet"
    device.touch()
    signed = finish(signer, asked, approval)

    described = signer.describe("fido2:alice")
    assert (described.algorithm, described.uses, described.verify_command) == ("FIDO2-ES256", ("approval",), ())
    assert signer.describe("file:release").presence == "fido2:alice"
    assert signed.envelope is not None
    envelope = parse_envelope(signed.envelope)
    first, second = envelope.signatures
    message = pae(envelope.payload_type, envelope.payload)
    credential = Credential(bytes(described.spki), RP_ID, ORIGIN, user_verification=False)
    assertion = verify_assertion(second.sig, hashlib.sha256(message).digest(), credential, 0)
    assert second.keyid == f"fido2:{described.keyid}"
    given = signed.result.presence
    assert given
    assert (given.approval_id, given.key, given.keyid) == (approval.approval_id, "fido2:alice", second.keyid)
    assert (given.counter, given.assertion) == (assertion.counter, second.sig)
    bundle = json.loads(signed.bundles[0])["dsseEnvelope"]
    assert [base64.b64decode(each["sig"]) for each in bundle["signatures"]] == [first.sig]

    (decided,) = [leaf for leaf in leaves(daemon, "decided") if leaf["audit_id"] == signed.result.receipt.audit_id]
    assert decided["presence"] == {
        "approval_id": approval.approval_id,
        "assertion_sha256": hashlib.sha256(second.sig).hexdigest(),
        "counter": assertion.counter,
        "key": "fido2:alice",
        "keyid": described.keyid,
    }
    (accepted,) = [leaf for leaf in leaves(daemon, "presence") if leaf["approval_id"] == approval.approval_id]
    assert base64.b64decode(str(accepted["assertion"])) == second.sig
    until(lambda: {"".join(ends) for ends in records(daemon).values()} == {"refused", "signed"})


def test_the_blocking_client_waits_for_the_touch(plugged: Plugged, signer: Signer) -> None:
    _, device = plugged
    told = []

    def tell(approval: Approval) -> None:
        told.append(approval)
        device.touch()

    signed = signer.sign_dsse(request(2), wait_for_presence=True, on_presence=tell)
    assert signed.result.presence
    assert [approval.approval_id for approval in told] == [signed.result.presence.approval_id]


def test_the_async_client_waits_and_others_are_served_meanwhile(plugged: Plugged) -> None:
    daemon, device = plugged

    async def run() -> None:
        async with AsyncSigner.connect(daemon.socket) as signer:
            told = asyncio.Event()
            waiting = asyncio.create_task(
                signer.sign_dsse(request(3), wait_for_presence=True, on_presence=lambda _: told.set())
            )
            await told.wait()
            other = await signer.sign_dsse(replace(request(4), options=Options(keys=("file:plain",))))
            assert not other.result.presence
            assert not waiting.done()
            device.touch()
            assert (await waiting).result.presence

    asyncio.run(run())


def test_the_command_waits_or_says_how_to_repeat(plugged: Plugged, tmp_path: Path) -> None:
    daemon, device = plugged
    (tmp_path / "app").write_bytes(b"app")
    (tmp_path / "sbom.json").write_bytes(bytes(request().predicate))
    command = [
        Path(sys.executable).parent / "signerctl",
        "sign",
        "sbom",
        tmp_path / "sbom.json",
        "--socket",
        daemon.socket,
        "--release",
        daemon.release,
        "--subject",
        tmp_path / "app",
        "--out",
        tmp_path / "bundle.json",
    ]

    def run(*more: str) -> tuple[int, str]:
        with subprocess.Popen([*command, *more], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if line.startswith("touch the key"):
                    device.touch()
            return process.wait(30), said

    status, said = run()
    assert status == 10
    approval = said.split("approval ")[1].split(":")[0]
    assert f"approval {approval}: touch the key fido2:alice within" in said
    assert not (tmp_path / "bundle.json").exists()
    device.touch()
    until(lambda: approval in [str(leaf["approval_id"]) for leaf in leaves(daemon, "presence")])
    assert run("--approval", approval)[0] == 0
    (tmp_path / "bundle.json").unlink()
    status, said = run("--wait")
    assert status == 0, said
    assert said.startswith("touch the key fido2:alice within")
    assert (tmp_path / "bundle.json").exists()
    assert run("--approval", approval)[0] == 2


def test_other_bytes_other_keys_and_unknown_approvals_are_a_conflict(signer: Signer, plugged: Plugged) -> None:
    _, device = plugged
    approval = begin(signer, request(5))

    def repeated(asked: SignRequest, approval_id: str = approval.approval_id) -> tuple[str, str]:
        error = refused(signer, replace(asked, approval_id=approval_id))
        return error.code, error.reason

    assert repeated(request(6)) == ("request.conflict", "other_request")
    assert repeated(replace(request(5), options=Options(keys=("file:plain",)))) == ("request.conflict", "other_request")
    assert repeated(request(5), "00" * 16) == ("request.conflict", "unknown_approval")
    device.touch()
    finish(signer, request(5), approval)
    assert repeated(request(5)) == ("request.conflict", "unknown_approval"), "it is used once"


def test_the_credential_itself_signs_nothing(signer: Signer) -> None:
    error = refused(signer, enveloped(7, "fido2:alice"))
    assert (error.code, error.reason) == ("key.forbidden", "approval_only")


def test_one_touch_approves_all_keys_of_a_request(plugged: Plugged, signer: Signer) -> None:
    _, device = plugged
    asked = enveloped(8, "file:plain", "file:release")
    approval = begin(signer, asked)
    device.touch()
    signed = finish(signer, asked, approval)
    assert signed.envelope is not None
    keyids = [str(each.keyid) for each in parse_envelope(signed.envelope).signatures]
    assert [keyid.startswith("fido2:") for keyid in keyids] == [False, False, True]
    assert len(signed.bundles) == 2


@pytest.mark.parametrize("profile", ["dsse", "cose"])
def test_the_other_profiles_are_approved_in_the_same_way(plugged: Plugged, signer: Signer, profile: Any) -> None:
    _, device = plugged
    asked = replace(request(12), options=Options(profile=profile))
    signed = signer.sign_dsse(asked, wait_for_presence=True, on_presence=lambda _: device.touch())
    assert signed.result.presence
    if profile == "dsse":
        assert signed.envelope is not None
        assert str(parse_envelope(signed.envelope).signatures[-1].keyid).startswith("fido2:")


def test_each_item_of_a_batch_has_an_approval_of_its_own(plugged: Plugged, signer: Signer) -> None:
    _, device = plugged
    asked = [request(9), replace(request(10), options=Options(keys=("file:plain",))), request(11)]
    outcomes = signer.sign_batch(asked)
    assert [outcome.signed is not None for outcome in outcomes] == [False, True, False]
    approvals = [approval_of(outcome.error) for outcome in outcomes if outcome.error is not None]
    assert len({approval.approval_id for approval in approvals if approval}) == 2
    for item, approval in zip((asked[0], asked[2]), approvals, strict=True):
        assert approval is not None
        device.touch()
        assert finish(signer, item, approval).result.presence


def test_why_nobody_touched_it_is_told_once(tmp_path: Path) -> None:
    with touching(tmp_path, touch_s=1) as (daemon, device), Signer.connect(daemon.socket) as signer:
        approval = begin(signer, request())
        asked = replace(request(), approval_id=approval.approval_id)
        until(lambda: approval_of(refused(signer, asked)) is None and device.cancelled == 1, 20)
        assert refused(signer, asked).reason == "unknown_approval", "it was told, and is over"


def test_what_is_touched_too_late_is_thrown_away(tmp_path: Path) -> None:
    with touching(tmp_path, presence_s=0.5) as (daemon, device), Signer.connect(daemon.socket) as signer:
        approval = begin(signer, request())
        until(lambda: time.time() * 1000 > approval.expires_at, 20)
        device.touch()
        error = refused(signer, replace(request(), approval_id=approval.approval_id))
        assert (error.code, error.reason) == ("key.presence_required", "approval_expired")
        assert leaves(daemon, "presence") == []


def test_an_authenticator_that_is_pulled_out_ends_the_approval(tmp_path: Path) -> None:
    with touching(tmp_path) as (daemon, device), Signer.connect(daemon.socket) as signer:
        approval = begin(signer, request())
        device.wait_asked(3)
        device.hang_up()
        asked = replace(request(), approval_id=approval.approval_id)
        found = []

        def lost() -> bool:
            error = refused(signer, asked)
            found.append((error.code, error.reason))
            return approval_of(error) is None

        until(lost, 20)
        assert found[-1] == ("key.backend_unavailable", "device_lost")


def kill_sealer(daemon: Running) -> None:
    pid = daemon.child("sealer")
    os.kill(pid, signal.SIGKILL)
    daemon.child("sealer", other_than=pid)


def reconnected(daemon: Running, asked: SignRequest) -> SignerdError:
    """Ask until the new sealer says something of the request itself."""
    found: list[SignerdError] = []

    def told() -> bool:
        with Signer.connect(daemon.socket) as signer:
            found.append(refused(signer, asked))
        return found[-1].code not in ("audit.unavailable", "key.backend_unavailable", "key.not_found")

    until(told, 20)
    return found[-1]


@pytest.mark.parametrize("when", ["pending", "asserted"])
def test_a_sealer_that_is_killed_forgets_the_approval_and_not_the_counter(tmp_path: Path, when: str) -> None:
    with touching(tmp_path) as (daemon, device):
        with Signer.connect(daemon.socket) as signer:
            approval = begin(signer, request())
            if when == "asserted":
                device.touch()
                until(lambda: bool(leaves(daemon, "presence")))
        kill_sealer(daemon)
        error = reconnected(daemon, replace(request(), approval_id=approval.approval_id))
        assert (error.code, error.reason) == ("request.conflict", "unknown_approval")
        with Signer.connect(daemon.socket) as signer:
            again = begin(signer, request())
            assert again.approval_id != approval.approval_id
            device.touch()
            signed = finish(signer, request(), again)
        assert signed.result.presence
        counters = [leaf["counter"] for leaf in leaves(daemon, "presence")]
        assert counters == sorted(counters)
        assert counters[-1] == signed.result.presence.counter
        until(lambda: all(len(ends) == 1 for ends in records(daemon).values()))


def test_a_sealer_that_is_killed_with_the_decision_on_the_record_has_used_the_approval_up(tmp_path: Path) -> None:
    with touching(tmp_path) as (daemon, device):
        with Signer.connect(daemon.socket) as signer:
            approval = begin(signer, request())
            device.touch()
            until(lambda: bool(leaves(daemon, "presence")))
            asked = replace(request(), approval_id=approval.approval_id)
            sealer = daemon.child("sealer")
            workers = Path(f"/proc/{sealer}/task/{sealer}/children").read_text().split()
            for worker in workers:
                os.kill(int(worker), signal.SIGSTOP)  # it is decided, and nobody signs
            errors: list[SignerdError] = []
            thread = threading.Thread(target=lambda: errors.append(refused(signer, asked)))
            thread.start()
            until(lambda: bool(leaves(daemon, "decided")))
            kill_sealer(daemon)
            thread.join(20)
            assert errors[0].code == "audit.unavailable", "nobody knows what became of it"
        assert reconnected(daemon, asked).reason == "unknown_approval"
        (decided,) = leaves(daemon, "decided")
        assert records(daemon)[str(decided["audit_id"])] == ["unknown"]


def test_a_copy_of_the_authenticator_is_found_after_a_restart(tmp_path: Path) -> None:
    with touching(tmp_path) as (daemon, device):
        with Signer.connect(daemon.socket) as signer:
            for number in range(2):
                approval = begin(signer, request(number))
                device.touch()
                finish(signer, request(number), approval)
        kill_sealer(daemon)
        reconnected(daemon, replace(request(), approval_id="0"))
        device.counter -= 1  # as its copy counts, which was touched once less
        with Signer.connect(daemon.socket) as signer:
            approval = begin(signer, request(3))
            device.touch()
            asked = replace(request(3), approval_id=approval.approval_id)
            until(lambda: approval_of(refused(signer, asked)) is None, 20)
        until(lambda: "counter did not advance" in daemon.said)
        assert len(leaves(daemon, "presence")) == 2


def test_a_credential_is_rotated_suspended_and_resumed_as_any_key(tmp_path: Path) -> None:
    with touching(tmp_path) as (daemon, device):
        device.touched_at_once = True
        settings = tomllib.loads((tmp_path / "signerd.toml").read_text())["backends"]["touch"]["settings"]
        second = Fido2Backend(settings).enrol("fido2:alice-2", "").description
        assert daemon.terminate() == 0
        state = ["--state", daemon.state, "--config", tmp_path / "signerd.toml", "--reason", "test"]

        def order(*arguments: str) -> None:
            command = [Path(sys.executable).parent / "signerd", "keys", *arguments, *state]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=30)

        order("rotate", "fido2:alice", "--handle", "fido2:alice-2")
        text = (tmp_path / "signerd.toml").read_text()
        with running(tmp_path, config=text) as again, Signer.connect(again.socket) as signer:
            signed = signer.sign_dsse(request(), wait_for_presence=True)
            assert signed.result.presence
            assert signed.result.presence.keyid == f"fido2:{second.keyid}"
        order("suspend", "fido2:alice")
        with running(tmp_path, config=text) as again, Signer.connect(again.socket) as signer:
            assert refused(signer, request()).code == "key.suspended"
        order("resume", "fido2:alice")
        with running(tmp_path, config=text) as again, Signer.connect(again.socket) as signer:
            assert signer.sign_dsse(request(), wait_for_presence=True).result.presence


def test_no_slot_of_the_plan_is_held_while_somebody_looks_for_the_key(tmp_path: Path) -> None:
    plan = """
[plugins.entitlement-file.plans.one]
concurrency = 1
size = 1048576
daily = 10
[plugins.entitlement-file.tenants.local]
plan = "one"
"""
    with touching(tmp_path, plan=plan) as (daemon, _), Signer.connect(daemon.socket) as signer:
        for number in range(3):
            begin(signer, request(number))
        plain = replace(request(4), options=Options(keys=("file:plain",)))
        left = signer.sign_dsse(plain).result.entitlement.remaining
        assert (left.concurrency, left.daily) == (0, 9), "the one slot was free, and what was not signed is not counted"


def test_an_ed25519_credential_by_ctap2_alone(tmp_path: Path) -> None:
    with touching(tmp_path, algorithm="FIDO2-Ed25519") as (daemon, device), Signer.connect(daemon.socket) as signer:
        approval = begin(signer, request())
        device.touch()
        assert finish(signer, request(), approval).result.presence
        assert signer.describe("fido2:alice").algorithm == "FIDO2-Ed25519"
