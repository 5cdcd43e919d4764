"""A third party's quota store in a real daemon: asked under the guard, waited for, and harmless where it is wrong."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.distributions import install
from running.callers import request
from running.configured import configuration, records, until
from running.daemon import Running, running
from signerd.contracts.hookspecs import PLUGINS_GROUP
from signerd.errors import SignerdError
from signerd_client import Signer

MADE_UP = '[plugins.quota-made-up]\ncertificate = "none"\n'
CODE = '''
import os
import trio
from signerd.contracts import hookimpl
from signerd.contracts.services import Remaining
from signerd.errors import Refusal

MODE, LOG = {mode!r}, {log!r}


def note(word):
    with open(LOG, "a") as file:
        file.write(word + "\\n")


class Store:
    """Does what the file ``mode`` says: it can be changed while the daemon runs."""

    def admit_many(self, charges):
        mode = open(MODE).read()
        if mode == "raises":
            raise KeyError("secret")
        if mode == "ends":
            raise SystemExit(3)
        if mode == "garbage":
            return [True]
        return self._later(mode, charges)

    async def _later(self, mode, charges):
        await trio.sleep(0)
        if mode == "refuses":
            details = dict(limit=1, remaining=0, reset_at=0)
            return [Refusal("quota.rate", "rate_exceeded", "too fast", retry_after_ms=5, details=details)]
        if mode == "late":
            note("asked")
            while open(MODE).read() == "late":
                await trio.sleep(0.01)
        if mode == "hangs":
            note("hangs")
            await trio.sleep_forever()
        note("admitted")
        return [Remaining(1) for _ in charges]

    async def release_many(self, charges, *, signed):
        await trio.sleep(0)
        note("released " + ("signed" if signed else "unsigned"))
        if open(MODE).read() == "fails_to_release":
            raise KeyError("secret")

    async def seed(self, day, counts):
        note("seeded")


@hookimpl
def signerd_quota_stores(settings):
    return Store()
'''


class Here:
    """A daemon with that store. ``did`` is what the store was asked."""

    def __init__(self, base: Path) -> None:
        self.mode, self.log, self.site = base / "mode", base / "log", base / "site"
        self.say("admits")
        self.log.touch()
        self.site.mkdir(mode=0o755)
        code = CODE.format(mode=str(self.mode), log=str(self.log))
        files = {"signerd_made_up_quota/__init__.py": "", "signerd_made_up_quota/plugin.py": code}
        entries = {PLUGINS_GROUP: {"quota-made-up": "signerd_made_up_quota.plugin"}}
        install(self.site, "signerd-made-up-quota", files, entries)
        self.daemon: Running

    def say(self, mode: str) -> None:
        new = self.mode.with_suffix(".new")
        new.write_text(mode)
        new.replace(self.mode)

    def did(self) -> list[str]:
        return [word for word in self.log.read_text().split("\n") if word not in ("", "seeded")]

    def sign(self, deadline_s: float | None = None) -> None:
        with Signer.connect(self.daemon.socket) as signer:
            signer.sign_dsse(request(), deadline_s=deadline_s)

    def refused(self, deadline_s: float | None = None) -> SignerdError:
        with pytest.raises(SignerdError) as caught:
            self.sign(deadline_s)
        return caught.value


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    config = MADE_UP + configuration(tmp_path, {})
    with running(tmp_path, config=config, environment={"PYTHONPATH": str(made.site)}) as daemon:
        made.daemon = daemon
        yield made
        until(lambda: all(len(ends) == 1 for ends in records(daemon).values()))  # each is closed, once (T3)


def test_it_is_asked_for_each_signature_and_has_its_slot_back(here: Here) -> None:
    for _ in range(2):
        here.sign()
    until(lambda: here.did() == ["admitted", "released signed"] * 2)
    assert "seeded" in here.log.read_text(), "the day's counts come before anybody is admitted"


def test_what_it_refuses_is_refused_with_its_details(here: Here) -> None:
    here.say("refuses")
    error = here.refused()
    assert (error.code, error.reason, error.retryable) == ("quota.rate", "rate_exceeded", True)
    assert error.details["limit"] == 1
    assert here.did() == []
    here.say("admits")
    here.sign()


@pytest.mark.parametrize(
    ("mode", "reason", "told"),
    [
        ("raises", "plugin_failed", "quota(quota-made-up): KeyError: 'secret'"),
        ("ends", "plugin_failed", "quota(quota-made-up): SystemExit: 3"),
        ("garbage", "plugin_answer", "quota(quota-made-up): answered otherwise"),
    ],
)
def test_a_defect_of_it_is_a_fault_that_names_it_to_the_operator(here: Here, mode: str, reason: str, told: str) -> None:
    here.say(mode)
    error = here.refused()
    assert (error.code, error.reason) == ("internal", reason)
    assert "secret" not in str(error)
    until(lambda: told in here.daemon.said)
    assert here.did() == []
    here.say("admits")
    here.sign()


def test_one_that_hangs_holds_up_its_own_caller_alone(here: Here) -> None:
    here.say("hangs")
    error: list[SignerdError] = []
    waiting = threading.Thread(target=lambda: error.append(here.refused(deadline_s=2)))
    waiting.start()
    until(lambda: "hangs" in here.did())
    here.say("admits")
    here.sign()
    assert not error, "the other one still waits"
    waiting.join()
    assert error[0].code == "request.deadline"


def test_a_slot_that_comes_after_the_deadline_goes_back(here: Here) -> None:
    here.say("late")
    assert here.refused(deadline_s=0.5).code == "request.deadline"
    assert here.did() == ["asked"]
    here.say("admits")
    until(lambda: here.did() == ["asked", "admitted", "released unsigned"])


def test_a_release_that_fails_costs_no_signature(here: Here) -> None:
    here.say("fails_to_release")
    here.sign()
    until(lambda: "quota(quota-made-up): KeyError: 'secret'" in here.daemon.said)
    assert here.daemon.status is None


def test_the_end_of_the_daemon_waits_for_the_last_release(here: Here) -> None:
    here.sign()
    assert here.daemon.terminate() == 0
    assert here.did() == ["admitted", "released signed"]


def test_two_stores_are_one_too_many(
    here: Here, tmp_path: Path, daemon_factory: Callable[..., Running]
) -> None:
    install(
        here.site,
        "signerd-another-quota",
        {"signerd_another_quota.py": "from signerd_made_up_quota.plugin import *\n"},
        {PLUGINS_GROUP: {"quota-another": "signerd_another_quota"}},
    )
    base = tmp_path / "second"
    base.mkdir()
    config = MADE_UP + MADE_UP.replace("made-up", "another") + configuration(base, {})
    started = Running(base, config=config, environment={"PYTHONPATH": str(here.site)})
    try:
        assert started.wait_ended() != 0
        assert "at most one quota store is needed (signerd_quota_stores)" in started.said
    finally:
        started.close()
