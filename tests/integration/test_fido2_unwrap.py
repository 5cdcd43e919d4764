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
from running.callers import request, sign_until
from running.configured import PLUGINS
from running.daemon import Running, running
from running.shell import cosign_accepts, sign_real_sbom
from signerd.errors import SignerdError
from signerd_client import Signer

PROGRAMS = Path(sys.executable).parent
KEY = "fido2:unwrap/release"


def configuration(base: Path, device: SoftAuthenticator) -> str:
    return f"""
[sockets.sign]
[limits]
worker_backoff_first_s = 0.05
{PLUGINS}
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
    sign_real_sbom(daemon, tmp_path, "--out", "b.json")
    assert authenticator.asked == 3
    cosign_accepts(tmp_path, "b.json")


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
