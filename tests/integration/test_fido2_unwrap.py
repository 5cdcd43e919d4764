"""A software key that an authenticator unwraps, from enrolment to what stock cosign accepts."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.fido2_device import SoftAuthenticator
from running.callers import request, sign_until
from running.daemon import Running, running
from running.enrolled import enrolled
from running.shell import cosign_accepts, sign_real_sbom
from signerd.errors import SignerdError
from signerd_client import Signer


@pytest.fixture
def daemon(authenticator: SoftAuthenticator, tmp_path: Path) -> Iterator[Running]:
    configured = enrolled(tmp_path, authenticator, "fido2:unwrap/release")
    base = tmp_path / "daemon"
    base.mkdir()
    with running(base, config=configured) as started:
        yield started


@pytest.mark.needs("cosign")
def test_a_real_sbom_signed_after_a_touch_is_accepted_by_stock_cosign(
    daemon: Running, authenticator: SoftAuthenticator, tmp_path: Path
) -> None:
    sign_real_sbom(daemon, tmp_path, "--out", "b.json")
    cosign_accepts(tmp_path, "b.json")
    assert authenticator.asked == 3


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
