import array
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Raw

from signerd.errors import Fault, Refusal
from signerd_client.channel import Channel, Opening
from signerd_client.descriptors import sealed_memfd
from signerd_client.requests import Call


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(5)
    channel = Channel(ours)
    with theirs:
        yield channel, theirs
    channel.close()


def test_frames_go_in_order_and_descriptors_with_the_first_byte_of_theirs(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, theirs = ends
    call = Call("m", Raw(b"\x80"), (sealed_memfd(b"one"), sealed_memfd(b"two")))
    channel.queue(b"aaaa")
    channel.queue(b"bbbb", call)
    channel.queue(b"")
    channel.queue(b"cccc")
    assert channel.flush()
    assert call.descriptors == ()
    assert theirs.recv(4) == b"aaaa"
    data, ancillary, _, _ = theirs.recvmsg(100, socket.CMSG_SPACE(64))
    got = array.array("i")
    got.frombytes(ancillary[0][2])
    assert [os.pread(descriptor, 9, 0) for descriptor in got] == [b"one", b"two"]
    assert data.startswith(b"bbbb")
    assert (data + theirs.recv(100) if data == b"bbbb" else data) == b"bbbbcccc"
    for descriptor in got:
        os.close(descriptor)


def test_what_the_socket_does_not_take_waits(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    frame = os.urandom(4 << 20)
    channel.queue(frame)
    assert not channel.flush()
    got = bytearray()
    while len(got) < len(frame):
        got += theirs.recv(1 << 20)
        channel.flush()
    assert got == frame
    assert channel.flush()


def test_a_gone_daemon_takes_everything_and_reading_tells_the_end(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, theirs = ends
    call = Call("m", Raw(b"\x80"), (sealed_memfd(b""),))
    channel.queue(b"x")
    channel.queue(b"y", call)
    theirs.close()
    assert channel.flush()
    assert call.descriptors == ()
    assert channel.read() == (b"", ())


def test_the_last_word_is_read_after_a_failed_write(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.sendall(b"why")
    theirs.close()
    channel.queue(b"x")
    assert channel.flush()
    assert channel.read() == (b"why", ())


def test_nothing_there_is_none(ends: tuple[Channel, socket.socket]) -> None:
    assert ends[0].read() is None


def test_descriptors_are_received_and_not_inherited(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    memory = sealed_memfd(b"x")
    theirs.sendmsg([b"data"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memory]))])
    os.close(memory)
    received = channel.read()
    assert received is not None
    data, (descriptor,) = received
    assert data == b"data"
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_descriptors_for_which_there_is_no_room_are_a_fault(
    ends: tuple[Channel, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, theirs = ends
    monkeypatch.setattr("signerd_client.channel._ANCILLARY_BYTES", socket.CMSG_SPACE(4))
    before = set(os.listdir("/proc/self/fd"))
    rights = array.array("i", [0] * 4)
    theirs.sendmsg([b"data"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    with pytest.raises(Fault) as caught:
        channel.read()
    assert caught.value.reason == "descriptors_lost"
    assert set(os.listdir("/proc/self/fd")) == before


def test_opening_tells_whether_somebody_listens(socket_directory: Path) -> None:
    path = socket_directory / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        opening = Opening(str(path))
        with pytest.raises(Fault) as caught:
            opening.attempt()
        assert (caught.value.code, caught.value.reason) == ("daemon.draining", "unreachable")
        opening.close()
        listener.listen(0)
        waiting, full = Opening(str(path)), Opening(str(path))
        assert waiting.attempt()
        assert not full.attempt()
        listener.accept()[0].close()
        assert full.attempt()
        waiting.channel().close()
        full.channel().close()


def test_a_path_too_long_for_a_socket_is_malformed(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100)
    directory.mkdir(mode=0o700)
    before = os.getcwd()
    os.chdir(directory)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind("s")
            opening = Opening(str(directory / "s"))
            with pytest.raises(Refusal) as caught:
                opening.attempt()
            opening.close()
    finally:
        os.chdir(before)
    assert (caught.value.code, caught.value.reason) == ("request.malformed", "socket_path")
