"""T18: a wrong PIN that restarts present again and again, until a FIDO2 authenticator locks itself for good.

Each restart is a new process of the real key worker. The authenticator, of software, counts what reaches it.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.fido2_device import RETRIES, SoftAuthenticator
from fakes.links import Peer

KEY = "fido2:alice"
PIN, WRONG = "2468", "1357"
SIGNED, REFUSED, LATCHED = "signed", "key.backend_fault pin_incorrect", "key.backend_fault pin_latched"


class Host:
    """The settings and the PIN file of one backend."""

    def __init__(self, base: Path, device: SoftAuthenticator) -> None:
        self.state, self.device, self._pin = base / "state", device, base / "pin"
        self.set_pin(PIN)

    def set_pin(self, pin: str) -> None:
        self._pin.write_text(pin)
        self._pin.chmod(0o600)

    @contextmanager
    def worker(self) -> Iterator[Peer]:
        settings = {
            "state": str(self.state), "device": self.device.place, "rp_id": "signer.example", "user_verification": True,
            "pin_file": str(self._pin),
        }  # fmt: skip
        peer = Peer("signerd.worker.key", {"scheme": "fido2", "name": "touch", "settings": settings})
        try:
            assert peer.hello()["type"] == "hello"
            yield peer
        finally:
            peer.close()

    def signed(self) -> str:
        """What a fresh worker says to a digest."""
        with self.worker() as peer:
            answer = peer.ask("sign", {"key": KEY, "message": bytes(32)})
        assert PIN not in str(answer)
        return SIGNED if answer["type"] == "response" else f"{answer['code']} {answer['details']['reason']}"

    def killed_at_pin(self) -> None:
        """A worker that is killed when the authenticator has judged and nobody has been told."""
        with self.worker() as peer:
            self.device.pin_judged = lambda: os.kill(peer.process.pid, signal.SIGKILL)
            with pytest.raises(EOFError):
                peer.ask("sign", {"key": KEY, "message": bytes(32)})
            assert peer.status() == -signal.SIGKILL
        self.device.pin_judged = lambda: None


@pytest.fixture
def host(authenticator: SoftAuthenticator, tmp_path: Path) -> Host:
    authenticator.pin = PIN
    made = Host(tmp_path, authenticator)
    with made.worker() as peer:
        assert peer.ask("enrol", {"key": KEY, "algorithm": ""})["type"] == "response"
    assert made.signed() == SIGNED
    authenticator.presented = 0
    return made


def test_a_wrong_pin_and_ten_restarts_are_one_attempt(host: Host) -> None:
    host.set_pin(WRONG)
    assert [host.signed() for _ in range(11)] == [REFUSED, *[LATCHED] * 10]
    assert (host.device.presented, host.device.retries) == (1, RETRIES - 1)
    host.set_pin(PIN)
    assert host.signed() == SIGNED


def test_killed_within_a_bad_attempt_it_asks_the_authenticator_what_it_counted_and_stops(host: Host) -> None:
    host.set_pin(WRONG)
    host.killed_at_pin()
    assert [host.signed() for _ in range(3)] == [LATCHED] * 3
    assert host.device.presented == 1


def test_killed_within_a_good_attempt_it_goes_on_at_the_next_start(host: Host) -> None:
    for _ in range(2):
        host.killed_at_pin()
        assert host.signed() == SIGNED
    assert host.device.retries == RETRIES


def test_an_admin_who_removes_the_mark_gets_one_more_attempt(host: Host) -> None:
    host.set_pin(WRONG)
    assert host.signed() == REFUSED
    (host.state / "pin.json").unlink()
    assert [host.signed() for _ in range(3)] == [REFUSED, LATCHED, LATCHED]


def test_what_others_used_up_leaves_the_last_attempts_alone(host: Host) -> None:
    host.device.retries = 3
    assert host.signed() == "key.backend_fault pin_retries_low"
    assert host.device.presented == 0


def test_where_a_refusal_cannot_be_remembered_no_pin_is_presented(host: Host) -> None:
    host.state.chmod(0o777)
    assert host.signed() == "key.backend_fault state_folder"
    assert host.device.presented == 0
