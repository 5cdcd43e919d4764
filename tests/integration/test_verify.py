"""``verify.bundle`` and ``verify.batch`` of a real daemon, with a trusted root and policies of its own."""

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from fakes.sigstore import ISSUER, SAN, Sigstore
from outside.signed import ARTIFACT, TYPE, Key, statement
from running.client import SBOM_TYPE, Client, memfd
from running.configured import configuration, until
from running.daemon import Running, running
from signerd.attestation.bundle import LARGEST_BUNDLE, keyful_bundle
from signerd.attestation.dsse import encode_base64, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement
from signerd.errors import SignerdError
from signerd_client import AsyncSigner, Signer, VerifyOutcome, VerifyRequest

STACK = Sigstore()
DIGEST = hashlib.sha256(ARTIFACT).hexdigest()
KEY = Key()
IDENTITY = {"san": SAN, "issuer": ISSUER}


def keyful(key: Key = KEY, payload: bytes | None = None) -> bytes:
    payload = payload or statement()
    return keyful_bundle(encode_base64(payload), PAYLOAD_TYPE, key.sign(pae(PAYLOAD_TYPE, payload)), key.hint)


def keyless() -> bytes:
    return json.dumps(STACK.keyless(statement())).encode()


def policy(name: str, **more: Any) -> bytes:
    signers = {"trustedKeyFingerprints": [f"sha256:{hashlib.sha256(KEY.spki).hexdigest()}"], **more.pop("signers", {})}
    return json.dumps(
        {"policyId": name, "version": "1.0.0", "predicateTypes": [TYPE], "signerRequirements": signers, **more}
    ).encode()


def placed(base: Path) -> str:
    """A configuration with a trusted root and three policies."""
    (base / "root.json").write_bytes(STACK.trusted_root())
    texts = [policy("ours"), policy("theirs", tenantScope="umbra"), policy("logged", signers={"requireRekor": True})]
    for index, text in enumerate(texts):
        (base / f"policy{index}.json").write_bytes(text)
    named = ", ".join(f'"{base}/policy{index}.json"' for index in range(len(texts)))
    return configuration(base, {}) + f'[verification]\ntrusted_root = "{base}/root.json"\npolicies = [{named}]\n'


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("verifying")
    with running(base, config=placed(base)) as started:
        yield started


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in result["checks"]}


def by_key(**more: Any) -> dict[str, Any]:
    return {"bundle": keyful(), "key": KEY.pem.decode(), **more}


def test_what_the_daemon_signed_it_verifies(client: Client, sbom: dict[str, Any]) -> None:
    signed = client.result("sign.dsse", sbom)["bundles"][0]
    key = client.result("keys.describe", {"key": "file:default"})
    params = {"bundle": signed, "key": key["public_key_pem"], "predicate_type": SBOM_TYPE}
    subject = sbom["subject"][0]["digest"]["sha256"]
    result = client.result("verify.bundle", {**params, "artifact_sha256": subject})
    assert result["verified"] is True
    assert (result["keyid"], result["predicate_type"]) == (key["keyid"], SBOM_TYPE)
    assert result["transparency"] == "skipped"
    assert outcomes(result)["subject"] == "passed"
    assert len(result["rationale"]) == len(result["checks"])
    other = client.result("verify.bundle", {**params, "artifact_sha256": "0" * 64})
    assert other["verified"] is False
    assert "keyid" not in other
    assert "subject failed (subject_mismatch)" in " ".join(other["rationale"])


def test_an_identity_is_held_against_the_trusted_root(client: Client) -> None:
    result = client.result("verify.bundle", {"bundle": keyless(), "identity": IDENTITY, "artifact_sha256": DIGEST})
    assert result["verified"] is True
    assert result["identity"] == IDENTITY
    assert result["transparency"] == "passed"
    assert len(result["times"]) == 1
    for lie in ({**IDENTITY, "san": "https://somebody.else"}, {**IDENTITY, "issuer": "https://issuer.else"}):
        assert client.result("verify.bundle", {"bundle": keyless(), "identity": lie})["verified"] is False


