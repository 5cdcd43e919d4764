import hashlib
import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from fakes.sigstore import ISSUER, SAN, Sigstore
from signerd.attestation.statement import Subject, build_statement
from signerd_conformance import public_instance
from signerd_conformance.client import main

Capture = pytest.CaptureFixture[str]
STACK = Sigstore()
DIGEST = hashlib.sha256(b"artefact").hexdigest()
IDENTITY = ["--certificate-identity", SAN, "--certificate-oidc-issuer", ISSUER]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    payload = build_statement([Subject("app", {"sha256": DIGEST})], "https://example.com/attestation/v1", b"{}")
    (tmp_path / "artefact").write_bytes(b"artefact")
    (tmp_path / "bundle.json").write_text(json.dumps(STACK.keyless(payload)))
    (tmp_path / "root.json").write_bytes(STACK.trusted_root())
    return tmp_path


VERIFY = ["verify-bundle", "--bundle", "bundle.json", *IDENTITY, "--trusted-root", "root.json"]


@pytest.mark.usefixtures("place")
def test_verifies_a_file_or_a_digest() -> None:
    assert main([*VERIFY, "artefact"]) == 0
    assert main([*VERIFY, f"sha256:{DIGEST}"]) == 0


@pytest.mark.usefixtures("place")
def test_what_does_not_verify(capsys: Capture) -> None:
    assert main([*VERIFY, f"sha256:{'0' * 64}"]) == 6
    assert "subject_mismatch" in capsys.readouterr().err
    # The public instance knows nothing of this stack.
    assert main(["verify-bundle", "--bundle", "bundle.json", *IDENTITY, "artefact"]) == 6
    assert "log_unknown" in capsys.readouterr().err
    assert main(["verify-bundle", "--staging", "--bundle", "bundle.json", *IDENTITY, "artefact"]) == 6


@pytest.mark.usefixtures("place")
def test_wrong_usage(capsys: Capture) -> None:
    assert main([*VERIFY, "absent"]) == 2
    assert main(["verify-bundle", "--bundle", "bundle.json", "--key", "artefact", "artefact"]) == 2
    for wrong in (
        ["verify-bundle", "--bundle", "bundle.json", "artefact"],
        ["verify-bundle", "--bundle", "bundle.json", *IDENTITY[:2], "artefact"],
        ["verify-bundle", "--bundle", "bundle.json", *IDENTITY, "--key", "k", "artefact"],
        [],
    ):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
    capsys.readouterr()


@pytest.mark.usefixtures("place")
def test_signing_says_why_not(capsys: Capture) -> None:
    given = ["sign-bundle", "--identity-token", "t", "--bundle", "out.json", "--trusted-root", "root.json", "artefact"]
    assert main(given) == 3
    assert "key.forbidden (token_malformed)" in capsys.readouterr().err
    assert not Path("out.json").exists()


@pytest.mark.needs("sigstore")
@pytest.mark.parametrize("staging", [[], ["--staging"]])
@pytest.mark.usefixtures("place")
def test_without_a_root_that_of_sigstore_python_holds(staging: list[str], capsys: Capture) -> None:
    # A bundle of the tests' own authority: one that those roots do not name.
    assert main(["verify-bundle", "--bundle", "bundle.json", *IDENTITY, *staging, "artefact"]) == 6
    assert "does not verify: transparency (log_unknown)" in capsys.readouterr().err


@pytest.mark.usefixtures("place")
def test_without_any_root_it_says_what_is_needed(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(public_instance, "distribution", missing)
    assert main(["verify-bundle", "--bundle", "bundle.json", *IDENTITY, "artefact"]) == 2
    assert "no_trusted_root" in capsys.readouterr().err
