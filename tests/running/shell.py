"""What an operator types: the SBOM of a real environment, signerctl, and what stock cosign says of the bundle."""

import os
import subprocess
import sys
from pathlib import Path

from outside.parts import the
from running.daemon import RELEASE, Running

__all__ = ["cosign_accepts", "real_sbom", "sign_real_sbom", "signerctl"]

_PROGRAMS = Path(sys.executable).parent
_NOWHERE = "http://127.0.0.1:9"


def real_sbom(folder: Path) -> Path:
    """Write the SBOM of the environment that runs the tests."""
    made = folder / "sbom.json"
    command = [_PROGRAMS / "cyclonedx-py", "environment", "--sv", "1.6", "--of", "JSON", "-o", made, sys.executable]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return made


def signerctl(daemon: Running, folder: Path, *arguments: str) -> None:
    """Run it in ``folder``; it must succeed."""
    done = subprocess.run(
        [_PROGRAMS / "signerctl", *arguments],
        cwd=folder,
        env={**os.environ, "SIGNERD_SOCKET": str(daemon.socket)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def sign_real_sbom(daemon: Running, folder: Path, *options: str) -> None:
    """Have a real SBOM about the file ``app`` signed there, with the public key beside it in ``key.pub``."""
    (folder / "app").write_bytes(b"the artefact")
    sbom = real_sbom(folder)
    signerctl(daemon, folder, "keys", "--public", "key.pub")
    signerctl(daemon, folder, "sign", "sbom", str(sbom), "--subject", "app", "--release", RELEASE, *options)


def cosign_accepts(folder: Path, bundle: str) -> None:
    """Demand that stock cosign, offline, verifies a bundle that :func:`sign_real_sbom` made."""
    command = [the("cosign"), "verify-blob-attestation", "--key", "key.pub", "--bundle", bundle]
    command += ["--insecure-ignore-tlog", "--type", "https://cyclonedx.org/bom", "app"]
    offline = {"HOME": str(folder / "home"), "HTTPS_PROXY": _NOWHERE}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | offline, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stderr
