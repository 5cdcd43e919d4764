import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from signerd.errors import Fault
from signerd.host.worker_socket import Connected, connect, open_directory, peer_uid

CREDENTIAL = bytes(range(32))
OWN = os.geteuid()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "x.sock"))
        listening.listen()
        listening.settimeout(10)
        yield listening


@pytest.fixture
def pair(tmp_path: Path, listener: socket.socket) -> Iterator[tuple[Connected, socket.socket]]:
    connected = connect(str(tmp_path / "x.sock"), CREDENTIAL, OWN)
    accepted, _ = listener.accept()
    with accepted:
        yield connected, accepted
    connected.kill()


def test_a_connection_sends_nothing_by_itself(pair: tuple[Connected, socket.socket]) -> None:
    connected, accepted = pair
    accepted.setblocking(False)
    with pytest.raises(BlockingIOError):
        accepted.recv(1)
    assert (connected.pid, connected.pidfd) == (os.getpid(), None)
    assert not connected.socket.getblocking()
    assert not os.get_inheritable(connected.socket.fileno())
    assert peer_uid(accepted) == OWN


def test_each_connection_has_a_nonce_of_its_own(tmp_path: Path, listener: socket.socket) -> None:
    made = [connect(str(tmp_path / "x.sock"), CREDENTIAL, OWN) for _ in range(3)]
    assert len({each.proof.nonce for each in made}) == 3
    for each in made:
        each.end(5)


def test_the_end_of_the_connection_is_the_end_of_the_worker(pair: tuple[Connected, socket.socket]) -> None:
    connected, accepted = pair
    assert not connected.reap(60), "and nobody waits for it"
    accepted.send(b"what nobody has read yet")
    accepted.close()
    assert connected.reap()
    assert connected.reap()
    assert connected.socket.fileno() < 0
    assert connected.fate == "worker hung up"


def test_a_kill_is_a_hang_up(pair: tuple[Connected, socket.socket]) -> None:
    connected, accepted = pair
    connected.kill()
    assert accepted.recv(1) == b""
    assert connected.reap()
    connected.kill()


def test_a_long_path_is_reached_by_its_directory(tmp_path: Path) -> None:
    # 107 bytes is what the listener may bind; the connection goes by the descriptor of the directory.
    name = "x" * (107 - len(str(tmp_path)) - 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / name))
        listening.listen()
        connect(str(tmp_path / name), CREDENTIAL, OWN).kill()


def test_what_failed_leaves_no_descriptor_open(tmp_path: Path, listener: socket.socket) -> None:
    before = os.listdir("/proc/self/fd")
    for path, uid in (("x.sock", OWN + 1), ("y.sock", OWN), ("no/x.sock", OWN)):
        with pytest.raises(Fault):
            connect(str(tmp_path / path), CREDENTIAL, uid)
    listener.close()
    with pytest.raises(Fault) as caught:
        connect(str(tmp_path / "x.sock"), CREDENTIAL, OWN)
    assert caught.value.reason == "not_listening"
    assert len(os.listdir("/proc/self/fd")) == len(before) - 1


def reason(path: Path, owners: set[int]) -> str:
    with pytest.raises(Fault) as caught:
        os.close(open_directory(str(path), owners))
    return caught.value.reason


def test_a_directory_is_walked_to_without_symlinks(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True, mode=0o755)
    fd = open_directory(str(inner), {0, OWN})
    assert os.path.samestat(os.fstat(fd), inner.stat())
    os.close(fd)
    (tmp_path / "l").symlink_to("a")
    (tmp_path / "f").write_text("")
    assert reason(tmp_path / "l" / "b", {0, OWN}) == "symlink"
    assert reason(tmp_path / "l", {0, OWN}) == "symlink"
    assert reason(tmp_path / "f", {0, OWN}) == "directory_missing"
    assert reason(tmp_path / "a" / ".." / "a", {0, OWN}) == "directory_missing"


def test_a_directory_belongs_to_those_named_and_is_closed_to_other_writers(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    os.close(open_directory(str(tmp_path), {0, OWN}))
    assert reason(tmp_path, {OWN + 1}) == "directory_owner"
    tmp_path.chmod(0o1777)
    assert reason(tmp_path, {0, OWN}) == "directory_mode"
    below = tmp_path / "below"
    below.mkdir(mode=0o700)
    os.close(open_directory(str(below), {0, OWN}))  # sticky above is enough
    tmp_path.chmod(0o775)
    assert reason(below, {0, OWN}) == "directory_mode"
