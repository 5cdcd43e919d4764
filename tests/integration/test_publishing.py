"""Signatures in the real log and with real stamps: what comes back verifies here and with stock cosign."""

import contextlib
import dataclasses
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from outside.cosign import cosign, trusted_root
from running.callers import request
from running.configured import until
from running.daemon import Running, running
from running.published import log_table, publishing, stamp_table
from running.stack import NEEDS, SigstoreStack
from signerd.attestation.bundle import parse_bundle
from signerd.attestation.dsse import Envelope
from signerd.attestation.log_entry import parse_log_entry
from signerd.errors import Refusal
from signerd.verification.bundle import verify_bundle
from signerd.verification.evidence import Requirements
from signerd.verification.keys import PublicKey
from signerd.verification.rekor2 import check_body
from signerd.verification.signed import Signed as Signed_
from signerd.verification.trusted_root import parse_trusted_root
from signerd.wire.params import Options
from signerd_client import Signed, Signer

pytestmark = pytest.mark.needs("cosign", *NEEDS)


@pytest.fixture(scope="module")
def publisher(sigstore_stack: SigstoreStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A daemon with the stack's log and authority."""
    base = tmp_path_factory.mktemp("publishing")
    config = publishing(
        base,
        log_table(sigstore_stack.rekor.url, sigstore_stack.rekor.public_key),
        stamp_table(sigstore_stack.tsa.url, sigstore_stack.tsa.authority.chain),
    )
    with running(base, config=config) as started:
        until(lambda: started.said.count(" is up") == 2)
        yield started


def signed(daemon: Running, number: int, options: Options) -> Signed:
    with Signer.connect(daemon.socket) as signer:
        return signer.sign_dsse(dataclasses.replace(request(number), options=options), deadline_s=60)


def outcomes(one: Signed, root: Path, requirements: Requirements) -> dict[str, str]:
    """What our own verifier says, check by check."""
    key = PublicKey.from_spki(one.result.signing_identity[0].spki)  # type: ignore[arg-type]  # inline
    found = verify_bundle(
        one.bundles[0], key, trusted_root=parse_trusted_root(root.read_bytes()), requirements=requirements
    )
    assert found.verified, found.checks
    return {check.name: check.outcome for check in found.checks}


def cosigned(one: Signed, root: Path, folder: Path) -> None:
    """Run the command that the answer names, with the files that it names."""
    (folder / "key.pub").write_text(PublicKey.from_spki(one.result.signing_identity[0].spki).pem)  # type: ignore[arg-type]
    (folder / "bundle.sigstore.json").write_bytes(one.bundles[0])
    places = {name: str(folder / name) for name in ("key.pub", "bundle.sigstore.json")}
    places["trusted_root.json"] = str(root)
    argv = [places.get(part, part) for part in one.result.verify_command[0].argv[1:-1]]
    content = parse_bundle(one.bundles[0]).content
    assert isinstance(content, Envelope)
    digest = json.loads(content.payload)["subject"][0]["digest"]["sha256"]
    done = cosign([*argv, "--digest", digest, "--digestAlg", "sha256"], folder)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def root(sigstore_stack: SigstoreStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack's trusted root, as cosign makes it."""
    return trusted_root(sigstore_stack, tmp_path_factory.mktemp("root") / "trusted_root.json")


@pytest.mark.parametrize(
    ("number", "options", "entries", "stamps"),
    [
        (1, Options(transparency="required"), 1, 0),
        (2, Options(timestamp=True), 0, 1),
        (3, Options(transparency="required", timestamp=True), 1, 1),
        (4, Options(profile="dsse", transparency="required", timestamp=True), 1, 1),
    ],
)
def test_what_was_published_verifies_here_and_with_cosign(
    number: int, options: Options, entries: int, stamps: int, publisher: Running, root: Path, tmp_path: Path
) -> None:
    one = signed(publisher, number, options)
    bundle = parse_bundle(one.bundles[0])
    assert (len(bundle.log_entries), len(bundle.timestamps)) == (entries, stamps)
    found = outcomes(one, root, Requirements(log_entries=entries, timestamps=stamps))
    assert found.get("transparency") == ("passed" if entries else "skipped")
    assert found.get("timestamp") == ("passed" if stamps else "skipped")
    decision = one.result.receipt.decision
    assert (decision.transparency, decision.timestamp) == (options.transparency, options.timestamp)
    cosigned(one, root, tmp_path)


def test_the_same_statement_again_has_the_same_entry(publisher: Running, root: Path) -> None:
    """RFC 6979: the same signature. The log answers 409 without a proof, which is made of its tiles."""
    first, again = [signed(publisher, 14, Options(transparency="required")) for _ in range(2)]
    one, other = [parse_bundle(made.bundles[0]).log_entries[0] for made in (first, again)]
    assert (one.log_index, one.body) == (other.log_index, other.body)
    assert outcomes(again, root, Requirements(log_entries=1))["transparency"] == "passed"


def test_what_goes_into_the_log_later_is_told_by_the_audit_log(publisher: Running) -> None:
    one = signed(publisher, 5, Options(transparency="async"))
    assert parse_bundle(one.bundles[0]).log_entries == ()

    def leaves() -> list[dict[str, object]]:
        every = [json.loads(bytes(row["leaf"])) for row in publisher.leaves()]  # type: ignore[call-overload]  # a blob
        return [leaf for leaf in every if leaf.get("record") == one.result.receipt.audit_id]

    until(lambda: len(leaves()) == 1, 30)
    (leaf,) = leaves()
    assert leaf["kind"] == "published"
    assert leaf["bundle_sha256"] == one.result.bundle_sha256[0]
    with contextlib.closing(sqlite3.connect(f"file:{publisher.state}/outbox.sqlite?mode=ro", uri=True)) as database:
        (kept,) = database.execute(
            "SELECT entry FROM outbox WHERE audit_id = ?", (leaf["record"],)
        ).fetchone()
    entry = parse_log_entry(kept)
    assert (entry.log_index, entry.log_id.hex()) == (leaf["log_index"], leaf["log_id"])
    assert sha256(entry.body).hexdigest() == leaf["entry_sha256"]


def test_what_goes_into_the_log_later_can_be_fetched_whole(publisher: Running, root: Path, tmp_path: Path) -> None:
    """By the library and by the command; nothing but the entry is new, and the whole verifies."""
    one = signed(publisher, 7, Options(transparency="async", timestamp=True))
    audit_id = one.result.receipt.audit_id
    with Signer.connect(publisher.socket) as signer:
        until(lambda: signer.transparency_entry(audit_id).state == "logged", 30)
        found = signer.transparency_entry(audit_id)
        with pytest.raises(Refusal) as refused:
            signer.transparency_entry(signed(publisher, 8, Options()).result.receipt.audit_id)
    assert (refused.value.code, refused.value.reason) == ("request.malformed", "no_entry")
    (later,) = found.bundles
    assert (later.bundle_sha256, later.envelope_sha256) == (one.result.bundle_sha256[0], one.result.envelope_sha256)
    before, after = parse_bundle(one.bundles[0]), parse_bundle(later.bundle)  # type: ignore[arg-type]  # inline
    assert (after.content, after.timestamps) == (before.content, before.timestamps)
    assert (len(before.log_entries), len(after.log_entries)) == (0, 1)
    out = tmp_path / "whole.json"
    command = [Path(sys.executable).with_name("signerctl"), "transparency", "entry", audit_id]
    command += ["--socket", publisher.socket, "--out", out, "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "logged"
    assert out.read_bytes() == later.bundle
    key = PublicKey.from_spki(one.result.signing_identity[0].spki)  # type: ignore[arg-type]
    verification = verify_bundle(
        out.read_bytes(), key, trusted_root=parse_trusted_root(root.read_bytes()), requirements=Requirements(1, 1)
    )
    assert verification.verified, verification.checks


def test_an_entry_that_is_to_come_is_worth_another_try(sigstore_stack: SigstoreStack, tmp_path: Path) -> None:
    """The log is out of reach; a restart without it says that nothing will come."""
    config = publishing(tmp_path, log_table("http://127.0.0.1:9", sigstore_stack.rekor.public_key))
    with running(tmp_path, config=config) as daemon:
        one = signed(daemon, 1, Options(transparency="async"))
        audit_id = one.result.receipt.audit_id
        command = [Path(sys.executable).with_name("signerctl"), "transparency", "entry", audit_id]
        command += ["--socket", daemon.socket, "--out", tmp_path / "whole.json", "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 10, done.stderr
    with running(tmp_path, config=publishing(tmp_path)) as daemon:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1, done.stderr
        assert json.loads(done.stdout)["state"] == "failed"
    assert not (tmp_path / "whole.json").exists()


def test_a_real_log_takes_the_request_as_it_is(publisher: Running, sigstore_stack: SigstoreStack) -> None:
    one = signed(publisher, 6, Options(include=("rekor_request",)))
    (body,) = one.result.rekor_request  # type: ignore[misc]  # asked for
    post = Request(  # noqa: S310  # loopback
        f"{sigstore_stack.rekor.url}/api/v2/log/entries", bytes(body), {"Content-Type": "application/json"}  # type: ignore[arg-type]
    )
    with urlopen(post, timeout=30) as answer:  # noqa: S310
        assert answer.status == 201
        entry = parse_log_entry(answer.read())
    key = PublicKey.from_spki(one.result.signing_identity[0].spki)  # type: ignore[arg-type]
    content = parse_bundle(one.bundles[0]).content
    assert isinstance(content, Envelope)
    check_body(entry, Signed_.over_envelope(content, key, None))


def test_signerctl_asks_for_it_and_verifies_it(publisher: Running, root: Path, tmp_path: Path) -> None:
    def signerctl(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command: list[str | Path] = [Path(sys.executable).parent / "signerctl", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    (tmp_path / "app").write_text("app")
    (tmp_path / "sbom.json").write_text('{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}')
    place = ("--socket", str(publisher.socket))
    what = ("sign", "sbom", "--subject", "app", "--release", publisher.release, "sbom.json")
    done = signerctl(*what, *place, "--transparency", "required", "--timestamp", "--out", "b.json")
    assert done.returncode == 0, done.stderr
    assert signerctl("keys", *place, "--public", "key.pub").returncode == 0
    verified = signerctl(
        "verify", "b.json", "--offline", "--key", "key.pub", "--subject", "app", "--trusted-root", str(root)
    )
    assert verified.returncode == 0, verified.stderr


def test_many_at_once_cost_one_wait(publisher: Running) -> None:
    """A post waits for the log's next checkpoint, a second or more: 40 one after the other would take 40."""
    many = [dataclasses.replace(request(100 + n), options=Options(transparency="required")) for n in range(40)]
    started = time.monotonic()
    with Signer.connect(publisher.socket) as signer:
        made = signer.sign_batch(many, deadline_s=60)
    assert all(parse_bundle(one.signed.bundles[0]).log_entries for one in made if one.signed is not None)
    assert sum(one.signed is not None for one in made) == 40
    assert time.monotonic() - started < 20
