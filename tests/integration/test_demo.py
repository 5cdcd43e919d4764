"""scripts/demo, run as a stranger would: what it promises is there when it ends, and what it started is not."""

import base64
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from outside.cosign import COSIGNS
from outside.parts import ROOT, the
from running.oidc import EMAIL
from running.stack import NEEDS
from signerd.attestation.canonical import canonicalise

BOTH = {"artifact", "sbom.cdx.json", "bundle.sigstore.json", "receipt.json", "verify.sh"}
FILES = BOTH | {"key.pub"}


def run_demo(place: Path, *arguments: str) -> tuple[Path, str]:
    """The folder that one run left, and what it said: run from elsewhere, with a Python path that is not ours."""
    (place / "msgspec.py").write_text("raise SystemExit('not this one')\n")
    command = [ROOT / "scripts" / "demo", "--out", "out", *arguments]
    environment = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return place / "out", done.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return run_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return run_demo(tmp_path_factory.mktemp("keyless"), "--keyless")


def test_it_leaves_what_it_promises(demo: tuple[Path, str]) -> None:
    out, _ = demo
    assert {path.name for path in out.iterdir()} == FILES
    assert all(path.stat().st_size for path in out.iterdir())


def test_the_bundle_speaks_of_the_artifact_and_holds_the_sbom(demo: tuple[Path, str]) -> None:
    out, _ = demo
    bundle = json.loads((out / "bundle.sigstore.json").read_bytes())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    (subject,) = statement["subject"]
    assert subject["digest"]["sha256"] == hashlib.sha256((out / "artifact").read_bytes()).hexdigest()
    assert statement["predicate"] == json.loads((out / "sbom.cdx.json").read_bytes())
    assert len(statement["predicate"]["components"]) > 20


def test_the_receipt_is_canonical(demo: tuple[Path, str]) -> None:
    text = (demo[0] / "receipt.json").read_bytes()
    assert bytes(canonicalise(text).text) == text.rstrip(b"\n")


def test_it_showed_what_is_refused(demo: tuple[Path, str]) -> None:
    assert "an altered bundle is refused" in demo[1]
    assert "another artifact is refused" in demo[1]


def test_the_daemon_is_gone(demo: tuple[Path, str]) -> None:
    assert_gone(demo[1])


def assert_gone(said: str) -> None:
    """Neither the temporary directory of the run nor a process with it in its command line is there."""
    (socket,) = re.findall(r"socket (\S+)", said)
    place = Path(socket).parents[1]
    assert not place.exists()
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if bytes(place) in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile
        return b""


@pytest.mark.needs("cosign")
def test_stock_cosign_accepts_it(demo: tuple[Path, str]) -> None:
    assert_accepted(demo[0], "cosign")


def assert_accepted(out: Path, cosign: str) -> None:
    """That cosign accepts what lies in the folder, asked by its verify.sh."""
    path = f"{the(cosign).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [out / "verify.sh"],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stderr


@pytest.mark.needs(*NEEDS)
def test_keyless_leaves_a_logged_and_stamped_bundle_by_a_certificate(keyless: tuple[Path, str]) -> None:
    out, said = keyless
    assert {path.name for path in out.iterdir()} == BOTH | {"trusted_root.json"}
    material = json.loads((out / "bundle.sigstore.json").read_bytes())["verificationMaterial"]
    leaf = x509.load_der_x509_certificate(base64.b64decode(material["certificate"]["rawBytes"]))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == [EMAIL]
    assert len(material["tlogEntries"]) == 1
    assert len(material["timestampVerificationData"]["rfc3161Timestamps"]) == 1
    assert json.loads((out / "receipt.json").read_bytes())["decision"]["degraded"] == []
    for what in ("an altered bundle", "another artifact", "another identity"):
        assert f"{what} is refused" in said


@pytest.mark.needs(*NEEDS)
def test_keyless_leaves_nothing_running(keyless: tuple[Path, str]) -> None:
    assert_gone(keyless[1])


@pytest.mark.needs(*COSIGNS, *NEEDS)
@pytest.mark.parametrize("cosign", COSIGNS)
def test_every_stock_cosign_accepts_what_keyless_left(keyless: tuple[Path, str], cosign: str) -> None:
    assert_accepted(keyless[0], cosign)


def test_keyless_without_its_parts_says_how_to_get_them(tmp_path: Path) -> None:
    command = [ROOT / "scripts" / "demo", "--keyless", "--out", "out"]
    environment = os.environ | {"SIGNERD_CACHE": str(tmp_path / "nothing")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    missing = " ".join(NEEDS)
    assert done.stderr.endswith(
        f"demo: failed: --keyless needs what is not here: {missing}; scripts/setup --tools builds it\n"
    )


def test_a_place_that_cannot_be_written_to_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [ROOT / "scripts" / "demo", "--out", "file"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith("demo: failed: nothing can be written to file\n")


def test_an_unknown_argument_is_a_usage_error() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "demo", "--loud"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "--loud" in done.stderr
