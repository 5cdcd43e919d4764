"""A daemon whose key was enrolled with an authenticator by command, and a real SBOM that it signs for cosign."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from fakes.fido2_device import SoftAuthenticator
from outside.parts import the
from running.daemon import RELEASE, Running

__all__ = ["enrolled", "sbom_verified_by_cosign"]

PROGRAMS = Path(sys.executable).parent
TYPE = "https://cyclonedx.org/bom"


def configuration(base: Path, device: SoftAuthenticator, key: str, *, touch_s: float, settings: str) -> str:
    return f"""
[sockets.sign]
[limits]
worker_backoff_first_s = 0.05
[plugins.auth-peercred]
certificate = "none"
[plugins.entitlement-file]
certificate = "none"
[plugins.release-allowlist]
certificate = "none"
releases = [{{ digest = "{RELEASE}" }}]
[plugins.predicates-intoto]
certificate = "none"
[backends.touch]
certificate = "none"
scheme = "fido2"
call_deadline_s = 20
[backends.touch.settings]
state = "{base}/fido2"
device = "{device.place}"
rp_id = "signer.example"
touch_s = {touch_s}
{settings}
[tenants.local]
keys = ["{key}"]
[keys."{key}"]
backend = "touch"
tenant = "local"
"""


def enrolled(base: Path, device: SoftAuthenticator, key: str, *, touch_s: float = 10, settings: str = "") -> str:
    """Return the configuration by which the key was enrolled, before any daemon ran: two touches."""
    text = configuration(base, device, key, touch_s=touch_s, settings=settings)
    file = base / "signerd.toml"
    file.write_text(text)
    command = [PROGRAMS / "signerd", "keys", "enrol-fido2", key, "--config", file, "--output", "table"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert device.asked == 2
    assert tomllib.loads(done.stdout)["keys"] == tomllib.loads(text)["keys"]
    return text


def sbom_verified_by_cosign(daemon: Running, base: Path) -> None:
    """Have the daemon sign an SBOM of the suite's own environment, once, and stock cosign verify the bundle."""
    (base / "app").write_bytes(b"the artefact")
    subprocess.run(
        [PROGRAMS / "cyclonedx-py", "environment", "--sv", "1.6", "--of", "JSON", "-o", "sbom.json", sys.executable],
        cwd=base, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    environment = {**os.environ, "SIGNERD_SOCKET": str(daemon.socket)}
    for arguments in (
        ["keys", "--public", "key.pub"],
        ["sign", "sbom", "sbom.json", "--subject", "app", "--release", RELEASE, "--out", "b.json"],
    ):
        done = subprocess.run(
            [PROGRAMS / "signerctl", *arguments], cwd=base, env=environment, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    command = [the("cosign"), "verify-blob-attestation", "--key", "key.pub", "--bundle", "b.json"]
    command += ["--insecure-ignore-tlog", "--type", TYPE, "app"]
    nowhere = {"HOME": str(base / "home"), "HTTPS_PROXY": "http://127.0.0.1:9"}
    verified = subprocess.run(
        command, cwd=base, env=os.environ | nowhere, capture_output=True, text=True, check=False, timeout=60
    )
    assert verified.returncode == 0, verified.stderr
