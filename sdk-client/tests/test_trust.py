import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from signerd.errors import Fault, Refusal
from signerd_client.trust import Trust, check_listener, check_path


@pytest.fixture
def listening(socket_directory: Path) -> Iterator[Path]:
    path = socket_directory / "sign.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


def connected_to(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(path))
    return client


def reason_of(path: Path, server_uid: int | None = None) -> str:
    with pytest.raises(Refusal) as caught:
        check_path(str(path), server_uid)
    assert caught.value.code == "auth.peer_denied"
    return caught.value.reason


def test_an_own_socket_in_an_own_directory_is_trusted(listening: Path) -> None:
    trust = check_path(str(listening))
    assert trust.owner == os.geteuid()
    with connected_to(listening) as client:
        check_listener(client, trust)


def test_a_symlink_is_refused_wherever_it_stands(listening: Path) -> None:
    link = listening.with_name("link.sock")
    link.symlink_to(listening)
    assert reason_of(link) == "symlink"
    outer = listening.parent.with_name(listening.parent.name + "-link")
    outer.symlink_to(listening.parent)
    try:
        assert reason_of(outer / "sign.sock") == "symlink"
    finally:
        outer.unlink()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_a_directory_that_others_can_write_is_refused(listening: Path, mode: int) -> None:
    listening.parent.chmod(mode)
    assert reason_of(listening) == "directory_mode"


def test_a_writable_directory_above_is_refused_unless_it_is_sticky(socket_directory: Path) -> None:
    inner = socket_directory / "inner"
    inner.mkdir(mode=0o700)
    path = inner / "sign.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        socket_directory.chmod(0o777)
        assert reason_of(path) == "directory_mode"
        socket_directory.chmod(0o1777)
        assert check_path(str(path)).path == str(path)


def test_a_users_own_socket_open_to_all_needs_a_closed_directory(listening: Path) -> None:
    listening.chmod(0o777)
    check_path(str(listening))
    listening.parent.chmod(0o755)
    if os.geteuid() == 0:
        # What is root's is the system's: a service tells its callers apart itself.
        assert check_path(str(listening)).owner == 0
        os.chown(listening.parent, 4242, 4242)
        check_path(str(listening), 4242)
    else:
        assert reason_of(listening) == "socket_mode"


def test_what_is_no_socket_is_refused(socket_directory: Path) -> None:
    path = socket_directory / "sign.sock"
    path.write_text("")
    assert reason_of(path) == "not_a_socket"


@pytest.mark.parametrize("name", ["absent.sock", "absent/sign.sock", "file/sign.sock"])
def test_where_nothing_is_nobody_listens(socket_directory: Path, name: str) -> None:
    (socket_directory / "file").write_text("")
    with pytest.raises(Fault) as caught:
        check_path(str(socket_directory / name))
    assert (caught.value.code, caught.value.reason) == ("daemon.draining", "unreachable")


def test_a_path_that_cannot_be_one_is_malformed(socket_directory: Path) -> None:
    for name in ("a\0b", "x" * 300):
        with pytest.raises(Refusal) as caught:
            check_path(f"{socket_directory}/{name}")
        assert (caught.value.code, caught.value.reason) == ("request.malformed", "socket_path")


def test_a_listener_of_an_untrusted_user_is_refused(listening: Path) -> None:
    found = check_path(str(listening))
    stranger = os.geteuid() + 1
    only_another = Trust(found.path, found.device, found.inode, stranger, frozenset({stranger}))
    with connected_to(listening) as client, pytest.raises(Refusal) as caught:
        check_listener(client, only_another)
    assert caught.value.reason == "listener_uid"


def test_a_socket_replaced_in_between_is_refused(listening: Path) -> None:
    trust = check_path(str(listening))
    listening.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        # Another file keeps the inode number from being given again.
        listening.with_name("filler").write_text("")
        other.bind(str(listening))
        other.listen()
        with connected_to(listening) as client, pytest.raises(Refusal) as caught:
            check_listener(client, trust)
    assert caught.value.reason == "socket_replaced"


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user's files need root to be made")


@needs_root
def test_another_users_directory_or_socket_is_refused_unless_the_user_is_named(listening: Path) -> None:
    os.chown(listening, 4242, 4242)
    assert reason_of(listening) == "socket_owner"
    check_path(str(listening), 4242)
    os.chown(listening.parent, 4242, 4242)
    assert reason_of(listening) == "directory_owner"
    check_path(str(listening), 4242)
    assert reason_of(listening, 4243) == "directory_owner"


@needs_root
def test_another_users_directory_above_is_refused(socket_directory: Path) -> None:
    inner = socket_directory / "inner"
    inner.mkdir(mode=0o700)
    os.chown(socket_directory, 4242, 4242)
    assert reason_of(inner / "sign.sock") == "directory_owner"
