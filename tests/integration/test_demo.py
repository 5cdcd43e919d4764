"""scripts/demo, run as a stranger would: what it promises is there when it ends, and the daemon is not."""

import base64
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from outside.parts import ROOT, the
from signerd.attestation.canonical import canonicalise

FILES = {"artifact", "sbom.cdx.json", "bundle.sigstore.json", "key.pub", "receipt.json", "verify.sh"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that one run left, and what it said: run from elsewhere, with a Python path that is not ours."""
    place = tmp_path_factory.mktemp("demo")
    (place / "msgspec.py").write_text("raise SystemExit('not this one')\n")
    command = [ROOT / "scripts" / "demo", "--out", "out"]
    environment = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return place / "out", done.stderr


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
    (socket,) = re.findall(r"socket (\S+)", demo[1])
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
    path = f"{the('cosign').parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [demo[0] / "verify.sh"],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stderr


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
