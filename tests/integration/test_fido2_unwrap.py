"""A software key that an authenticator unwraps, from enrolment to what stock cosign accepts."""

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.fido2_device import SoftAuthenticator
from outside.parts import the
from running.callers import request, sign_until
from running.daemon import RELEASE, Running, running
from signerd.errors import SignerdError
from signerd_client import Signer

PROGRAMS = Path(sys.executable).parent
TYPE = "https://cyclonedx.org/bom"
KEY = "fido2:unwrap/release"


def configuration(base: Path, device: SoftAuthenticator) -> str:
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
settings = {{ state = "{base}/fido2", device = "{device.place}", rp_id = "signer.example", touch_s = 10 }}
[tenants.local]
keys = ["{KEY}"]
[keys."{KEY}"]
backend = "touch"
tenant = "local"
"""


@pytest.fixture
def configured(authenticator: SoftAuthenticator, tmp_path: Path) -> str:
    """The configuration by which the key was enrolled, before any daemon ran."""
    text = configuration(tmp_path, authenticator)
    file = tmp_path / "signerd.toml"
    file.write_text(text)
    command = [PROGRAMS / "signerd", "keys", "enrol-fido2", KEY, "--config", file, "--output", "table"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert authenticator.asked == 2
    assert tomllib.loads(done.stdout)["keys"] == tomllib.loads(text)["keys"]
    return text


@pytest.fixture
def daemon(configured: str, tmp_path: Path) -> Iterator[Running]:
    base = tmp_path / "daemon"
    base.mkdir()
    with running(base, config=configured) as started:
        yield started


@pytest.mark.needs("cosign")
def test_a_real_sbom_signed_after_a_touch_is_accepted_by_stock_cosign(
    daemon: Running, authenticator: SoftAuthenticator, tmp_path: Path
) -> None:
    (tmp_path / "app").write_bytes(b"the artefact")
    subprocess.run(
        [PROGRAMS / "cyclonedx-py", "environment", "--sv", "1.6", "--of", "JSON", "-o", "sbom.json", sys.executable],
        cwd=tmp_path, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    environment = {**os.environ, "SIGNERD_SOCKET": str(daemon.socket)}
    for arguments in (
        ["keys", "--public", "key.pub"],
        ["sign", "sbom", "sbom.json", "--subject", "app", "--release", RELEASE, "--out", "b.json"],
    ):
        done = subprocess.run(
            [PROGRAMS / "signerctl", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert authenticator.asked == 3
    command = [the("cosign"), "verify-blob-attestation", "--key", "key.pub", "--bundle", "b.json"]
    command += ["--insecure-ignore-tlog", "--type", TYPE, "app"]
    nowhere = {"HOME": str(tmp_path / "home"), "HTTPS_PROXY": "http://127.0.0.1:9"}
    verified = subprocess.run(
        command, cwd=tmp_path, env=os.environ | nowhere, capture_output=True, text=True, check=False, timeout=60
    )
    assert verified.returncode == 0, verified.stderr


def test_one_touch_lasts_as_long_as_the_worker(daemon: Running, authenticator: SoftAuthenticator) -> None:
    with Signer.connect(daemon.socket) as signer:
        for number in range(3):
            assert signer.sign_dsse(request(number)).bundles
        assert authenticator.asked == 3
        worker = daemon.child("key")
        os.kill(worker, signal.SIGKILL)
        daemon.child("key", other_than=worker)
        sign_until(daemon.socket, 30)
    assert authenticator.asked == 4


def test_an_authenticator_that_is_away_is_said_and_comes_back(
    daemon: Running, authenticator: SoftAuthenticator
) -> None:
    path = Path(authenticator.place.removeprefix("unix:"))
    path.rename(path.with_name("away"))
    with Signer.connect(daemon.socket) as signer:
        with pytest.raises(SignerdError) as caught:
            signer.sign_dsse(request(1))
        assert (caught.value.code, caught.value.retryable) == ("key.backend_unavailable", True)
        path.with_name("away").rename(path)
        sign_until(daemon.socket, 30)
