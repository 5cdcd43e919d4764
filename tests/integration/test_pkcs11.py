"""A key in SoftHSM behind the real daemon: an SBOM, signed, verified by stock cosign; and a module that fails."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.tokens import Shim, SoftHsm
from running.callers import request, sign_until
from running.configured import PLUGINS
from running.daemon import Running, running
from running.shell import cosign_accepts, sign_real_sbom
from signerd.errors import SignerdError
from signerd_client import Signer

pytestmark = pytest.mark.needs("softhsm2")

KEY = "pkcs11:token=demo;object=release%20key;id=%01"


def configuration(settings: dict[str, object], key: str = KEY, algorithm: str = "ES256") -> str:
    modules, environment = settings["modules"], settings["environment"]
    assert isinstance(modules, dict)
    assert isinstance(environment, dict)

    def table(values: dict[str, str]) -> str:
        return ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())

    return f"""
[sockets.sign]
[limits]
worker_backoff_first_s = 0.05
{PLUGINS}
[backends.hsm]
certificate = "none"
scheme = "pkcs11"
kind = "hsm"
call_deadline_s = 0.5
[backends.hsm.settings]
modules = {{ {table(modules)} }}
environment = {{ {table(environment)} }}
state = {json.dumps(settings["state"])}
[backends.hsm.settings.tokens]
demo = {{ pin_file = {json.dumps(settings["pin_file"])} }}
[tenants.local]
keys = [{json.dumps(key)}]
[keys.{json.dumps(key)}]
backend = "hsm"
tenant = "local"
generate = "{algorithm}"
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    made = tmp_path / "daemon"
    made.mkdir()
    return made


@pytest.fixture
def daemon(hsm: SoftHsm, base: Path) -> Iterator[Running]:
    with running(base, config=configuration(hsm.settings(sessions=2))) as started:
        yield started


@pytest.mark.needs("cosign", "pkcs11-tool")
def test_a_real_sbom_signed_in_softhsm_is_accepted_by_stock_cosign(
    daemon: Running, hsm: SoftHsm, tmp_path: Path
) -> None:
    sign_real_sbom(daemon, tmp_path, "--out", "b.json")
    cosign_accepts(tmp_path, "b.json")
    assert "release key" in hsm.tool("--list-objects", "--type", "privkey").stdout
    hsm.tool("--read-object", "--type", "pubkey", "--id", "01", "--output-file", str(tmp_path / "read.der"))
    exported = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", "key.pub", "-outform", "DER"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert (tmp_path / "read.der").read_bytes() == exported.stdout, "the second reader has the key that the daemon has"


def test_the_key_is_there_again_after_a_restart_and_is_the_same(hsm: SoftHsm, base: Path) -> None:
    config = configuration(hsm.settings())
    with running(base, config=config) as first, Signer.connect(first.socket) as signer:
        keys = signer.keys()
    with running(base, config=config) as second, Signer.connect(second.socket) as signer:
        assert signer.keys() == keys
        assert signer.sign_dsse(request()).bundles


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("fault", ["crash", "spin"])
def test_a_module_that_crashes_or_spins_fails_its_callers_and_the_next_worker_signs(
    shim: Shim, base: Path, fault: str
) -> None:
    with running(base, config=configuration(shim.settings())) as daemon:
        with Signer.connect(daemon.socket) as signer:
            assert signer.sign_dsse(request()).bundles
            worker = daemon.child("key")
            shim.fail("C_Sign", fault)
            with pytest.raises(SignerdError) as caught:
                signer.sign_dsse(request(1))
            assert caught.value.code == "key.backend_unavailable"
        if fault == "spin":
            # One missed deadline may be the host's fault; at the second the worker is killed.
            with Signer.connect(daemon.socket) as signer, pytest.raises(SignerdError) as caught:
                signer.sign_dsse(request(2))
            assert caught.value.code == "key.backend_unavailable"
        sign_until(daemon.socket, 10)
        assert daemon.child("key", other_than=worker) != worker


def test_a_wrong_pin_lets_the_daemon_start_without_the_key(hsm: SoftHsm, base: Path) -> None:
    hsm.set_pin_file("0000")
    with running(base, config=configuration(hsm.settings())) as daemon:
        with Signer.connect(daemon.socket) as signer, pytest.raises(SignerdError) as caught:
            signer.sign_dsse(request())
        assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "pin_incorrect")
        assert "pin_incorrect" in daemon.said
        assert "0000" not in daemon.said


def test_a_token_that_comes_later_signs_without_a_restart(hsm: SoftHsm, base: Path) -> None:
    key = "pkcs11:token=late;object=release"
    config = configuration(hsm.settings(), key).replace("demo =", "late =")
    config = config.replace("worker_backoff_first_s", "worker_backoff_longest_s = 0.2\nworker_backoff_first_s")
    with running(base, config=config) as daemon:
        with Signer.connect(daemon.socket) as signer, pytest.raises(SignerdError) as caught:
            signer.sign_dsse(request())
        assert (caught.value.code, caught.value.reason) == ("key.backend_unavailable", "token_absent")
        with Signer.connect(daemon.socket) as signer, pytest.raises(SignerdError) as caught:
            signer.describe(key)
        assert caught.value.reason == "token_absent"
        hsm.initialise("late")
        sign_until(daemon.socket, 20)
