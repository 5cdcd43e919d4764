import os
import socket
import stat
from pathlib import Path

import pytest

from signerd.host.socket_file import LONGEST_PATH, SocketUnfit, bind, remove_dead


def reason(path: Path) -> str:
    with pytest.raises(SocketUnfit) as unfit:
        bind(str(path), 0o600)
    return unfit.value.reason


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_mode_is_there_before_anybody_can_connect(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "s"
    with bind(str(path), mode):
        assert stat.S_IMODE(path.stat().st_mode) == mode
        with socket.socket(socket.AF_UNIX) as caller, pytest.raises(ConnectionRefusedError):
            caller.connect(str(path))


def test_a_dead_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = bind(str(path), 0o600)
    first.close()
    with bind(str(path), 0o600) as second:
        second.listen(1)
        inode = path.stat().st_ino
        assert reason(path) == "socket_in_use"
        assert path.stat().st_ino == inode


def test_a_queue_that_is_full_is_somebody_who_lives(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with bind(str(path), 0o600) as busy, socket.socket(socket.AF_UNIX) as caller:
        busy.listen(0)
        caller.connect(str(path))
        assert reason(path) == "socket_in_use"
        assert path.exists()


def test_what_is_no_socket_stays(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("")
    os.symlink(file, link)
    assert (reason(file), reason(link)) == ("not_a_socket", "symlink")
    assert file.exists()
    assert link.is_symlink()
    remove_dead(str(tmp_path / "nothing"))


def test_where_nothing_can_be_bound(tmp_path: Path) -> None:
    assert reason(tmp_path / ("x" * LONGEST_PATH)) == "path_length"
    assert reason(tmp_path / "absent" / "s") == "bind"
    with pytest.raises(SocketUnfit) as unfit:
        bind(str(tmp_path / "s"), 0o600, "no-such-group-here")
    assert unfit.value.reason == "bind"
