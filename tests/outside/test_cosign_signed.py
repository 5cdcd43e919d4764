"""What stock cosign signed with the local stack, `signerctl verify` accepts, under the trusted root cosign made."""

import json
from pathlib import Path

import pytest

from outside.cosign import cosign, signing_config, trusted_root
from running.oidc import EMAIL
from running.stack import NEEDS, SigstoreStack
from signerd_client.cli import main

TYPE = "https://example.com/attestation/v1"
Capture = pytest.CaptureFixture[bytes]

pytestmark = pytest.mark.needs(*NEEDS, "cosign")


@pytest.fixture(scope="module")
def made(sigstore_stack: SigstoreStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an artefact, an attestation of it, a signature over it, and the trusted root."""
    folder = tmp_path_factory.mktemp("signed")
    (folder / "artifact").write_bytes(b"an artifact")
    (folder / "other").write_bytes(b"another")
    (folder / "predicate.json").write_text("{}")
    (folder / "token").write_text(sigstore_stack.issuer.token())
    root = trusted_root(sigstore_stack, folder / "trusted_root.json")
    config = signing_config(sigstore_stack, folder / "signing_config.json")
    shared: list[str | Path] = ["--identity-token", folder / "token", "--trusted-root", root]
    shared += ["--signing-config", config, "-y", "--bundle"]
    attest: list[str | Path] = ["attest-blob", "--type", TYPE, "--predicate", folder / "predicate.json", *shared]
    for command, out in ((attest, "attested.json"), (["sign-blob", *shared], "signed.json")):
        done = cosign([*command, folder / out, folder / "artifact"], folder)
        assert done.returncode == 0, done.stderr
    return folder


def verify(made: Path, issuer: str, bundle: str, *more: str, identity: str = EMAIL, subject: str = "artifact") -> int:
    named = ["--certificate-identity", identity, "--certificate-oidc-issuer", issuer]
    files = ["--trusted-root", str(made / "trusted_root.json"), "--subject", str(made / subject)]
    return main(["verify", str(made / bundle), *named, *files, *more])


def test_an_attestation(made: Path, sigstore_stack: SigstoreStack, capfdbinary: Capture) -> None:
    issuer = sigstore_stack.issuer.url()
    assert verify(made, issuer, "attested.json", "--type", TYPE) == 0
    answer = json.loads(capfdbinary.readouterr().out)
    outcomes = {check["name"]: check["outcome"] for check in answer["checks"]}
    assert outcomes.pop("material") == "passed"
    assert set(outcomes.values()) == {"passed"}
    assert {"transparency", "timestamp", "log_window", "certificate", "sct"} <= outcomes.keys()


def test_a_signature_over_the_artefact(made: Path, sigstore_stack: SigstoreStack, capfdbinary: Capture) -> None:
    assert verify(made, sigstore_stack.issuer.url(), "signed.json") == 0
    assert json.loads(capfdbinary.readouterr().out)["transparency"] == "passed"


@pytest.mark.parametrize("bundle", ["attested.json", "signed.json"])
def test_it_is_theirs_alone_and_about_this_alone(
    bundle: str, made: Path, sigstore_stack: SigstoreStack, capfdbinary: Capture
) -> None:
    issuer = sigstore_stack.issuer.url()
    assert verify(made, issuer, bundle, identity="another@example.com") == 6
    assert verify(made, sigstore_stack.issuer.url("stranger"), bundle) == 6
    assert verify(made, issuer, bundle, subject="other") == 6
    capfdbinary.readouterr()