def test_a_bundle_cannot_vouch_for_itself(client: Client) -> None:
    assert client.error("verify.bundle", {"bundle": keyless()})["details"] == {
        "reason": "missing_field",
        "field": "key",
    }
    stranger = Key()
    result = client.result("verify.bundle", {"bundle": keyful(stranger), "key": KEY.pem.decode()})
    assert result["verified"] is False


def test_a_policy_of_ones_own_tenant(client: Client) -> None:
    result = client.result("verify.bundle", by_key(policy="ours", artifact_sha256=DIGEST))
    assert result["verified"] is True
    assert (outcomes(result)["tenant_scope"], outcomes(result)["signatures"]) == ("passed", "passed")
    # A fingerprint needs its key: nobody brings it but the caller.
    without = client.result("verify.bundle", {"bundle": keyful(), "policy": "ours"})
    assert without["verified"] is False
    logged = client.result("verify.bundle", by_key(policy="logged"))
    assert (logged["verified"], logged["transparency"]) == (False, "failed")


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no such policy": (by_key(policy="nobody-has-it"), "request.malformed", "policy_unknown"),
    "policy of another tenant": (by_key(policy="theirs"), "request.malformed", "policy_unknown"),
    "type beside a policy": (by_key(policy="ours", predicate_type=TYPE), "request.malformed", "policy_alone"),
    "key and identity": (by_key(identity=IDENTITY), "request.malformed", "key_and_identity"),
    "not a key": ({"bundle": keyful(), "key": "PEM"}, "request.malformed", "key_malformed"),
    "not a digest": (by_key(artifact_sha256="AB" * 32), "request.malformed", "out_of_range"),
    "an unknown key": (by_key(trusted_root=b"{}"), "request.unsupported", "unknown_key"),
    "too large for a frame": (by_key(bundle=bytes(1024 * 1024 + 1)), "request.too_large", "inline_too_large"),
    "a descriptor that is not there": (by_key(bundle={"fd": 0, "size": 1}), "request.malformed", "descriptor_index"),
}


@pytest.mark.parametrize(("params", "code", "reason"), BAD.values(), ids=BAD)
def test_what_is_asked_wrongly_is_refused(params: dict[str, Any], code: str, reason: str, client: Client) -> None:
    error = client.error("verify.bundle", params)
    assert (error["code"], error["details"]["reason"]) == (code, reason)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"{" * 100_000, b'{"mediaType":1}'])
def test_a_bundle_that_is_none_is_an_answer(text: bytes, client: Client) -> None:
    result = client.result("verify.bundle", by_key(bundle=text))
    assert (result["verified"], outcomes(result)) == (False, {"bundle": "failed"})


