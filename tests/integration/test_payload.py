"""``sign.payload`` through a real daemon: replay manifests, signed bare; the envelope is judged by securesystemslib."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.serialization import load_der_public_key

from running.client import Client, memfd
from running.configured import records, until
from running.daemon import RELEASE, Running, running
from running.profiled import profiled
from signerd.attestation.dsse import parse_envelope
from signerd.errors import SignerdError
from signerd.wire.params import Options, PolicyMetadata
from signerd_client import PayloadRequest, Signed, Signer, Subject

pytest_plugins = ("running.client",)

TYPE = "application/vnd.stellaops.replay+json"
DIGEST = "sha256:" + "0" * 64
MANIFEST: dict[str, Any] = {
    "schemaVersion": "1.0",
    "scan": {
        "id": "scan-7",
        "time": "2024-01-01T00:00:00Z",
        "mode": "record",
        "scannerVersion": "2024.1",
        "cryptoProfile": "FIPS-140-3+GOST-R-34-10-2012",
    },
    "subject": {"ociDigest": DIGEST, "layers": [{"layerDigest": DIGEST, "merkleRoot": "00", "leafCount": 3}]},
    "inputs": {"feeds": [{"name": "nvd", "snapshotHash": "00", "snapshotTime": "2024-01-01T00:00:00Z"}]},
}
TEXT = json.dumps(MANIFEST, indent=1).encode()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("payload")
    with running(base, config=profiled(base, "world", ("es256", "ed25519", "rsa3072"))) as started:
        yield started


def asked(payload: bytes = TEXT, **changes: Any) -> PayloadRequest:
    fields: dict[str, Any] = {"payload_type": TYPE, "payload": payload, "scanner_image_digest": RELEASE, **changes}
    return PayloadRequest(**fields)


def sign(daemon: Running, *arguments: Any, **changes: Any) -> Signed:
    with Signer.connect(daemon.socket) as signer:
        return signer.sign_payload(asked(*arguments, **changes))


def leaves(daemon: Running, audit_id: str) -> list[dict[str, Any]]:
    return [json.loads(bytes(row["leaf"])) for row in daemon.leaves() if row["audit_id"] == audit_id]  # type: ignore[call-overload]  # a blob


@pytest.mark.needs("securesystemslib")
def test_securesystemslib_verifies_every_signer_of_the_envelope(daemon: Running) -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    signed = sign(daemon, options=Options(keys=("file:ed25519", "file:es256")))
    assert signed.envelope is not None
    read = parse_envelope(signed.envelope)
    trusted = [
        SSlibKey.from_crypto(load_der_public_key(bytes(one.spki)), keyid=signature.keyid)  # type: ignore[arg-type]
        for one, signature in zip(signed.result.signing_identity, read.signatures, strict=True)
    ]
    assert len(Envelope.from_dict(json.loads(signed.envelope)).verify(trusted, threshold=2)) == 2
    for name, value in (("payloadType", "application/vnd.in-toto+json"), ("payload", "e30=")):
        altered = {**json.loads(signed.envelope), name: value}
        with pytest.raises(VerificationError):
            Envelope.from_dict(altered).verify(trusted, threshold=1)


def test_what_is_signed_is_the_manifests_canonical_form_and_nothing_else_comes(daemon: Running) -> None:
    signed = sign(daemon)
    assert signed.envelope is not None
    read = parse_envelope(signed.envelope)
    assert (read.payload_type, read.payload) == (TYPE, rfc8785.dumps(MANIFEST))
    result = signed.result
    assert (result.statement_sha256, result.predicate_sha256) == (
        sha256(rfc8785.dumps(MANIFEST)).hexdigest(),
        sha256(TEXT).hexdigest(),
    )
    assert result.envelope_sha256 == sha256(signed.envelope).hexdigest()
    assert (signed.bundles, signed.cose, result.verify_command, result.warnings) == ((), (), (), ())
    assert not result.cosign_verifiable
    assert len(read.signatures) == 1, "no companion"


def test_the_record_names_payload_type_predicate_type_and_the_payload_itself(daemon: Running) -> None:
    audit_id = sign(daemon).result.receipt.audit_id
    until(lambda: len(leaves(daemon, audit_id)) == 2)  # the outcome waits a moment for company
    decided, outcome = leaves(daemon, audit_id)
    assert decided["payload_type"] == TYPE
    assert decided["request"]["method"] == "sign.payload"
    assert decided["request"]["predicate_type"] == "https://stella-ops.org/attestations/replay/v1"
    assert decided["request"]["subjects"] == [{"name": "payload", "sha256": sha256(TEXT).hexdigest()}]
    assert outcome["outcome"] == "signed"
    named = sign(daemon, subject=[Subject("scan", {"sha256": "ab" * 32})]).result.receipt.audit_id
    assert leaves(daemon, named)[0]["request"]["subjects"] == [{"name": "scan", "sha256": "ab" * 32}]


def test_a_large_manifest_goes_by_the_document_worker(daemon: Running) -> None:
    feed = MANIFEST["inputs"]["feeds"][0]
    large = {**MANIFEST, "inputs": {"feeds": [{**feed, "name": f"feed {n}"} for n in range(30_000)]}}
    text = json.dumps(large).encode()
    assert len(text) > 2 << 20
    signed = sign(daemon, text, options=Options(keys=("file:es256", "file:ed25519")))
    assert signed.envelope is not None
    assert parse_envelope(signed.envelope).payload == rfc8785.dumps(large)


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"payload_type": "application/vnd.in-toto+json"}, "predicate.unsupported", "unknown_payload_type"),
        ({"payload_type": "application/json"}, "predicate.unsupported", "unknown_payload_type"),
        ({"payload_type": "replay"}, "predicate.unsupported", "unknown_payload_type"),
        ({"payload_type": f"{TYPE}; charset=utf-8"}, "predicate.unsupported", "unknown_payload_type"),
        ({"scanner_image_digest": None}, "release.untrusted", "digest_missing"),
        ({"scanner_image_digest": DIGEST}, "release.untrusted", "not_listed"),
        ({"options": Options(profile="cosign")}, "request.unsupported", "not_served"),
        ({"options": Options(profile="cose")}, "request.unsupported", "not_served"),
        ({"options": Options(transparency="async")}, "request.unsupported", "not_served"),
        ({"options": Options(timestamp=True)}, "request.unsupported", "not_served"),
        ({"options": Options(include=("rekor_request",))}, "request.unsupported", "not_served"),
        ({"policy": PolicyMetadata("sha256:x", "v")}, "request.unsupported", "not_served"),
        ({"approval_id": "a"}, "request.conflict", "unknown_approval"),
        ({"idempotency_key": "k"}, "request.unsupported", "not_served"),
        ({"options": Options(keys=("file:none",))}, "key.not_found", "no_such_key"),
        ({"subject": [Subject("", {"sha256": "ab" * 32})]}, "statement.invalid", "name_empty"),
        ({"payload": b"\xff"}, "predicate.invalid", "not_utf8"),
        ({"payload": b"not a manifest"}, "predicate.invalid", "not_json"),
        ({"payload": b"[]"}, "predicate.invalid", "not_object"),
        ({"payload": TEXT.replace(b'"1.0"', b'"1.0", "schemaVersion": "1.1"')}, "predicate.invalid", "duplicate_key"),
        ({"payload": TEXT.replace(b'"1.0"', b'"2.0"')}, "predicate.invalid", "schema_violation"),
        ({"payload": b'{"_type":"https://in-toto.io/Statement/v1"}'}, "predicate.invalid", "schema_violation"),
    ],
)
def test_each_refusal_is_on_the_record(daemon: Running, changes: dict[str, Any], code: str, reason: str) -> None:
    with pytest.raises(SignerdError) as caught:
        sign(daemon, **changes)
    assert (caught.value.code, caught.value.reason) == (code, reason)
    last = json.loads(bytes(daemon.leaves()[-1]["leaf"]))  # type: ignore[call-overload]  # a blob
    assert (last["kind"], last["code"], last["reason"]) == ("refused", code, reason)
    assert last["request"]["method"] == "sign.payload"


def test_the_pointer_says_where(daemon: Running) -> None:
    scan = {**MANIFEST["scan"], "time": "now"}
    with pytest.raises(SignerdError) as caught:
        sign(daemon, json.dumps({**MANIFEST, "scan": scan}).encode())
    assert caught.value.details["pointer"] == "/scan/time"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"payload": {"fd": 0, "size": len(TEXT) + 1}}, "request.malformed"),
        ({"payload": {"fd": 1, "size": len(TEXT)}}, "request.malformed"),
        ({"payload": "text"}, "request.malformed"),
        ({"payload_type": 1}, "request.malformed"),
        ({"subject": []}, "request.malformed"),
        ({"subject": [{"name": "a"}]}, "request.malformed"),
        ({"predicate": TEXT}, "request.unsupported"),
        ({"predicate_type": "replay"}, "request.unsupported"),
    ],
)
def test_what_is_out_of_shape(client: Client, change: dict[str, Any], code: str) -> None:
    params = {"payload_type": TYPE, "payload": {"fd": 0, "size": len(TEXT)}, "scanner_image_digest": RELEASE, **change}
    fd = memfd(TEXT)
    try:
        assert client.error("sign.payload", params, [fd])["code"] == code
    finally:
        os.close(fd)


def test_items_of_a_batch_are_statements_only(client: Client) -> None:
    item = {"payload_type": TYPE, "payload": TEXT, "scanner_image_digest": RELEASE}
    (outcome,) = client.result("sign.batch", {"items": [item]})["outcomes"]
    assert outcome["error"]["code"] in ("request.malformed", "request.unsupported")


def test_every_record_is_closed_once(daemon: Running) -> None:
    until(lambda: all(len(ends) == 1 for ends in records(daemon).values()))


def test_the_command_writes_the_envelope(tmp_path: Path, daemon: Running) -> None:
    (tmp_path / "manifest.json").write_bytes(TEXT)
    program = Path(sys.executable).parent / "signerctl"
    command = [program, "sign", "payload", "manifest.json", "--payload-type", TYPE, "--release", daemon.release]
    done = subprocess.run(
        [*command, "--out", "manifest.dsse", "--receipt", "receipt.json", "--socket", daemon.socket],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    assert parse_envelope((tmp_path / "manifest.dsse").read_bytes()).payload == rfc8785.dumps(MANIFEST)
    assert json.loads((tmp_path / "receipt.json").read_bytes())["audit_id"]
