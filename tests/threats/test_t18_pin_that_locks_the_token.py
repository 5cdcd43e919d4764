"""T18: a wrong PIN that restarts present again and again, until the hardware locks itself for good.

Each restart is a new process of the real key worker. The module before SoftHSM counts what reaches the token.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from fakes.front_end import SealerProcess
from fakes.links import Peer
from fakes.tokens import PIN, Shim
from running.configured import until
from signerd.host.config import embedded
from signerd.host.config_model import AdminSocket, Backend, Key, Sockets, Tenant

pytestmark = pytest.mark.needs("softhsm2", "gcc")

KEY = "pkcs11:token=demo;object=k"
USER = 1
OK, WRONG, KILLED = 0x0, 0xA0, 0xDEAD


@contextmanager
def worker(shim: Shim) -> Iterator[Peer]:
    peer = Peer("signerd.worker.key", {"scheme": "pkcs11", "name": "hsm", "settings": shim.settings()})
    try:
        assert peer.hello()["type"] == "hello"
        yield peer
    finally:
        peer.close()


def described(shim: Shim) -> str:
    """What a fresh worker says of the key: an algorithm, or why not."""
    with worker(shim) as peer:
        return said(peer.ask("describe", {"key": KEY}))


def said(answer: dict[str, Any]) -> str:
    if answer["type"] == "response":
        return str(answer["result"]["algorithm"])
    assert PIN not in str(answer)
    return f"{answer['code']} {answer['details']['reason']}"


@pytest.fixture
def made(shim: Shim) -> Shim:
    """The token with the key in it, and nothing counted yet."""
    with worker(shim) as peer:
        assert said(peer.ask("generate", {"key": KEY, "algorithm": "ES256"})) == "ES256"
    (shim.folder / "calls").unlink()
    return shim


def test_a_wrong_pin_and_ten_restarts_are_one_login(made: Shim) -> None:
    made.hsm.set_pin_file("0000")
    assert described(made) == "key.backend_fault pin_incorrect"
    assert [described(made) for _ in range(10)] == ["key.backend_fault pin_latched"] * 10
    assert made.calls("C_Login") == [(WRONG, USER)]


def test_asking_one_worker_again_and_again_is_one_login_too(made: Shim) -> None:
    made.hsm.set_pin_file("0000")
    with worker(made) as peer:
        answers = [said(peer.ask("describe", {"key": KEY})) for _ in range(10)]
    assert answers == ["key.backend_fault pin_incorrect", *["key.backend_fault pin_latched"] * 9]
    assert made.calls("C_Login") == [(WRONG, USER)]


def test_the_right_pin_in_the_file_opens_the_latch_without_a_restart(made: Shim) -> None:
    made.hsm.set_pin_file("0000")
    with worker(made) as peer:
        assert said(peer.ask("describe", {"key": KEY})) == "key.backend_fault pin_incorrect"
        made.hsm.set_pin_file(PIN)
        assert said(peer.ask("describe", {"key": KEY})) == "ES256"
    assert made.calls("C_Login") == [(WRONG, USER), (OK, USER)]


def test_an_admin_who_removes_the_mark_gets_one_more_login(made: Shim) -> None:
    made.hsm.set_pin_file("0000")
    described(made)
    (mark,) = (made.hsm.base / "state").iterdir()
    mark.unlink()
    assert [described(made) for _ in range(3)] == [
        "key.backend_fault pin_incorrect",
        *["key.backend_fault pin_latched"] * 2,
    ]
    assert len(made.calls("C_Login")) == 2


def confirmed(sealer: SealerProcess) -> list[str]:
    """The backends that an admin's word lets present their PIN again."""
    answer = sealer.administer("admin.confirm", what="pin", reason="the token was reset")
    backends: list[str] = msgspec.msgpack.decode(answer.result)["backends"]
    return backends


def test_an_admin_who_confirms_the_pin_gets_one_more_login_and_no_restart_gets_another(made: Shim) -> None:
    base = made.hsm.base
    config = embedded(base / "daemon", base / "sign.sock")
    config = msgspec.structs.replace(
        config,
        sockets=Sockets(config.sockets.sign, AdminSocket(uids=(os.geteuid(),))),
        backends=(Backend("hsm", "pkcs11", settings=made.settings(), certificate="none"),),
        keys=(Key(KEY, "hsm", "local"),),
        tenants=(Tenant("local", (KEY,), KEY),),
    )
    made.hsm.set_pin_file("0000")
    assert described(made) == "key.backend_fault pin_incorrect"
    sealer = SealerProcess(base / "daemon", config)
    try:
        sealer.open()
        assert made.calls("C_Login") == [(WRONG, USER)]
        for logins in (2, 3):
            until(lambda: confirmed(sealer) == ["hsm"])  # once the worker has said that its PIN was refused
            until(lambda logins=logins: len(made.calls("C_Login")) == logins)  # type: ignore[misc]  # bound now
        assert described(made) == "key.backend_fault pin_latched"
        assert len(made.calls("C_Login")) == 3
    finally:
        sealer.close()


def killed_at_login(made: Shim) -> None:
    """A worker that is killed when the token has judged and nobody has been told."""
    made.fail("C_Login", "die")
    with worker(made) as peer:
        with pytest.raises(EOFError):
            peer.ask("describe", {"key": KEY})
        assert peer.status() == -signal.SIGKILL


def test_killed_within_a_good_login_it_goes_on_at_the_next_start(made: Shim) -> None:
    for _ in range(3):
        killed_at_login(made)
        assert described(made) == "ES256"
    assert list((made.hsm.base / "state").iterdir()) == []


def test_killed_within_a_bad_login_it_asks_the_token_what_it_counted_and_stops(made: Shim) -> None:
    made.hsm.set_pin_file("0000")
    killed_at_login(made)
    assert [described(made) for _ in range(5)] == ["key.backend_fault pin_latched"] * 5
    assert made.calls("C_Login") == [(KILLED, USER)]
    made.hsm.set_pin_file(PIN)
    assert described(made) == "ES256"


def test_a_login_that_never_ends_well_stops_after_the_second_whatever_the_token_says(made: Shim) -> None:
    killed_at_login(made)
    killed_at_login(made)
    assert [described(made) for _ in range(5)] == ["key.backend_fault pin_latched"] * 5
    assert made.calls("C_Login") == [(KILLED, USER)] * 2


def test_where_failures_cannot_be_remembered_no_pin_is_presented(made: Shim) -> None:
    state = made.hsm.base / "state"
    state.rmdir()
    state.write_text("no folder")
    assert described(made) == "key.backend_fault latch_folder"
    assert made.calls("C_Login") == []
