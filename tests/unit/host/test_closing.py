import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from running.configured import until
from signerd.host.closing import close_foreign, close_socket, held
from signerd.host.memfd import sealed_memfd

LINGER_S = 30
HOSTILE, OTHER = 4_000_000_001, ("tenant", "name")


@pytest.fixture
def lingering() -> Iterator[tuple[int, socket.socket]]:
    """A TCP socket whose last close waits for its peer, which reads nothing; and that peer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        mine = socket.create_connection(listening.getsockname())
        peer, _ = listening.accept()
    mine.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while mine.send(b"x" * 65536):
            pass
    mine.setblocking(True)
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER_S))
    yield mine.detach(), peer
    peer.close()  # unread data: a reset, at which the other end stops waiting
    until(lambda: not held(HOSTILE))


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_memfd_is_closed_at_once() -> None:
    fd = sealed_memfd("x", b"12345")
    close_foreign(HOSTILE, [fd])
    assert not is_open(fd)
    assert not held(HOSTILE)


def test_one_that_waits_for_its_peer_holds_up_neither_loop_nor_others(
    lingering: tuple[int, socket.socket], tmp_path: Path
) -> None:
    file = os.open(tmp_path, os.O_RDONLY)
    behind = os.open(tmp_path, os.O_RDONLY)
    close_foreign(HOSTILE, [lingering[0]])
    close_foreign(HOSTILE, [behind])
    close_foreign(OTHER, [file])
    until(lambda: not held(OTHER))
    assert not is_open(file)
    assert held(HOSTILE) == 2
    lingering[1].close()
    until(lambda: not held(HOSTILE))
    assert not is_open(behind)


def test_a_connection_with_such_a_descriptor_unread(lingering: tuple[int, socket.socket]) -> None:
    ours, theirs = socket.socketpair()
    socket.send_fds(theirs, [b"x"], [lingering[0]])
    os.close(lingering[0])
    close_socket(HOSTILE, ours)
    assert held(HOSTILE) == 1
    with contextlib.suppress(ConnectionResetError):
        assert theirs.recv(1) == b"", "its peer is told at once"
    theirs.close()


def test_a_connection_with_nothing_unread_is_closed_at_once() -> None:
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    close_socket(HOSTILE, ours)
    assert not is_open(number)
    theirs.close()


def test_one_that_is_closed_already_is_no_error(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    os.close(fd)
    close_foreign(HOSTILE, [fd])
    until(lambda: not held(HOSTILE))