def large(size: int) -> bytes:
    """A bundle of about ``size`` bytes."""
    predicate = json.dumps({"filler": ["x" * 1000] * (size * 3 // 4 // 1003)}).encode()
    return keyful(payload=build_statement([Subject("artifact", {"sha256": DIGEST})], TYPE, predicate))


def test_a_large_one_comes_by_descriptor(client: Client) -> None:
    text = large(3 * 1024 * 1024)
    params = by_key(bundle={"fd": 0, "size": len(text)}, artifact_sha256=DIGEST)
    with contextlib.closing(os.fdopen(memfd(text))) as file:
        assert client.result("verify.bundle", params, [file.fileno()])["verified"] is True
    with contextlib.closing(os.fdopen(memfd(text, sealed=False))) as file:
        assert client.error("verify.bundle", params, [file.fileno()])["details"]["reason"] == "not_sealed"


def test_above_192_mib_is_refused_by_its_size(client: Client) -> None:
    descriptor = os.memfd_create("bundle", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.closing(os.fdopen(descriptor)) as file:
        os.ftruncate(descriptor, LARGEST_BUNDLE + 1)  # a hole: no memory
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 0xE)
        params = by_key(bundle={"fd": 0, "size": LARGEST_BUNDLE + 1})
        error = client.error("verify.bundle", params, [file.fileno()])
    assert (error["code"], error["details"]["reason"]) == ("request.too_large", "descriptor_size")


def test_a_batch_has_an_outcome_for_each(client: Client) -> None:
    text = large(2 * 1024 * 1024)
    items: list[Any] = [by_key(), 5, by_key(bundle=b"{"), by_key(policy="nobody-has-it")]
    items.append(by_key(bundle={"fd": 0, "size": len(text)}))
    with contextlib.closing(os.fdopen(memfd(text))) as file:
        found = client.result("verify.batch", {"items": items}, [file.fileno()])["outcomes"]
    assert [outcome["index"] for outcome in found] == [0, 1, 2, 3, 4]
    assert [outcome.get("ok", {}).get("verified") for outcome in found] == [True, None, False, None, True]
    assert [outcome.get("error", {}).get("code") for outcome in found] == [
        None, "request.malformed", None, "request.malformed", None,
    ]  # fmt: skip
    assert client.error("verify.batch", {"items": []})["details"]["reason"] == "batch_items"
    many = client.result("verify.batch", {"items": [by_key()] * 256})["outcomes"]
    assert all(outcome["ok"]["verified"] for outcome in many)


def test_the_library(daemon: Running) -> None:
    with Signer.connect(daemon.socket) as signer:
        assert signer.verify_bundle(keyful(), key=KEY.pem.decode(), artifact_sha256=DIGEST).verified
        assert signer.verify_bundle(large(2 * 1024 * 1024), key=KEY.pem.decode()).verified
        assert signer.verify_bundle(keyless(), identity=(SAN, ISSUER), predicate_type=TYPE).verified
        assert not signer.verify_bundle(keyless(), identity=(SAN, ISSUER), predicate_type="other:type").verified
        assert signer.verify_bundle(keyful(), key=KEY.pem.decode(), policy="ours").verified
        with pytest.raises(SignerdError) as caught:
            signer.verify_bundle(keyful())
        assert caught.value.reason == "missing_field"


def test_many_by_the_library(daemon: Running) -> None:
    key = KEY.pem.decode()
    asked = [
        VerifyRequest(bundle=keyful(), key=key, artifact_sha256=DIGEST),
        VerifyRequest(bundle=large(2 * 1024 * 1024), key=key),
        VerifyRequest(bundle=keyful(), key=key, artifact_sha256="0" * 64),
        VerifyRequest(bundle=keyful(), policy="unheard-of"),
        VerifyRequest(bundle=b"{}", key=key),
        *[VerifyRequest(bundle=keyful(), key=key)] * 300,
    ]
    with Signer.connect(daemon.socket) as signer:
        found = signer.verify_batch(asked)
        assert signer.verify_batch([]) == []

    async def many() -> list[VerifyOutcome]:
        async with AsyncSigner.connect(daemon.socket) as signer:
            return await signer.verify_batch(asked[:5])

    assert [one.index for one in found] == list(range(305))
    said = [one.error.reason if one.error else one.result and one.result.verified for one in found]
    assert said[:5] == [True, True, False, "policy_unknown", False]
    assert set(said[5:]) == {True}
    assert [one.result for one in trio.run(many)] == [one.result for one in found[:5]]


def test_a_caller_that_signs_does_not_wait_for_large_bundles(
    daemon: Running, connect: Callable[[], Client], client: Client, sbom: dict[str, Any]
) -> None:
    text = large(40 * 1024 * 1024)
    other = connect()
    assert other.greet() is not None
    before = time.monotonic()
    with contextlib.closing(os.fdopen(memfd(text))) as file:
        params = by_key(bundle={"fd": 0, "size": len(text)})
        asked = [other.ask("verify.bundle", params, [file.fileno()]) for _ in range(2)]
    signed = 0
    waited = []
    other.socket.settimeout(0)
    while signed < 20:
        start = time.monotonic()
        client.result("sign.dsse", sbom)
        waited.append(time.monotonic() - start)
        signed += 1
    other.socket.settimeout(60)
    answers = [other.take() for _ in asked]
    took = time.monotonic() - before
    assert [answer and answer["result"]["verified"] for answer in answers] == [True, True]
    assert sorted(waited)[10] < took / 4, (waited, took)


def test_a_worker_that_dies_loses_one_bundle_and_no_other(daemon: Running, client: Client) -> None:
    assert client.result("verify.bundle", by_key())["verified"] is True
    worker = daemon.child("verify")
    os.kill(worker, signal.SIGSTOP)
    lost = client.ask("verify.bundle", by_key())
    kept = client.ask("verify.bundle", by_key())
    client.result("session.status", {})  # so both have been read, and the first is in the worker's hand
    os.kill(worker, signal.SIGKILL)
    answers = {}
    for _ in range(2):
        answer = client.take()
        assert answer is not None
        answers[answer["id"]] = answer
    assert answers[lost]["details"]["reason"] == "verifying_worker"
    assert answers[kept]["result"]["verified"] is True
    assert daemon.child("verify") != worker


def test_a_deadline_and_a_cancel_end_the_wait(daemon: Running, client: Client) -> None:
    assert client.result("verify.bundle", by_key())["verified"] is True
    worker = daemon.child("verify")
    os.kill(worker, signal.SIGSTOP)
    try:
        assert client.error("verify.bundle", by_key(), deadline_ms=50)["code"] == "request.deadline"
        asked = client.ask("verify.bundle", by_key())
        client.put({"type": "cancel", "id": asked})
        answer = client.take()
        assert answer is not None
        assert answer["code"] == "request.cancelled"
    finally:
        os.kill(worker, signal.SIGCONT)
    assert client.result("verify.bundle", by_key())["verified"] is True


def test_reload_changes_what_is_believed(daemon_factory: Callable[..., Running], tmp_path: Path) -> None:
    daemon = daemon_factory(tmp_path, config=placed(tmp_path))
    with Signer.connect(daemon.socket) as signer:
        assert signer.verify_bundle(keyless(), identity=(SAN, ISSUER)).verified
        (tmp_path / "root.json").write_bytes(b"{")
        os.kill(daemon.pid, signal.SIGHUP)
        until(lambda: "nothing is changed" in daemon.said)
        assert signer.verify_bundle(keyless(), identity=(SAN, ISSUER)).verified
        (tmp_path / "root.json").write_bytes(Sigstore().trusted_root())
        os.kill(daemon.pid, signal.SIGHUP)
        until(lambda: "reload: done" in daemon.said)
        assert not signer.verify_bundle(keyless(), identity=(SAN, ISSUER)).verified


def test_without_a_trusted_root_only_keys_are_verified(daemon_factory: Callable[..., Running]) -> None:
    daemon = daemon_factory()
    with Signer.connect(daemon.socket) as signer:
        assert signer.verify_bundle(keyful(), key=KEY.pem.decode()).verified
        with pytest.raises(SignerdError) as caught:
            signer.verify_bundle(keyless(), identity=(SAN, ISSUER))
    assert (caught.value.code, caught.value.reason) == ("request.unsupported", "no_trusted_root")


def test_a_root_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    text = placed(tmp_path)
    (tmp_path / "root.json").write_bytes(b"{}")
    daemon = Running(tmp_path, config=text)
    try:
        assert daemon.wait_ended() == 2
        assert "verification.trusted_root" in daemon.said
        assert "trusted_root_media_type" in daemon.said
    finally:
        daemon.close()
