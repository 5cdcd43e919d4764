"""Compliance profiles and the output profile ``dsse`` through real daemons, with keys of every algorithm that the file
backend has; what comes back is judged by cosign and securesystemslib."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from outside.cosign import cosign
from running.callers import request
from running.configured import records, stopped, until
from running.daemon import Running, running
from running.large import large_sbom
from running.profiled import ALGORITHMS, profiled
from signerd.attestation.bundle import parse_bundle
from signerd.attestation.dsse import Envelope, parse_envelope
from signerd.errors import SignerdError
from signerd.verification.bundle import verify_bundle, verify_envelope
from signerd.verification.keys import PublicKey
from signerd.wire.params import Options
from signerd_client import Signed, Signer, SignRequest, Subject

PROGRAM = Path(sys.executable).parent / "signerd"
EC = {"es256", "es384", "es512"}
ALLOWED = {
    "world": set(ALGORITHMS),
    "fips": set(ALGORITHMS),
    "eidas": {*EC, "rsa3072"},
    "kcmvp": {"es256", "rsa2048", "rsa3072"},
    "gost": set(),
    "sm": set(),
    "kcmvp+sm": {"es256", "rsa2048", "rsa3072"},
}
"""Of the keys that the file backend offers, those that each profile allows."""


def asked(*names: str, **options: Any) -> SignRequest:
    named = {"keys": tuple(f"file:{name}" for name in names)} if names else {}
    return dataclasses.replace(request(), options=Options(**named, **options))


def sign(daemon: Running, *names: str, **options: Any) -> Signed:
    with Signer.connect(daemon.socket) as signer:
        return signer.sign_dsse(asked(*names, **options))


def public(spki: object) -> PublicKey:
    return PublicKey.from_spki(cast("bytes", spki))


def admin(daemon: Running, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [PROGRAM, *arguments, "--state", daemon.state, "--config", daemon.base / "signerd.toml"]
    command += ["--socket", daemon.socket.with_name("admin.sock"), "--reason", "a test"]
    return subprocess.run(list(map(os.fspath, command)), capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("profile", ALLOWED)
def test_a_daemon_signs_by_the_keys_of_its_profile_and_refuses_the_others_on_the_record(
    tmp_path: Path, profile: str
) -> None:
    with running(tmp_path, config=profiled(tmp_path, profile)) as daemon, Signer.connect(daemon.socket) as signer:
        assert signer.describe("file:es256").profile == profile
        (notice,) = cast("tuple[str, ...]", signer.info().notices)
        assert "does not make the module" in notice
        for name, algorithm in ALGORITHMS.items():
            if name in ALLOWED[profile]:
                assert signer.sign_dsse(asked(name)).result.signing_identity[0].algorithm == algorithm
                continue
            for output in ("cosign", "dsse"):
                with pytest.raises(SignerdError) as caught:
                    signer.sign_dsse(asked(name, profile=output))
                short = name == "rsa2048" and profile == "eidas"
                reason = "rsa_too_short" if short else "outside_profile"
                assert (caught.value.code, caught.value.reason) == ("key.algorithm_refused", reason)
                assert caught.value.details["profile"] == profile
                last = json.loads(bytes(daemon.leaves()[-1]["leaf"]))  # type: ignore[call-overload]  # a blob
                assert (last["kind"], last["outcome"], last["code"]) == ("refused", "refused", caught.value.code)
        done = admin(daemon, "keys", "rotate", "file:es384", "--algorithm", "Ed25519")
        if "ed25519" in ALLOWED[profile]:
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode == 3
            assert "key.algorithm_refused (outside_profile)" in done.stderr


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('profile = "gost"', 'profile = "gost+nist"', "tenants.local.profile: expected profiles out of world, fips"),
        ('profile = "gost"', 'profile = "gost+gost"', "tenants.local.profile: expected each part once"),
        ('backend = "first"', 'backend = "first"\ngenerate = "ES256"', "generate: expected an algorithm of the"),
    ],
)
def test_a_configuration_that_breaks_its_profile_is_refused(
    tmp_path: Path, before: str, after: str, told: str
) -> None:
    file = tmp_path / "signerd.toml"
    text = profiled(tmp_path, "gost", ["es256"])
    assert before in text
    for content, problem in ((text, ""), (text.replace(before, after), told)):
        file.write_text(content)
        file.chmod(0o600)
        command = [PROGRAM, "check", "--config", file, "--state", tmp_path / "state"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode == 0) == (not problem), done.stderr
        assert problem in done.stderr


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """All keys, RSA ones and Ed25519 by a worker of their own."""
    base = tmp_path_factory.mktemp("profiles")
    config = profiled(base, "world", second=("rsa2048", "rsa3072", "ed25519"))
    with running(base, config=config) as started:
        yield started


def payloads(signed: Signed) -> set[bytes]:
    found = {cast("Envelope", parse_bundle(bundle).content).payload for bundle in signed.bundles}
    if signed.envelope is not None:
        found.add(parse_envelope(signed.envelope).payload)
    return found


@pytest.mark.parametrize("names", [("ed25519", "es256", "rsa2048"), ("es512", "es384"), tuple(ALGORITHMS)])
def test_n_signers_give_n_bundles_over_the_same_bytes_in_the_order_of_the_keys(
    daemon: Running, names: Sequence[str]
) -> None:
    signed = sign(daemon, *names, include=("envelope",))
    result = signed.result
    keys = [public(identity.spki) for identity in result.signing_identity]
    assert [key.algorithm for key in keys] == [ALGORITHMS[name] for name in names]
    assert [decided.key for decided in result.receipt.decision.keys] == [f"file:{name}" for name in names]
    for bundle, digest, key in zip(signed.bundles, result.bundle_sha256, keys, strict=True):
        assert verify_bundle(bundle, key).verified
        assert sha256(bundle).hexdigest() == digest
    (payload,) = payloads(signed)
    assert sha256(payload).hexdigest() == result.statement_sha256
    assert signed.envelope is not None
    assert verify_envelope(signed.envelope, keys, threshold=len(keys)).verified
    assert [one.keyid for one in parse_envelope(signed.envelope).signatures] == [key.envelope_keyid for key in keys]
    assert len(result.verify_command) == len(keys)
    assert result.cosign_verifiable


@pytest.mark.needs("securesystemslib")
@pytest.mark.parametrize("names", [("es256", "ed25519"), ("ed25519", "es384", "es256")])
@pytest.mark.parametrize("profile", ["cosign", "dsse"])
def test_securesystemslib_counts_every_signer(daemon: Running, names: Sequence[str], profile: str) -> None:
    from securesystemslib import dsse
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import Key, SSlibKey  # type: ignore[attr-defined]  # it re-exports without saying so

    signed = sign(daemon, *names, profile=profile, include=("envelope",))
    envelope = json.loads(cast("bytes", signed.envelope))
    trusted: list[Key] = []
    for identity in signed.result.signing_identity:
        loaded = load_der_public_key(cast("bytes", identity.spki))
        trusted.append(SSlibKey.from_crypto(cast("Any", loaded), keyid=public(identity.spki).envelope_keyid))
    threshold = len(names)
    assert len(dsse.Envelope.from_dict(json.loads(json.dumps(envelope))).verify(trusted, threshold)) == threshold
    envelope["signatures"].pop()
    with pytest.raises(VerificationError):
        dsse.Envelope.from_dict(envelope).verify(trusted, threshold)


def test_one_of_three_signers_failing_releases_nothing(daemon: Running) -> None:
    before = len(daemon.leaves())
    with stopped(_worker_of(daemon, "second")):
        with pytest.raises(SignerdError) as caught:
            sign(daemon, "es256", "es384", "ed25519")
        assert caught.value.code == "key.backend_unavailable"
    (decided,) = [leaf for leaf in daemon.leaves()[before:] if leaf["kind"] == "decided"]
    audit_id = str(decided["audit_id"])
    until(lambda: records(daemon)[audit_id] == ["fault"])
    (outcome,) = [leaf for leaf in _leaves_of(daemon, audit_id) if leaf["kind"] == "outcome"]
    assert outcome["code"] == "key.backend_unavailable"
    assert not {"bundle_sha256", "envelope_sha256"} & outcome.keys()
    until(lambda: _signs(daemon, "es256", "es384", "ed25519"), 30)


def _signs(daemon: Running, *names: str) -> bool:
    """Whether they sign, or will when the worker is back; raises what trying again cannot help."""
    try:
        sign(daemon, *names)
    except SignerdError as error:
        if not error.retryable:
            raise
        return False
    return True


def _leaves_of(daemon: Running, audit_id: str) -> list[dict[str, Any]]:
    return [
        json.loads(bytes(leaf["leaf"]))  # type: ignore[call-overload]  # a blob
        for leaf in daemon.leaves()
        if leaf["audit_id"] == audit_id
    ]


def _worker_of(daemon: Running, backend: str) -> int:
    """Key workers are started in the order in which their backends are configured."""
    sealer, found = daemon.child("sealer"), []
    for task in Path(f"/proc/{sealer}/task").iterdir():
        for pid in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                if b"signerd.worker.key" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    found.append(int(pid))
    return sorted(found)[["first", "second"].index(backend)]


def test_profile_dsse_is_one_envelope_and_the_companions_bundle(daemon: Running) -> None:
    signed = sign(daemon, "ed25519", "es384", profile="dsse")
    result = signed.result
    assert [(key.key, key.source) for key in result.receipt.decision.keys] == [
        ("file:ed25519", "file"),
        ("file:es384", "file"),
        ("file:es256", "companion"),
    ]
    keys = [public(identity.spki) for identity in result.signing_identity]
    assert signed.envelope is not None
    assert verify_envelope(signed.envelope, keys, threshold=3).verified
    (bundle,) = signed.bundles
    assert verify_bundle(bundle, keys[2]).verified
    assert len(payloads(signed)) == 1
    until(lambda: records(daemon)[result.receipt.audit_id] == ["signed"])
    (outcome,) = [leaf for leaf in _leaves_of(daemon, result.receipt.audit_id) if leaf["kind"] == "outcome"]
    assert outcome["bundle_sha256"] == list(result.bundle_sha256)
    assert outcome["envelope_sha256"] == sha256(signed.envelope).hexdigest()
    first = sign(daemon, "es256", "es384", profile="dsse")
    assert len(first.result.receipt.decision.keys) == 2
    assert verify_bundle(first.bundles[0], public(first.result.signing_identity[0].spki)).verified


@pytest.mark.needs("cosign")
@pytest.mark.parametrize("profile", ["cosign", "dsse"])
@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_cosign_verifies_what_is_said_to_be_for_it(
    daemon: Running, name: str, profile: str, tmp_path: Path
) -> None:
    """By the very command that the answer names; of the envelope, cosign verifies nothing."""
    content = b"the artefact"
    subject = Subject("artefact", {"sha256": sha256(content).hexdigest()})
    wanted = dataclasses.replace(asked(name, profile=profile, include=("envelope",)), subject=[subject])
    with Signer.connect(daemon.socket) as signer:
        signed = signer.sign_dsse(wanted)
    (bundle,), (command,) = signed.bundles, signed.result.verify_command
    signer_of_it = signed.result.signing_identity[0 if profile == "cosign" else -1]
    (tmp_path / "key.pub").write_text(public(signer_of_it.spki).pem)
    (tmp_path / "bundle.sigstore.json").write_bytes(bundle)
    (tmp_path / "artefact").write_bytes(content)
    places = {file: str(tmp_path / file) for file in ("key.pub", "bundle.sigstore.json", "artefact")}
    argv = [places.get(part, part) for part in command.argv[1:]]
    done = cosign(argv, tmp_path)
    assert done.returncode == 0, done.stderr
    assert signed.result.cosign_verifiable
    (tmp_path / "bundle.sigstore.json").write_bytes(cast("bytes", signed.envelope))
    assert cosign(argv, tmp_path).returncode != 0


def test_a_large_document_comes_as_an_envelope_by_descriptor(daemon: Running) -> None:
    document = large_sbom(3 << 20)
    wanted = dataclasses.replace(asked("ed25519", "es256", profile="dsse"), predicate=document)
    with Signer.connect(daemon.socket) as signer:
        signed = signer.sign_dsse(wanted, deadline_s=60)
    keys = [public(identity.spki) for identity in signed.result.signing_identity]
    assert signed.envelope is not None
    assert len(signed.envelope) > len(document)
    assert verify_envelope(signed.envelope, keys, threshold=2).verified
    assert verify_bundle(signed.bundles[0], keys[1]).verified
    (payload,) = payloads(signed)
    assert sha256(payload).hexdigest() == signed.result.statement_sha256


@pytest.mark.parametrize("options", [{"transparency": "required"}, {"timestamp": True}])
def test_what_nobody_publishes_is_not_served_in_any_profile(daemon: Running, options: dict[str, Any]) -> None:
    with pytest.raises(SignerdError) as caught:
        sign(daemon, profile="dsse", **options)
    assert (caught.value.code, caught.value.reason) == ("request.unsupported", "not_served")


def test_without_a_companion_nothing_is_for_cosign(tmp_path: Path) -> None:
    with running(tmp_path, config=profiled(tmp_path, "fips", ["es384", "ed25519"])) as daemon:
        signed = sign(daemon, profile="dsse")
        result = signed.result
        assert (signed.bundles, result.bundle_sha256, result.verify_command) == ((), (), ())
        assert not result.cosign_verifiable
        assert result.warnings[0].startswith("not for cosign")
        assert result.envelope_sha256 == sha256(cast("bytes", signed.envelope)).hexdigest()
        with pytest.raises(SignerdError) as caught:
            sign(daemon, profile="dsse", include=("rekor_request",))
        assert caught.value.details == {"name": "include=rekor_request", "reason": "no_bundle"}


def test_a_joined_profile_is_signed_for_part_by_part(tmp_path: Path) -> None:
    with running(tmp_path, config=profiled(tmp_path, "kcmvp+eidas", ["rsa2048", "ed25519", "es384"])) as daemon:
        signed = sign(daemon, profile="dsse")
        assert [key.key for key in signed.result.receipt.decision.keys] == ["file:rsa2048", "file:es384"]
        keys = [public(identity.spki) for identity in signed.result.signing_identity]
        assert verify_envelope(cast("bytes", signed.envelope), keys, threshold=2).verified
        assert [key.key for key in sign(daemon).result.receipt.decision.keys] == ["file:rsa2048"]


def test_a_part_of_a_joined_profile_that_no_key_covers_is_said(tmp_path: Path) -> None:
    with running(tmp_path, config=profiled(tmp_path, "kcmvp+sm", ["es256", "es384"])) as daemon:
        with pytest.raises(SignerdError) as caught:
            sign(daemon, profile="dsse")
        assert caught.value.details == {"part": "sm", "profile": "kcmvp+sm", "reason": "part_uncovered"}
        assert len(sign(daemon, "es256", profile="dsse").bundles) == 1
