import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from signerd.daemon.peer import CREDENTIALS, read_peer, sender_pid
from signerd.errors import Refusal


def test_the_peer_is_who_opened_the_connection() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = read_peer(ours)
    assert (peer.uid, peer.gid, peer.pid) == (os.geteuid(), os.getegid(), os.getpid())
    assert peer.executable == os.readlink("/proc/self/exe")
    assert peer.start_time == int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    assert peer.unit is None or peer.unit.endswith((".service", ".scope"))


def test_a_name_with_parentheses_and_spaces_hides_no_start_time(tmp_path: Path) -> None:
    """The second field of /proc/PID/stat is the peer's own choice."""
    program = tmp_path / "a) S 1 (b"
    program.symlink_to(sys.executable)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(tmp_path / 's')!r}); s.recv(1)"
    with listener, subprocess.Popen([program, "-I", "-c", code]) as process:
        connection, _ = listener.accept()
        with connection:
            peer = read_peer(connection)
        assert process.wait(20) == 0
        assert peer.pid == process.pid
        assert peer.start_time > 0


def test_a_peer_that_has_gone_is_nobody(tmp_path: Path) -> None:
    """Its number may be another's soon: who can no longer be held by a pidfd is not let in."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(tmp_path / 's')!r})"
    with listener:
        subprocess.run([sys.executable, "-I", "-c", code], check=True)
        connection, _ = listener.accept()
        with connection, pytest.raises(Refusal) as refused:
            read_peer(connection)
    assert (refused.value.code, refused.value.reason) == ("auth.peer_denied", "peer_gone")


def test_the_sender_of_a_message() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        theirs.send(b"x")
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(CREDENTIALS.size))
    ((_, kind, data),) = ancillary
    assert kind == socket.SCM_CREDENTIALS
    assert sender_pid(data) == os.getpid()
