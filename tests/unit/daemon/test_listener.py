import os
import socket
import stat
from pathlib import Path

import pytest
import trio

from signerd.daemon.listener import bind, release, serve
from signerd.errors import Refusal


def reason(path: Path) -> str:
    with pytest.raises(Refusal) as refused:
        bind(path, 0o600)
    assert refused.value.code == "state.locked"
    assert os.sep in str(refused.value)
    assert str(path) not in refused.value.public
    return refused.value.reason


def test_the_directory_is_made_for_its_owner_and_the_mode_is_the_configured_one(tmp_path: Path) -> None:
    path = tmp_path / "run" / "deep" / "s"
    listening = bind(path, 0o660)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED) == 1
    release(listening, path)
    assert not path.exists()


def test_a_dead_daemons_socket_is_replaced_a_live_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = bind(path, 0o600)
    assert reason(path) == "socket_in_use"
    first.close()  # as a process that was killed leaves it
    second = bind(path, 0o600)
    release(second, path)


def test_paths_that_are_not_fit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert reason(tmp_path / "file") == "not_a_socket"
    assert (tmp_path / "file").exists()
    (tmp_path / "link").symlink_to(tmp_path / "s")
    assert reason(tmp_path / "link") == "symlink"
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    assert reason(tmp_path / "alias" / "s") == "symlink"
    (tmp_path / "real" / "in").mkdir()
    assert reason(tmp_path / "alias" / "in" / "s") == "symlink"
    assert reason(tmp_path / ("x" * 108)) == "path_length"


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720, 0o1777])
def test_a_directory_that_others_may_write(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(mode)
    assert reason(directory / "s") == "directory_mode"


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's directory needs root to be made")
def test_another_users_directory(tmp_path: Path) -> None:
    directory = tmp_path / "theirs"
    directory.mkdir(mode=0o755)
    os.chown(directory, 4242, 4242)
    assert reason(directory / "s") == "directory_owner"


def test_release_leaves_what_is_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listening = bind(path, 0o600)
    path.unlink()
    path.write_bytes(b"another")
    release(listening, path)
    assert path.read_bytes() == b"another"


async def test_who_is_slow_to_be_let_in_holds_up_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listening = bind(path, 0o600)
    accepted: list[socket.socket] = []
    second = trio.Event()

    async def accept(connection: socket.socket) -> None:
        accepted.append(connection)
        if len(accepted) == 2:
            second.set()
        await trio.sleep_forever()

    clients = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, listening, accept)
        for client in clients:
            client.connect(os.fspath(path))
        with trio.fail_after(5):
            await second.wait()
        nursery.cancel_scope.cancel()
    for each in [*accepted, *clients]:
        each.close()
    release(listening, path)


async def test_what_is_accepted_names_its_senders_and_is_the_callees_to_close(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listening = bind(path, 0o600)
    accepted: list[socket.socket] = []
    seen = trio.Event()

    async def accept(connection: socket.socket) -> None:
        accepted.append(connection)
        if len(accepted) == 2:
            seen.set()
        await trio.lowlevel.checkpoint()

    clients = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, listening, accept)
        for client in clients:
            client.connect(os.fspath(path))
        with trio.fail_after(5):
            await seen.wait()
        nursery.cancel_scope.cancel()
    for connection, client in zip(accepted, clients, strict=True):
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED) == 1
        client.send(b"x")
        assert connection.recv(1) == b"x"
        connection.close()
        client.close()
    release(listening, path)
