"""T17: the worker of an authenticator says that somebody approved what nobody has seen."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fakes.distributions import install
from running.callers import request
from running.configured import until
from running.daemon import Running
from running.daemon import running as running_daemon
from running.touching import configuration
from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP
from signerd.errors import SignerdError
from signerd.wire.params import Options
from signerd_client import Signer
from signerd_client.presence import approval_of
from signerd_client.results import Signed

TESTS = Path(__file__).parents[1]
LIAR = """
import hashlib, os, time
from pathlib import Path
from fakes.credential import UV, SoftCredential
from signerd.contracts import hookimpl
from signerd.contracts.values import KeyDescription, SignatureResult

class Liar:
    capabilities = ()

    def __init__(self, settings):
        self.folder = Path(settings["folder"])
        (self.folder / "pid").write_text(str(os.getpid()))
        # Above that of a worker of before.
        self.key = SoftCredential("alice", int(time.time() * 20) % 2**32)

    def describe(self, key):
        return KeyDescription("FIDO2-ES256", self.key.keyid, self.key.spki, (), (), "sha256")

    def sign(self, key, message):
        mode = (self.folder / "mode").read_text()
        return SignatureResult(getattr(self, mode)(message), self.key.keyid)

    def honest(self, message):
        kept = self.key.touch(message)
        (self.folder / "kept").write_bytes(kept)
        (self.folder / "kept_for").write_bytes(message)
        return kept

    def replayed(self, message):
        return (self.folder / "kept").read_bytes()

    def another_statement(self, message):
        return self.key.touch(hashlib.sha256(message).digest())

    def another_credential(self, message):
        return SoftCredential().touch(message)

    def another_relying_party(self, message):
        return self.key.touch(message, rp_id="evil.example")

    def another_origin(self, message):
        return self.key.touch_in_browser(message, origin="https://evil.example")

    def nobody(self, message):
        return self.key.touch(message, flags=UV)

    def raw(self, message):
        return self.key.raw(message)

    def hangs(self, message):
        time.sleep(3600)

    def dies(self, message):
        os.kill(os.getpid(), 9)

@hookimpl
def signerd_key_backends(settings):
    return Liar(settings)
"""
REFUTED = ("key.backend_fault", "assertion_refused")


@dataclass
class Told:
    daemon: Running
    folder: Path
    asked: int = 0

    def lie(self, mode: str) -> None:
        (self.folder / "mode").write_text(mode)

    def ask(self, number: int | None = None) -> Signed | tuple[str, str]:
        """Ask for a signature, wait for what the worker says, and return what came of it."""
        self.asked += 1
        asked = request(self.asked if number is None else number)
        with Signer.connect(self.daemon.socket) as signer:
            approval_id = None
            for _ in range(2000):
                try:
                    return signer.sign_dsse(replace(asked, approval_id=approval_id))
                except SignerdError as error:
                    approval = approval_of(error)
                    if approval is None and error.reason != "worker_down":
                        return error.code, error.reason
                    approval_id = None if approval is None else approval.approval_id
                time.sleep(0.01)
        raise AssertionError("nothing came of it")

    def worker(self) -> int:
        """The process of the authenticator's worker that was last started."""
        return int((self.folder / "pid").read_text())

    def kinds(self, kind: str) -> int:
        return sum(row["kind"] == kind for row in self.daemon.leaves())


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with started(tmp_path_factory.mktemp("liar")) as told:
        yield told


@contextlib.contextmanager
def started(base: Path, presence_s: float = 60) -> Iterator[Told]:
    site = base / "site"
    site.mkdir(mode=0o755)
    install(site, "signerd-key-liar", {"signerd_key_liar.py": LIAR}, {KEY_BACKENDS_GROUP: {"liar": "signerd_key_liar"}})
    config = configuration(
        base,
        f'scheme = "liar"\nsettings = {{ folder = "{base}" }}',
        approver="liar:alice",
        presence_s=presence_s,
        limits="worker_backoff_longest_s = 0.2",
    )
    environment = {"PYTHONPATH": os.pathsep.join([str(site), str(TESTS)])}
    with running_daemon(base, config=config, environment=environment) as daemon:
        yield Told(daemon, base)


@pytest.mark.parametrize(
    "lie",
    [
        "replayed",
        "another_statement",
        "another_credential",
        "another_relying_party",
        "another_origin",
        "nobody",
        "raw",
    ],
)
def test_nothing_is_signed_by_an_approval_that_was_not_given(liar: Told, lie: str) -> None:
    liar.lie("honest")
    assert not isinstance(liar.ask(), tuple)
    accepted, decided = liar.kinds("presence"), liar.kinds("decided")
    worker = liar.worker()
    liar.lie(lie)
    assert liar.ask() == REFUTED
    until(lambda: not Path(f"/proc/{worker}").exists())
    assert (liar.kinds("presence"), liar.kinds("decided")) == (accepted, decided)
    assert "an assertion by liar:alice does not verify" in liar.daemon.said


def test_an_assertion_over_the_same_statement_is_not_taken_twice(liar: Told) -> None:
    liar.lie("honest")
    signed = liar.ask(1000)
    assert not isinstance(signed, tuple)
    liar.lie("replayed")
    assert liar.ask(1000) == REFUTED
    assert "counter did not advance" in liar.daemon.said
    liar.lie("honest")
    again = liar.ask(1000)
    assert not isinstance(again, tuple)
    assert signed.result.presence
    assert again.result.presence
    assert again.result.presence.counter > signed.result.presence.counter


def test_a_worker_that_dies_with_the_question_is_told_of(liar: Told) -> None:
    liar.lie("dies")
    assert liar.ask() == ("key.backend_unavailable", "worker_died")


def test_a_worker_that_never_answers_ends_with_the_approval_and_holds_up_nobody_else(tmp_path: Path) -> None:
    with started(tmp_path, presence_s=0.5) as told:
        told.lie("hangs")
        assert told.ask() == ("key.presence_required", "approval_expired")
        plain = replace(request(), options=Options(keys=("file:plain",)))
        with Signer.connect(told.daemon.socket) as signer:
            assert signer.sign_dsse(plain).bundles
