"""PKCS#11 modules that crash, spin, fork and talk, in the real key worker: its process is all that they can take."""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.links import Peer
from fakes.tokens import Shim, SoftHsm
from outside.parts import the
from running.configured import until
from signerd.verification.keys import PublicKey

pytestmark = pytest.mark.needs("softhsm2", "gcc")

KEY = "pkcs11:token=demo;object=k"
MESSAGE = b"what is signed"

Start = Callable[[dict[str, object]], Peer]


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[Peer] = []

    def begin(settings: dict[str, object]) -> Peer:
        made.append(Peer("signerd.worker.key", {"scheme": "pkcs11", "name": "hsm", "settings": settings}))
        assert made[-1].hello()["methods"] == ["describe", "sign", "generate", "rotate", "batch"]
        return made[-1]

    yield begin
    for peer in made:
        peer.close()


def signed(peer: Peer) -> bytes:
    """Have the key sign, and verify what it did."""
    described = peer.ask("describe", {"key": KEY})
    assert described["type"] == "response", described
    description = described["result"]
    answer = asked_to_sign(peer)["result"]
    assert answer["keyid"] == description["keyid"]
    PublicKey.from_spki(description["spki"]).verify(answer["signature"], MESSAGE)
    spki: bytes = description["spki"]
    return spki


def asked_to_sign(peer: Peer) -> dict[str, Any]:
    return peer.ask("sign", {"key": KEY, "message": hashlib.sha256(MESSAGE).digest()})


def gone(pid: int) -> bool:
    try:
        # A zombie is gone too: whoever inherited it has not looked yet.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except FileNotFoundError:
        return True


def test_a_module_that_crashes_takes_its_worker_with_it_and_the_next_one_signs(shim: Shim, start: Start) -> None:
    peer = start(shim.settings())
    peer.ask("generate", {"key": KEY, "algorithm": "ES256"})
    spki = signed(peer)
    shim.fail("C_Sign", "crash")
    with pytest.raises(EOFError):
        asked_to_sign(peer)
    assert peer.status() == -signal.SIGSEGV
    assert signed(start(shim.settings())) == spki


def test_a_module_that_crashes_at_start_crashes_at_its_first_use_and_no_earlier(shim: Shim, start: Start) -> None:
    shim.fail("C_Initialize", "crash")
    peer = start(shim.settings())
    with pytest.raises(EOFError):
        peer.ask("describe", {"key": KEY})
    assert peer.status() == -signal.SIGSEGV


def test_a_module_that_spins_is_killed_with_its_worker(shim: Shim, start: Start) -> None:
    peer = start(shim.settings())
    peer.ask("generate", {"key": KEY, "algorithm": "ES256"})
    shim.fail("C_Sign", "spin")
    before = len(shim.calls("C_Sign"))
    peer.link.settimeout(0.2)
    with pytest.raises(TimeoutError):
        asked_to_sign(peer)
    until(lambda: [result for result, _ in shim.calls("C_Sign")[before:]] == [0xDEAD])
    peer.process.kill()
    assert peer.status() == -signal.SIGKILL
    signed(start(shim.settings()))


def test_what_a_module_forks_goes_with_the_worker(shim: Shim, start: Start) -> None:
    peer = start(shim.settings())
    peer.ask("generate", {"key": KEY, "algorithm": "ES256"})
    shim.fail("C_Sign", "fork")
    signed(peer)
    ((_, child),) = shim.calls("fork")
    assert not gone(child)
    os.kill(peer.process.pid, signal.SIGKILL)
    assert peer.status() == -signal.SIGKILL
    until(lambda: gone(child))


def test_a_module_that_writes_to_standard_output_writes_into_no_protocol(shim: Shim, start: Start) -> None:
    peer = start(shim.settings())
    peer.ask("generate", {"key": KEY, "algorithm": "ES256"})
    shim.fail("C_Sign", "print", 3)
    for _ in range(4):
        signed(peer)


def test_a_pin_in_a_reference_is_refused_and_said_to_nobody(shim: Shim, start: Start) -> None:
    answer = start(shim.settings()).ask("describe", {"key": f"{KEY}?pin-value=98765"})
    assert (answer["code"], answer["details"]["reason"]) == ("key.forbidden", "pin_in_uri")
    assert "98765" not in str(answer)


def test_settings_that_it_does_not_understand_end_the_worker(hsm: SoftHsm) -> None:
    settings = {"scheme": "pkcs11", "name": "hsm", "settings": {"modules": {"softhsm": "relative.so"}}}
    peer = Peer("signerd.worker.key", settings)
    assert peer.status() == 2
    peer.close()


class Server:
    """p11-kit server with SoftHSM behind it, in processes of its own: it forks one for each client."""

    def __init__(self, hsm: SoftHsm) -> None:
        self._hsm = hsm
        self.address = hsm.base / "p11-kit.sock"
        self.start()

    def start(self) -> None:
        command = [the("p11-kit"), "server", "--foreground", "--name", self.address]
        command += ["--provider", self._hsm.module, "pkcs11:token=demo"]
        self._process = subprocess.Popen(
            command, env={**os.environ, **self._hsm.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        until(self.address.exists)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self.address.unlink(missing_ok=True)

    def settings(self) -> dict[str, object]:
        (client,) = sorted(Path("/usr/lib").glob("*/pkcs11/p11-kit-client.so"))
        address = {"P11_KIT_SERVER_ADDRESS": f"unix:path={self.address}"}
        return self._hsm.settings(modules={"remote": str(client)}, environment=address)


@pytest.fixture
def server(hsm: SoftHsm) -> Iterator[Server]:
    started = Server(hsm)
    yield started
    started.kill()


@pytest.mark.needs("p11-kit")
def test_a_token_in_another_process_comes_back_after_that_was_killed(server: Server, start: Start) -> None:
    peer = start(server.settings())
    peer.ask("generate", {"key": KEY, "algorithm": "ES256"})
    spki = signed(peer)
    server.kill()
    answer = asked_to_sign(peer)
    assert answer["code"] == "key.backend_unavailable"
    answer = asked_to_sign(peer)
    assert answer["code"] == "key.backend_unavailable"
    server.start()
    until(lambda: asked_to_sign(peer)["type"] == "response")
    assert signed(peer) == spki
    server.kill()
    server.start()
    assert signed(peer) == spki, "not even one call fails where it is back in time"


@pytest.mark.needs("p11-kit")
def test_both_ways_to_one_token_show_the_same_key(server: Server, hsm: SoftHsm, start: Start) -> None:
    start(hsm.settings()).ask("generate", {"key": KEY, "algorithm": "ES384"})
    through = start(server.settings()).ask("describe", {"key": KEY})
    assert through["type"] == "response", through
    assert through["result"] == start(hsm.settings()).ask("describe", {"key": KEY})["result"]


def test_a_start_is_quick(shim: Shim, start: Start) -> None:
    start(shim.settings()).ask("generate", {"key": KEY, "algorithm": "ES256"})
    best = 60.0
    for _ in range(3):
        began = time.monotonic()
        peer = start(shim.settings())
        assert peer.ask("describe", {"key": KEY})["type"] == "response"
        best = min(best, time.monotonic() - began)
    assert best < 1, "about 0.35 s where nothing else runs"
