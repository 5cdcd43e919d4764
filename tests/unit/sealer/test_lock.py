import os
import stat
import subprocess
import sys
import threading
import time

import pytest

from signerd.errors import Refusal
from signerd.sealer.lock import LOCK_NAME, StateLock, check_state, is_locked, prepare_state


def reason(call, *arguments):
    with pytest.raises(Refusal) as caught:
        call(*arguments)
    assert caught.value.code == "state.locked"
    return caught.value.reason


def test_the_directory_is_made_for_its_owner_alone(tmp_path):
    state = tmp_path / "a" / "b"
    check_state(state)
    assert not state.exists()
    prepare_state(state)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    prepare_state(state)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o702, 0o720])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path, mode):
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)
    assert reason(prepare_state, state) == "writable_by_others"


def test_a_symlink_or_a_file_is_refused(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    assert reason(prepare_state, tmp_path / "link") == "symlink"
    assert reason(prepare_state, tmp_path / "file") == "not_a_directory"
    assert reason(prepare_state, tmp_path / "file" / "below") == "unreadable"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory of another owner")
def test_another_users_directory_is_refused(tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 12345, 12345)
    assert reason(prepare_state, state) == "foreign_owner"


def test_a_second_daemon_waits_and_is_refused_with_the_firsts_pid(tmp_path):
    with StateLock(tmp_path):
        began = time.monotonic()
        with pytest.raises(Refusal) as caught:
            StateLock(tmp_path, wait_s=0.3)
        assert 0.25 < time.monotonic() - began < 5
        assert (caught.value.code, caught.value.reason) == ("state.locked", "in_use")
        assert str(os.getpid()) in str(caught.value)
        assert str(os.getpid()) not in caught.value.public
    StateLock(tmp_path, wait_s=0).close()


def test_a_successor_gets_the_lock_as_soon_as_it_is_free(tmp_path):
    first = StateLock(tmp_path)
    threading.Timer(0.2, first.close).start()
    second = StateLock(tmp_path)
    assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    second.close()
    second.close()


def test_the_lock_ends_with_the_process_and_no_child_inherits_it(tmp_path):
    program = (
        "import sys, subprocess; from pathlib import Path; from signerd.sealer.lock import StateLock;"
        "lock = StateLock(Path(sys.argv[1]));"
        "reader = [sys.executable, '-c', 'import sys; sys.stdin.read()'];"
        "child = subprocess.Popen(reader, stdin=subprocess.PIPE, close_fds=False);"
        "print(child.pid, flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdout.readline()
    assert reason(StateLock, tmp_path, 0) == "in_use"
    holder.kill()
    holder.wait()
    StateLock(tmp_path, wait_s=0).close()
    holder.stdin.close()
    holder.stdout.close()


def test_a_lock_file_that_is_a_symlink_is_refused(tmp_path):
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    assert reason(StateLock, tmp_path) == "unreadable"
    assert not (tmp_path / "elsewhere").exists()


def test_whether_somebody_holds_it_can_be_asked_without_taking_it(tmp_path):
    assert is_locked(tmp_path) is False
    assert list(tmp_path.iterdir()) == []
    held = StateLock(tmp_path)
    assert is_locked(tmp_path) is True
    held.close()
    assert is_locked(tmp_path) is False
    (tmp_path / LOCK_NAME).unlink()
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    assert reason(is_locked, tmp_path) == "unreadable"
