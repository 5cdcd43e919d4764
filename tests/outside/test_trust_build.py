"""`signerd trust build` beside `cosign trusted-root create` and `cosign signing-config create`, over the real stack."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from outside.cosign import COSIGNS, cosign
from outside.trust import SINCE, UNTIL, built
from running.oidc import EMAIL
from running.stack import NEEDS, SigstoreStack
from signerd.verification.bundle import verify_bundle
from signerd.verification.certificates import Identity
from signerd.verification.trusted_root import parse_trusted_root

pytestmark = pytest.mark.needs(*NEEDS, "cosign")

TYPE = "https://example.com/attestation/v1"


def old_logs(folder: Path) -> dict[str, Path]:
    """Keys of the kinds that logs had before."""
    keys: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "p384": ec.generate_private_key(ec.SECP384R1()),
        "rsa": rsa.generate_private_key(65537, 2048),
    }
    files = {}
    for name, key in keys.items():
        files[name] = folder / f"{name}.pub"
        files[name].write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return files


def read(file: Path) -> Any:
    return json.loads(file.read_bytes())


def test_the_trusted_root_means_what_cosigns_does(sigstore_stack: SigstoreStack, tmp_path: Path) -> None:
    stack, old = sigstore_stack, old_logs(tmp_path)
    origins = {"p256": "", "p384": "p384.example", "rsa": ""}
    more = "".join(
        f'[[trust.rekor]]\nurl = "https://{name}.example"\nkey = "{file}"\n'
        f'origin = "{origins[name]}"\nsince = {SINCE}\n'
        for name, file in old.items()
    )
    ours, _ = built(stack, tmp_path, more)
    theirs = tmp_path / "theirs.json"
    command: list[str | Path] = ["trusted-root", "create", "--out", theirs]
    chain = stack.fulcio.authority.chain
    command += ["--fulcio", f"url={stack.fulcio.url},certificate-chain={chain},start-time={SINCE}"]
    ends = f"start-time={SINCE},end-time={UNTIL}"
    command += ["--ctfe", f"url={stack.ct_log.url},public-key={stack.ct_log.public_key},{ends}"]
    logs = [(stack.rekor.url, stack.rekor.public_key, stack.rekor.origin)]
    logs += [(f"https://{name}.example", file, origins[name]) for name, file in old.items()]
    for url, key, origin in logs:
        named = f",origin={origin}" if origin else ""
        command += ["--rekor", f"url={url},public-key={key},start-time={SINCE}{named}"]
    command += ["--tsa", f"url={stack.tsa.url},certificate-chain={stack.tsa.authority.chain},{ends}"]
    done = cosign(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert in_order(ours) == in_order(theirs)
    normal = [json.dumps(in_order(file)).encode() for file in (ours, theirs)]
    assert parse_trusted_root(normal[0]) == parse_trusted_root(normal[1])


def in_order(file: Path) -> Any:
    """The document with its logs by id: cosign writes them in the order of a Go map, which is another each time."""
    made = read(file)
    for logs in ("tlogs", "ctlogs"):
        made[logs].sort(key=lambda log: log["logId"]["keyId"])
    return made


def test_the_signing_config_means_what_cosigns_does(sigstore_stack: SigstoreStack, tmp_path: Path) -> None:
    stack = sigstore_stack
    _, ours = built(stack, tmp_path)
    told, ends = f"start-time={SINCE},operator=tests", f"end-time={UNTIL}"
    theirs = tmp_path / "theirs.json"
    command: list[str | Path] = ["signing-config", "create", "--out", theirs]
    command += ["--fulcio", f"url={stack.fulcio.url},api-version=1,{told}"]
    command += ["--oidc-provider", f"url={stack.issuer.url()},api-version=1,{told}"]
    command += ["--rekor", f"url={stack.rekor.url},api-version=2,{told}", "--rekor-config", "ANY"]
    command += ["--tsa", f"url={stack.tsa.url},api-version=1,{told},{ends}", "--tsa-config", "ANY"]
    done = cosign(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert read(ours) == read(theirs)


def test_the_same_parts_give_the_same_bytes(sigstore_stack: SigstoreStack, tmp_path: Path) -> None:
    before = [file.read_bytes() for file in built(sigstore_stack, tmp_path)]
    assert [file.read_bytes() for file in built(sigstore_stack, tmp_path)] == before
    assert sorted(path.name for path in (tmp_path / "trust").iterdir()) == ["signing_config.json", "trusted_root.json"]


@pytest.mark.needs(*COSIGNS)
def test_cosign_signs_by_the_one_and_everybody_verifies_by_the_other(
    sigstore_stack: SigstoreStack, tmp_path: Path
) -> None:
    stack = sigstore_stack
    root, config = built(stack, tmp_path)
    (tmp_path / "artifact").write_bytes(b"an artifact")
    (tmp_path / "predicate.json").write_text("{}")
    (tmp_path / "token").write_text(stack.issuer.token())
    attest: list[str | Path] = ["attest-blob", "--type", TYPE, "--predicate", tmp_path / "predicate.json", "-y"]
    attest += ["--identity-token", tmp_path / "token", "--trusted-root", root, "--signing-config", config]
    done = cosign([*attest, "--bundle", tmp_path / "bundle.json", tmp_path / "artifact"], tmp_path)
    assert done.returncode == 0, done.stderr
    verification = verify_bundle(
        (tmp_path / "bundle.json").read_bytes(),
        Identity(EMAIL, stack.issuer.url()),
        artifact_sha256=hashlib.sha256(b"an artifact").hexdigest(),
        predicate_type=TYPE,
        trusted_root=parse_trusted_root(root.read_bytes()),
    )
    assert verification.verified, verification.failure
    assert (verification.log_entries, verification.timestamps) == (1, 1)
    verify: list[str | Path] = ["verify-blob-attestation", "--type", TYPE, "--trusted-root", root]
    verify += ["--certificate-identity", EMAIL, "--certificate-oidc-issuer", stack.issuer.url()]
    verify += ["--use-signed-timestamps", "--bundle", tmp_path / "bundle.json", tmp_path / "artifact"]
    for name in COSIGNS:
        extra = ["--new-bundle-format"] if name == "cosign-2-6" else []
        done = cosign([verify[0], *extra, *verify[1:]], tmp_path, name=name)
        assert done.returncode == 0, (name, done.stderr)
