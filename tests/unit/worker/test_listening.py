import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.links import Talk
from signerd.errors import Fault
from signerd.host.link import Frame
from signerd.wire.frames import encode_frame
from signerd.wire.messages import Goaway, Hello
from signerd.worker import listening
from signerd.worker.listening import UNPROVED_BYTES, Service, bind, inherited

OWN = os.geteuid()


class Echo:
    """A session that is proved by its first frame, answers with goaways, and is over after ``end``."""

    def __init__(self) -> None:
        self.over = False
        self.proved = False
        self._nothing = os.eventfd(0)

    def answer(self, frame: Frame, fds: tuple[int, ...]) -> bytes:
        self.proved = True
        self.over = bytes(frame) == b"end"
        return encode_frame(Goaway(f"{len(frame)}"))

    def fileno(self) -> int:
        return self._nothing

    def finished(self) -> list[bytes]:
        return []

    def close(self) -> None:
        os.close(self._nothing)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "x.sock"


@contextlib.contextmanager
def serving(path: Path, uid: int = OWN) -> Iterator[None]:
    """The service in a thread, until the end."""
    service = Service(bind(str(path), OWN), uid, Echo)
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            service.turn(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)
        service.close()


@contextlib.contextmanager
def talk(path: Path) -> Iterator[Talk]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        yield Talk(connection)


def said(peer: Talk, body: bytes) -> str:
    peer.send_bytes(framed(body))
    return str(peer.receive()[0]["reason"])


def test_frames_are_answered_in_order_and_sessions_follow_each_other(path: Path) -> None:
    with serving(path):
        for _ in range(3):
            with talk(path) as peer:
                peer.send_bytes(framed(b"1") + framed(b"22"))
                assert [peer.receive()[0]["reason"] for _ in range(2)] == ["1", "2"]
        with talk(path) as peer:
            assert said(peer, b"end") == "3"
            assert peer.hung_up()


def test_a_second_one_is_told_so_and_the_first_goes_on(path: Path) -> None:
    with serving(path), talk(path) as first:
        said(first, b"1")
        with talk(path) as second:
            assert second.receive()[0]["details"] == {"reason": "worker_taken"}
            assert second.hung_up()
        assert said(first, b"22") == "2"


def test_one_that_has_gone_with_frames_unread_is_in_nobodys_way(path: Path) -> None:
    service = Service(bind(str(path), OWN), OWN, Echo)
    try:
        with talk(path) as gone:
            service.turn(1)
            gone.send_bytes(framed(b"1"))
        with talk(path) as peer:
            peer.send_bytes(framed(b"22"))
            for _ in range(3):
                service.turn(0.05)
            assert peer.receive()[0]["reason"] == "2"
    finally:
        service.close()


def test_a_foreign_uid_is_closed_whoever_else_is_there(path: Path) -> None:
    with serving(path, OWN + 1), talk(path) as peer:
        assert peer.receive()[0]["details"] == {"reason": "peer_uid"}
        assert peer.hung_up()


@pytest.mark.parametrize("data", [b"", framed(b"123")[:-1]])
def test_who_proves_nothing_in_time_is_dropped(path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "PROOF_S", 0.5)
    with serving(path):
        with talk(path) as peer:
            peer.send_bytes(data)
            assert peer.hung_up()
        with talk(path) as peer:
            said(peer, b"1")
            time.sleep(0.7)
            assert said(peer, b"22") == "2", "who has proved itself may be silent"


def test_frames_are_short_until_the_proof_and_long_after_it(path: Path) -> None:
    with serving(path):
        with talk(path) as peer:
            peer.send_bytes((UNPROVED_BYTES + 1).to_bytes(4, "big"))
            assert peer.hung_up()
        with talk(path) as peer:
            said(peer, b"1")
            assert said(peer, bytes(2 * UNPROVED_BYTES)) == str(2 * UNPROVED_BYTES)


def test_a_peer_that_does_not_read_holds_no_other_up(path: Path) -> None:
    with serving(path), talk(path) as deaf:
        deaf.link.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while True:
                deaf.send_bytes(framed(b"1") * 100)
        with talk(path) as second:
            assert second.receive()[0]["details"] == {"reason": "worker_taken"}


def test_the_directory_is_made_and_the_socket_ours_alone(path: Path) -> None:
    with bind(str(path), OWN):
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    with bind(str(path), OWN + 1):
        assert path.stat().st_mode & 0o777 == 0o666, "another user's sealer must be able to connect"


def reason(path: Path) -> str:
    with pytest.raises(Fault) as caught:
        bind(str(path), OWN)
    return caught.value.reason


def test_a_dead_workers_socket_is_replaced_and_a_living_ones_not(path: Path) -> None:
    bind(str(path), OWN).close()
    with bind(str(path), OWN):
        assert reason(path) == "socket_in_use"
    bind(str(path), OWN).close()


def test_a_lock_that_is_never_let_go_is_not_waited_for_without_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir(0o700)
    held = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr(listening, "LOCK_S", 0.0)
        assert reason(path) == "directory_locked"
    finally:
        os.close(held)
    bind(str(path), OWN).close()


def test_what_is_no_place_for_a_socket_is_refused(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_text("kept")
    assert reason(path) == "not_a_socket"
    assert path.read_text() == "kept"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert reason(path) == "symlink"
    path.parent.chmod(0o770)
    assert reason(path) == "directory_mode"
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert reason(tmp_path / "link" / "x.sock") == "symlink"
    assert reason(Path("relative.sock")) == "bind"
    assert reason(tmp_path / ("x" * 107)) == "path_length"


HANDED = """
import os, socket, sys
from signerd.worker.listening import inherited
os.dup2(int(sys.argv[2]), 3)
try:
    listener = inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[1]})
    print("listens", os.get_inheritable(3), listener.getblocking())
except Exception as exc:
    print(type(exc).__name__, exc)
"""


def handed(given: socket.socket, count: str = "1") -> str:
    command = [sys.executable, "-c", HANDED, count, str(given.fileno())]
    done = subprocess.run(command, pass_fds=[given.fileno()], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_systemds_socket_is_taken_over(path: Path) -> None:
    with bind(str(path), OWN) as listener:
        assert handed(listener) == "listens False False"
        assert handed(listener, "2").startswith("ValueError")
        path.parent.chmod(0o777)
        assert "directory_mode" in handed(listener)


def test_any_other_descriptor_is_refused(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert handed(ours).startswith("ValueError")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract:
        abstract.bind(f"\0signerd-{os.getpid()}-{tmp_path.name}")
        abstract.listen()
        assert handed(abstract).startswith("ValueError")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as network:
        network.bind(("127.0.0.1", 0))
        network.listen()
        assert handed(network).startswith("ValueError")


def test_without_systemd_there_is_none() -> None:
    assert inherited({}) is None
    assert inherited({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) is None, "meant for another process"


def test_hellos_are_short_enough_for_what_is_allowed_before_the_proof() -> None:
    assert len(encode_frame(Hello((1,), "x" * 200, nonce=bytes(32)))) < UNPROVED_BYTES
