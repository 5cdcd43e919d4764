import os
import socket
import struct
from array import array
from collections.abc import Iterator, Sequence

import pytest

from fakes.sealing import open_here
from signerd.host.link import MOST_DESCRIPTORS, READ_BYTES, Link, LinkBroken, LinkClosed
from signerd.host.memfd import sealed_memfd

LIMIT = 256 * 1024


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


@pytest.fixture
def ends() -> Iterator[tuple[Link, Link]]:
    one, other = socket.socketpair()
    links = Link(one, LIMIT), Link(other, LIMIT)
    yield links
    for link in links:
        link.close()


@pytest.fixture
def raw() -> Iterator[tuple[Link, socket.socket]]:
    one, other = socket.socketpair()
    link = Link(one, LIMIT)
    yield link, other
    link.close()
    other.close()


def bodies(link: Link) -> list[bytes]:
    return [bytes(frame) for frame, _ in link.read()]


def test_what_is_queued_arrives_whole_and_in_order(ends: tuple[Link, Link]) -> None:
    one, other = ends
    sent = [os.urandom(size) for size in (0, 1, 70_000, 3, 4)]
    for body in sent:
        one.queue(framed(body))
    assert one.wants_write is True
    received: list[bytes] = []
    while len(received) < len(sent):
        one.flush()
        received += bodies(other)
    assert received == sent
    assert one.flush() is True
    assert bodies(other) == []


def test_a_full_socket_keeps_the_rest_for_later(ends: tuple[Link, Link]) -> None:
    one, other = ends
    body = bytes(200_000)
    for _ in range(20):
        one.queue(framed(body))
    assert one.flush() is False
    assert one.wants_write
    received = 0
    while received < 20:
        received += len(bodies(other))
        one.flush()
    assert one.flush() is True


def test_one_read_takes_all_that_is_there(ends: tuple[Link, Link]) -> None:
    one, other = ends
    for number in range(500):
        one.queue(framed(bytes([number % 256]) * 300))
    one.flush()
    assert len(bodies(other)) == 500


def test_descriptors_come_with_their_frame_and_belong_to_the_receiver(ends: tuple[Link, Link]) -> None:
    one, other = ends
    before = open_here()
    one.queue(framed(b"before"))
    one.queue(framed(b"with"), [sealed_memfd("a", b"first"), sealed_memfd("b", b"second")])
    one.queue(framed(b"after"))
    assert open_here() == before + 2
    assert one.flush() is True
    assert open_here() <= before + 2
    # The kernel ends a read where descriptors end; the rest stays readable.
    frames = other.read() + other.read()
    assert [bytes(frame) for frame, _ in frames] == [b"before", b"with", b"after"]
    assert [len(fds) for _, fds in frames] == [0, 2, 0]
    assert [os.pread(fd, 10, 0) for fd in frames[1][1]] == [b"first", b"second"]
    assert not any(os.get_inheritable(fd) for fd in frames[1][1])
    for fd in frames[1][1]:
        os.close(fd)
    assert open_here() == before


def test_descriptors_of_a_frame_that_is_larger_than_the_socket(ends: tuple[Link, Link]) -> None:
    one, other = ends
    before = open_here()
    for _ in range(6):
        one.queue(framed(bytes(200_000)), [sealed_memfd("a", b"x")])
    received: list[tuple[int, ...]] = []
    while len(received) < 6:
        one.flush()
        received += [fds for _, fds in other.read()]
    assert [len(fds) for fds in received] == [1] * 6
    for fds in received:
        os.close(fds[0])
    assert open_here() == before


def test_frames_before_the_end_are_returned_first(raw: tuple[Link, socket.socket]) -> None:
    link, other = raw
    other.sendall(framed(b"last words") + b"\0\0\0")
    other.shutdown(socket.SHUT_WR)
    assert bodies(link) == [b"last words"]
    with pytest.raises(LinkClosed, match="end of stream") as caught:
        link.read()
    assert not isinstance(caught.value, LinkBroken)


@pytest.mark.parametrize("size", [LIMIT + 1, 2**32 - 1])
def test_a_frame_above_the_limit_breaks_the_link_whatever_came_before(
    raw: tuple[Link, socket.socket], size: int
) -> None:
    link, other = raw
    before = open_here()
    fd = sealed_memfd("a", b"x")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [fd]))]
    other.sendmsg([framed(b"good") + struct.pack(">I", size)], rights)
    os.close(fd)
    with pytest.raises(LinkBroken) as caught:
        link.read()
    assert caught.value.reason == "frame_size"
    link.close()
    assert open_here() == before - 1, "the socket's is gone too"


def test_a_frame_at_the_limit_is_one(raw: tuple[Link, socket.socket]) -> None:
    link, other = raw
    other.setblocking(False)
    waiting = framed(bytes(LIMIT))
    received: list[bytes] = []
    while not received:
        if waiting:
            waiting = waiting[other.send(waiting) :]
        received = bodies(link)
    assert received == [bytes(LIMIT)]


def test_as_many_descriptors_as_the_kernel_carries(raw: tuple[Link, socket.socket]) -> None:
    link, other = raw
    before = open_here()
    fd = sealed_memfd("a", b"x")
    socket.send_fds(other, [framed(b"many")], [fd] * MOST_DESCRIPTORS)
    os.close(fd)
    ((_, fds),) = link.read()
    assert len(fds) == MOST_DESCRIPTORS
    for each in fds:
        os.close(each)
    assert open_here() == before


def test_descriptors_that_were_cut_off_break_the_link(
    raw: tuple[Link, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    link, other = raw
    before = open_here()
    monkeypatch.setattr("signerd.host.link._ANCILLARY", socket.CMSG_SPACE(array("i").itemsize))
    fd = sealed_memfd("a", b"x")
    socket.send_fds(other, [framed(b"cut")], [fd, fd, fd, fd, fd])
    os.close(fd)
    with pytest.raises(LinkBroken) as caught:
        link.read()
    assert caught.value.reason == "descriptors_cut_off"
    assert open_here() == before


def test_nobody_listens(raw: tuple[Link, socket.socket]) -> None:
    link, other = raw
    other.close()
    link.queue(framed(b"hello"))
    with pytest.raises(LinkClosed):
        link.flush()


def test_closing_frees_what_is_queued_and_what_was_not_taken() -> None:
    before = open_here()
    one, other = socket.socketpair()
    link, peer = Link(one, LIMIT), Link(other, LIMIT)
    link.queue(framed(b"never sent"), [sealed_memfd("a", b"x")])
    peer.queue(framed(bytes(READ_BYTES)), [sealed_memfd("b", b"x")])
    socket.send_fds(other, [b"\0\0\0\xff half a frame"], [fd := sealed_memfd("c", b"x")])
    os.close(fd)
    assert link.read() == []
    link.close()
    peer.close()
    assert open_here() == before


def test_descriptors_are_closed_by_whom_the_frame_names(ends: tuple[Link, Link]) -> None:
    ours, theirs = ends
    closed: list[int] = []

    def closing(fds: Sequence[int]) -> None:
        closed.extend(fds)
        for fd in fds:
            os.close(fd)

    sent = os.eventfd(0)
    ours.queue(framed(b"one"), (sent,), closing)
    ours.queue(framed(b"two"), (os.eventfd(0),))
    while not ours.flush():
        pass
    assert closed == [sent]
    for _, fds in theirs.read():
        for fd in fds:
            os.close(fd)
    kept = os.eventfd(0)
    ours.queue(framed(b"three"), (kept,), closing)
    ours.close()
    assert closed == [sent, kept]
