"""T11: a squatter listens on the path before the daemon. The client looks first, and tells strangers nothing.

Each squatter is a real process or thread that listens and writes down every byte it gets: there must be none.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from signerd.errors import Refusal
from signerd_client import AsyncSigner, Signer
from signerd_client.cli import main

STRANGER = 4242
"""A uid that is neither root's nor ours."""

SQUATTER = """
import os, socket, sys
path, uid, owner = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(path)
os.chown(path, owner, owner)
os.chmod(path, 0o666)
os.setgid(uid)
os.setuid(uid)
# listen() is the call whose credentials SO_PEERCRED reports.
listener.listen()
print("listening", flush=True)
listener.settimeout(10)
connected, _ = listener.accept()
connected.settimeout(10)
print("heard", len(connected.recv(100)), flush=True)
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a squatter of another uid needs root to be started")


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="t11-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def heard(directory: Path) -> Iterator[Callable[[], bytes]]:
    """Listen as our own uid at ``sign.sock``; give what the first connection brought until it was closed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(directory / "sign.sock"))
    listener.listen()
    listener.settimeout(0.5)
    got = bytearray()

    def listen() -> None:
        try:
            connected, _ = listener.accept()
        except TimeoutError:
            return
        with connected:
            connected.settimeout(5)
            while data := connected.recv(1 << 16):
                got.extend(data)

    thread = threading.Thread(target=listen)
    thread.start()

    def result() -> bytes:
        thread.join(10)
        assert not thread.is_alive()
        return bytes(got)

    yield result
    thread.join(10)
    listener.close()


def attempt_blocking(path: Path) -> str:
    with pytest.raises(Refusal) as caught:
        Signer.connect(path, timeout_s=2)
    assert caught.value.code == "auth.peer_denied"
    return caught.value.reason


def attempt_async(path: Path) -> str:
    async def connect() -> str:
        with pytest.raises(Refusal) as caught:
            async with AsyncSigner.connect(path, timeout_s=2):
                pytest.fail("the squatter was trusted")
        assert caught.value.code == "auth.peer_denied"
        return caught.value.reason

    return anyio.run(connect)


ATTEMPTS = pytest.mark.parametrize("attempt", [attempt_blocking, attempt_async])


@ATTEMPTS
def test_a_symlink_to_a_listener_hears_nothing(
    directory: Path, heard: Callable[[], bytes], attempt: Callable[[Path], str]
) -> None:
    (directory / "link.sock").symlink_to(directory / "sign.sock")
    assert attempt(directory / "link.sock") == "symlink"
    assert heard() == b""


@ATTEMPTS
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_directory_in_which_others_may_put_a_socket(
    directory: Path, heard: Callable[[], bytes], attempt: Callable[[Path], str], mode: int
) -> None:
    directory.chmod(mode)
    assert attempt(directory / "sign.sock") == "directory_mode"
    assert heard() == b""


def test_the_command_says_so_with_exit_code_3(
    directory: Path, heard: Callable[[], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    directory.chmod(0o777)
    assert main(["info", "--socket", str(directory / "sign.sock")]) == 3
    assert "auth.peer_denied (directory_mode)" in capsys.readouterr().err
    assert heard() == b""


@needs_root
@ATTEMPTS
@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        (STRANGER, "socket_owner"),
        # The file looks right; only the kernel's word on who called listen() gives the squatter away.
        (0, "listener_uid"),
    ],
)
def test_a_listener_of_another_user(directory: Path, attempt: Callable[[Path], str], owner: int, reason: str) -> None:
    path = directory / "sign.sock"
    with subprocess.Popen(
        [sys.executable, "-c", SQUATTER, str(path), str(STRANGER), str(owner)],
        stdout=subprocess.PIPE,
        text=True,
    ) as squatter:
        assert squatter.stdout is not None
        assert squatter.stdout.readline() == "listening\n"
        assert attempt(path) == reason
        if reason == "listener_uid":
            assert squatter.stdout.read() == "heard 0\n"
        squatter.terminate()


@needs_root
def test_a_user_who_is_named_is_trusted_and_spoken_to(directory: Path) -> None:
    path = directory / "sign.sock"
    with subprocess.Popen(
        [sys.executable, "-c", SQUATTER, str(path), str(STRANGER), str(STRANGER)],
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "listening\n"
        with pytest.raises(Exception, match="connection"):
            # It hangs up after the first bytes: those are our hello, which it was trusted with.
            Signer.connect(path, server_uid=STRANGER, timeout_s=5)
        told, length = service.stdout.read().split()
        assert told == "heard"
        assert int(length) > 0
