"""The public cases of sigstore-conformance, through ``signerd-conformance-client`` as its suite would call it.

The suite's own fixture fetches a token even to verify alone; the cases are its data, called in its way.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from outside.parts import VECTORS
from signerd_conformance.client import main

CASES = VECTORS / "sigstore-conformance" / "bundle-verify"
IDENTITY = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/"
    ".github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ISSUER = "https://token.actions.githubusercontent.com"

pytestmark = pytest.mark.needs("vectors")


def cases() -> list[str]:
    return sorted(path.name for path in CASES.iterdir() if path.is_dir()) if CASES.is_dir() else []


def arguments(case: Path, *, digest: bool) -> list[str]:
    def said(name: str, default: str) -> str:
        path = case / name
        return path.read_text().strip() if path.exists() else default

    artifact = case / "artifact"
    if not artifact.exists():
        artifact = CASES / "a.txt"
    given = ["verify-bundle", "--bundle", str(case / "bundle.sigstore.json")]
    if (case / "key.pub").exists():
        given += ["--key", str(case / "key.pub")]
    else:
        given += ["--certificate-identity", said("identity", IDENTITY)]
        given += ["--certificate-oidc-issuer", said("issuer", ISSUER)]
    if (case / "trusted_root.json").exists():
        given += ["--trusted-root", str(case / "trusted_root.json")]
    return [*given, f"sha256:{hashlib.sha256(artifact.read_bytes()).hexdigest()}" if digest else str(artifact)]


@pytest.mark.parametrize("digest", [False, True], ids=["path", "digest"])
@pytest.mark.parametrize("name", cases())
def test_a_case(name: str, digest: bool, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(arguments(CASES / name, digest=digest))
    said = capsys.readouterr().err
    if name.endswith("_fail"):
        assert status != 0
        assert said
    else:
        assert (status, said) == (0, "")


def test_the_cases_are_those_of_the_table() -> None:
    rows = (CASES.parent / "expected.tsv").read_text().splitlines()[1:]
    table = {name: expected for name, expected, *_ in (row.split("\t") for row in rows)}
    assert list(table) == cases()
    assert len(table) == 47
    assert all((expected == "fail") == name.endswith("_fail") for name, expected in table.items())


def test_the_installed_command() -> None:
    command = Path(sys.executable).parent / "signerd-conformance-client"
    for name, status in (("rekor2-dsse-happy-path", 0), ("rekor2-dsse-mismatch-sig_fail", 6)):
        called = subprocess.run(
            [command, *arguments(CASES / name, digest=False)], check=False, capture_output=True, timeout=60
        )
        assert called.returncode == status, called.stderr
