"""``signerd-conformance-client sign-bundle`` over the real stack: what it makes, others accept."""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from outside.cosign import COSIGNS, cosign
from outside.trust import built
from running.oidc import EMAIL
from running.stack import NEEDS, SigstoreStack

pytestmark = pytest.mark.needs(*NEEDS, *COSIGNS, "sigstore")

ARTIFACT = b"the artifact\n"
SEEN = "https://in-toto.io/attestation/link/v0.3"
SLSA = "https://slsa.dev/provenance/v1"


def client(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name("signerd-conformance-client")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=120)


def sign(stack: SigstoreStack, folder: Path, file: Path, *more: str, token: str = "") -> Any:
    root, config = folder / "trust" / "trusted_root.json", folder / "trust" / "signing_config.json"
    given: list[str | Path] = ["sign-bundle", *more, "--identity-token", token or stack.issuer.token()]
    given += ["--trusted-root", root, "--signing-config", config, "--bundle", folder / "bundle.json", file]
    return client(*given)


@pytest.fixture
def place(sigstore_stack: SigstoreStack, tmp_path: Path) -> Path:
    built(sigstore_stack, tmp_path)
    (tmp_path / "artifact").write_bytes(ARTIFACT)
    return tmp_path


def statement_of(bundle: Path) -> dict[str, Any]:
    envelope = json.loads(bundle.read_text())["dsseEnvelope"]
    made: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return made


def assert_accepted(stack: SigstoreStack, place: Path, kind: str) -> None:
    """By this client, every cosign and sigstore-python, each with the trusted root that signerd built."""
    bundle, root, artifact = place / "bundle.json", place / "trust" / "trusted_root.json", place / "artifact"
    issuer = stack.issuer.url()
    identity = ["--certificate-identity", EMAIL, "--certificate-oidc-issuer", issuer]
    verified = client("verify-bundle", "--bundle", bundle, *identity, "--trusted-root", root, artifact)
    assert verified.returncode == 0, verified.stderr
    for name in COSIGNS:
        command: list[str | Path] = ["verify-blob-attestation", "--bundle", bundle, "--type", kind, *identity]
        command += ["--trusted-root", root, "--use-signed-timestamps"]
        command += ["--new-bundle-format"] if name == "cosign-2-6" else []
        said = cosign([*command, artifact], place, name=name)
        assert said.returncode == 0, (name, said.stderr)
    program = Path(__file__).with_name("sigstore_python.py")
    judged = subprocess.run(
        [sys.executable, "-P", program, root, EMAIL, issuer, bundle],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert judged.stdout == "yes\n", judged.stdout + judged.stderr


def test_a_file_is_seen(sigstore_stack: SigstoreStack, place: Path) -> None:
    signed = sign(sigstore_stack, place, place / "artifact")
    assert signed.returncode == 0, signed.stderr
    digest = {"sha256": hashlib.sha256(ARTIFACT).hexdigest()}
    said = statement_of(place / "bundle.json")
    assert said["subject"] == [{"name": "artifact", "digest": digest}]
    assert said["predicateType"] == SEEN
    assert said["predicate"] == {
        "name": "signerd-conformance-client sign-bundle",
        "materials": [{"name": "artifact", "digest": digest}],
    }
    assert_accepted(sigstore_stack, place, SEEN)
    material = json.loads((place / "bundle.json").read_text())["verificationMaterial"]
    assert len(material["tlogEntries"]) == len(material["timestampVerificationData"]["rfc3161Timestamps"]) == 1


def test_a_statement_is_signed_as_it_is(sigstore_stack: SigstoreStack, place: Path) -> None:
    given = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "app", "digest": {"sha256": hashlib.sha256(ARTIFACT).hexdigest()}}],
        "predicateType": SLSA,
        "predicate": {
            "buildDefinition": {"buildType": "https://ci.example/v1", "externalParameters": {"b": [1, {}]}},
            "runDetails": {"builder": {"id": "https://ci.example"}},
        },
    }
    (place / "statement.json").write_text(json.dumps(given))
    signed = sign(sigstore_stack, place, place / "statement.json", "--in-toto")
    assert signed.returncode == 0, signed.stderr
    assert statement_of(place / "bundle.json") == given
    assert_accepted(sigstore_stack, place, SLSA)


def test_tokens_that_are_not_taken(sigstore_stack: SigstoreStack, place: Path) -> None:
    issuer = sigstore_stack.issuer
    for token, reason in (
        (issuer.token(age_s=600), "token_expired"),
        (issuer.token(aud="other"), "token_audience"),
        (issuer.token("stranger"), "token_refused"),
    ):
        refused = sign(sigstore_stack, place, place / "artifact", token=token)
        assert refused.returncode == 3, refused.stderr
        assert reason in refused.stderr
        assert token not in refused.stderr
    assert not (place / "bundle.json").exists()
