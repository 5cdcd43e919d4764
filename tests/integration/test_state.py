"""The state directory and the socket: one daemon on each, nobody else's, and what was there before is still true."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from running.callers import Callers, request, sign_until, unrecorded
from running.daemon import Running, running
from signerd.errors import Refusal, SignerdError
from signerd_client import Signer

LOCK_WAIT_S = 2.0


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Callable[..., tuple[int, str, float]]]:
    """Start a daemon that must end by itself; its exit status, what it said, and how long it took."""

    def start(base: Path = tmp_path, *arguments: str) -> tuple[int, str, float]:
        started = time.monotonic()
        daemon = Running(base, arguments=arguments)
        try:
            return daemon.wait_ended(), daemon.said, time.monotonic() - started
        finally:
            daemon.close()

    return start  # type: ignore[return-value]  # pytest takes it for the iterator


def keyid(daemon: Running) -> str:
    with Signer.connect(daemon.socket) as signer:
        return signer.keys().keys[0].keyid


def refusal(daemon: Running) -> SignerdError:
    with Signer.connect(daemon.socket) as signer, pytest.raises(SignerdError) as caught:
        signer.sign_dsse(request())
    return caught.value


def replace_key(daemon: Running) -> None:
    """Put another key of the same kind in the place of the daemon's."""
    (file,) = (daemon.state / "keys").glob("*.pem")
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.unlink()
    file.touch(mode=0o600)
    file.write_bytes(pem)


def test_a_second_daemon_on_the_same_state_is_refused_and_the_first_goes_on(
    tmp_path: Path, ends: Callable[..., tuple[int, str, float]]
) -> None:
    with running(tmp_path) as first, Callers(first.socket, 1) as callers:
        callers.wait_for_more(1)
        status, said, took = ends(tmp_path, "--socket", str(tmp_path / "run" / "other.sock"))
        assert status == 1
        assert f"is used by the daemon of pid {first.child('sealer')}" in said
        assert "ready" not in said
        assert LOCK_WAIT_S <= took <= LOCK_WAIT_S + 1.5
        assert not (tmp_path / "run" / "other.sock").exists()
        callers.wait_for_more(1)
        assert callers.errors == {}


def test_a_successor_that_comes_early_waits_for_the_end_of_the_first(tmp_path: Path) -> None:
    first = Running(tmp_path).wait_ready()
    second = Running(tmp_path)
    try:
        with Callers(first.socket, 1) as callers:
            callers.wait_for_more(1)
            os.kill(first.pid, signal.SIGTERM)
            second.wait_ready()
            callers.wait_for_more(1)
        assert first.wait_ended() == 0
        assert second.terminate() == 0
        assert unrecorded(callers.held, second.leaves()) == []
    finally:
        first.close()
        second.close()


def test_after_a_crash_the_next_one_starts_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        known = keyid(first)
        for pid in [first.pid, *first.children().values()]:
            os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    with running(tmp_path) as second:
        assert time.monotonic() - started < LOCK_WAIT_S
        assert keyid(second) == known
        sign_until(second.socket, 5)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        made = keyid(first)
        assert first.terminate() == 0
    with running(tmp_path) as second:
        assert keyid(second) == made
        kinds = [leaf["kind"] for leaf in second.leaves()]
    assert kinds.count("start") == 2
    assert kinds.count("ring") == 1


def test_another_key_in_its_place_does_not_sign(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        known = keyid(first)
    replace_key(first)
    with running(tmp_path) as second:
        sealer = second.child("sealer")
        for _ in range(2):
            refused = refusal(second)
            assert (refused.code, refused.details["reason"]) == ("key.backend_fault", "key_replaced")
        assert keyid(second) == known
        assert known in second.said
        assert second.child("sealer") == sealer
        outcomes = [leaf["outcome"] for leaf in second.leaves() if leaf["kind"] in ("outcome", "refused")]
        assert outcomes == ["fault", "fault"]


def test_nor_does_one_that_is_replaced_while_the_daemon_runs(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        sign_until(daemon.socket, 5)
        sealer, worker = daemon.child("sealer"), daemon.child("key")
        replace_key(daemon)
        os.kill(worker, signal.SIGKILL)
        daemon.child("key", other_than=worker)
        until = time.monotonic() + 5
        while (refused := refusal(daemon)).details["reason"] != "key_replaced":
            # One that is asked before its backend has described it again is seen by the signature's key id.
            assert refused.code in ("key.backend_unavailable", "key.backend_fault")
            assert time.monotonic() < until
        assert daemon.child("sealer") == sealer


def test_a_key_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        sign_until(first.socket, 5)
    (file,) = (first.state / "keys").glob("*.pem")
    file.rename(tmp_path / "aside.pem")
    with running(tmp_path) as second:
        refused = refusal(second)
        assert isinstance(refused, Refusal)
        assert refused.code == "key.not_found"
        assert not file.exists()
    (tmp_path / "aside.pem").rename(file)
    with running(tmp_path) as third:
        sign_until(third.socket, 5)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_a_state_directory_that_others_may_write_to_is_refused(
    tmp_path: Path, ends: Callable[..., tuple[int, str, float]], mode: int
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    status, said, _ = ends()
    assert status == 1
    assert f"mode 0{mode:o} lets others write" in said
    assert list((tmp_path / "state").iterdir()) == []


def test_so_is_one_that_is_a_symlink(tmp_path: Path, ends: Callable[..., tuple[int, str, float]]) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to("elsewhere")
    status, said, _ = ends()
    assert (status, "is a symbolic link" in said) == (1, True)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("link", ["run", "run/sign.sock"])
def test_a_symlink_on_the_sockets_path_is_refused(
    tmp_path: Path, ends: Callable[..., tuple[int, str, float]], link: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / link).parent.mkdir(mode=0o700, exist_ok=True)
    (tmp_path / link).symlink_to(elsewhere if link == "run" else elsewhere / "sign.sock")
    status, said, _ = ends()
    assert (status, "is a symlink" in said) == (1, True)
    assert list(elsewhere.iterdir()) == []


def test_a_directory_of_the_socket_that_others_may_write_to_is_refused(
    tmp_path: Path, ends: Callable[..., tuple[int, str, float]]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    status, said, _ = ends()
    assert (status, "can be written by others" in said) == (1, True)


def test_what_is_no_socket_is_refused_and_stays(tmp_path: Path, ends: Callable[..., tuple[int, str, float]]) -> None:
    file = tmp_path / "run" / "sign.sock"
    file.parent.mkdir(mode=0o700)
    file.write_text("mine")
    status, said, _ = ends()
    assert (status, "is no socket" in said) == (1, True)
    assert file.read_text() == "mine"


def test_a_socket_on_which_somebody_answers_is_refused(
    tmp_path: Path, ends: Callable[..., tuple[int, str, float]]
) -> None:
    path = tmp_path / "run" / "sign.sock"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        status, said, _ = ends()
        assert (status, "somebody answers there" in said) == (1, True)
        assert path.is_socket()


def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run" / "sign.sock"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    with running(tmp_path) as daemon:
        sign_until(daemon.socket, 5)
        assert daemon.terminate() == 0
    assert not path.exists()


def test_at_its_end_it_leaves_a_socket_that_another_has_put_in_the_place_of_its_own(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, socket.socket(socket.AF_UNIX) as other:
        daemon.socket.unlink()
        other.bind(str(daemon.socket))
        other.listen()
        assert daemon.terminate() == 0
        assert daemon.socket.is_socket()
