import tracemalloc

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.wire import frames
from signerd.wire.frames import HEADER_BYTES, FrameReader, FrameTooLarge, encode_frame
from signerd.wire.messages import Cancel

BODIES = st.lists(st.binary(max_size=60), max_size=8)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def drained(reader: FrameReader) -> list[tuple[bytes, tuple[int, ...]]]:
    found = []
    while (frame := reader.next_frame()) is not None:
        found.append((bytes(frame[0]), frame[1]))
    return found


def test_a_frame_is_a_big_endian_length_and_a_msgpack_map() -> None:
    encoded = encode_frame(Cancel(7))
    assert encoded[:4] == b"\x00\x00\x00\x11"
    assert msgpack.unpackb(encoded[4:]) == {"type": "cancel", "id": 7}


def test_a_message_that_a_u32_cannot_count_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "LENGTH_MAX", 16)
    with pytest.raises(FrameTooLarge) as caught:
        encode_frame(Cancel(7))
    assert (caught.value.size, caught.value.limit) == (17, 16)


@given(BODIES, st.data())
def test_any_cut_of_the_stream_gives_the_same_frames(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(framed, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader, found = FrameReader(100), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(memoryview(stream)[start:end])
        found += drained(reader)
    assert [frame for frame, _ in found] == bodies
    assert reader.buffered == 0


@given(BODIES.filter(bool), st.data())
def test_descriptors_go_to_the_frame_with_the_last_byte_of_their_read(
    bodies: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(framed, bodies))
    ends = [sum(len(framed(body)) for body in bodies[: index + 1]) for index in range(len(bodies))]
    cuts = sorted(set(data.draw(st.lists(st.integers(1, len(stream)), max_size=6))) | {len(stream)})
    expected: list[list[int]] = [[] for _ in bodies]
    reader, found, start = FrameReader(100), [], 0
    for fd, end in enumerate(cuts):
        reader.feed(stream[start:end], [fd])
        expected[next(index for index, last in enumerate(ends) if end <= last)].append(fd)
        found += drained(reader)
        start = end
    assert [list(fds) for _, fds in found] == expected


def test_a_length_above_the_limit_is_refused_before_its_bytes_come() -> None:
    reader = FrameReader(10)
    reader.feed(framed(b"x" * 10) + b"\x00\x00\x00\x0b")
    assert reader.next_frame() == (b"x" * 10, ())
    with pytest.raises(FrameTooLarge) as caught:
        reader.next_frame()
    assert (caught.value.size, caught.value.limit) == (11, 10)


def test_a_raised_limit_holds_from_the_next_frame_on() -> None:
    reader = FrameReader(10)
    reader.feed(framed(b"x" * 10) + framed(b"y" * 20))
    assert reader.next_frame() is not None
    reader.limit = 20
    assert reader.next_frame() == (b"y" * 20, ())


def test_an_announced_length_allocates_nothing() -> None:
    tracemalloc.start()
    try:
        reader = FrameReader(1 << 30)
        reader.feed((1 << 30).to_bytes(4, "big") + b"x")
        assert reader.next_frame() is None
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()


def test_memory_stays_under_the_limit_and_one_read() -> None:
    limit, read = 1 << 20, 64 << 10
    stream = bytes(framed(b"z" * limit))
    reader = FrameReader(limit)
    for start in range(0, len(stream), read):
        reader.feed(memoryview(stream)[start : start + read])
        assert reader.buffered <= limit + HEADER_BYTES + read
        if start + read < len(stream):
            assert reader.next_frame() is None
    frame = reader.next_frame()
    assert frame is not None
    assert len(frame[0]) == limit
    assert reader.buffered == 0


def test_feeding_on_without_taking_frames_is_refused() -> None:
    reader = FrameReader(10)
    reader.feed(framed(b"x" * 10))
    with pytest.raises(BufferError, match="take the frames"):
        reader.feed(b"more")


def test_a_small_frame_does_not_keep_a_large_read_alive() -> None:
    reader = FrameReader(1 << 20)
    reader.feed(framed(b"a" * 8) + framed(b"b" * (1 << 16)))
    frame = reader.next_frame()
    assert frame is not None
    assert type(frame[0]) is bytes
    assert len(frame[0]) == 8


def test_a_read_that_is_one_frame_is_not_copied() -> None:
    data = framed(b"a" * 100)
    reader = FrameReader(1 << 20)
    reader.feed(data)
    frame = reader.next_frame()
    assert frame is not None
    assert isinstance(frame[0], memoryview)
    assert frame[0].obj is data


def test_a_frame_handed_out_in_place_survives_the_next_read() -> None:
    stream = framed(b"first")
    reader = FrameReader(100)
    reader.feed(stream[:6])
    reader.feed(stream[6:])
    frame = reader.next_frame()
    reader.feed(framed(b"second"))
    assert frame is not None
    assert bytes(frame[0]) == b"first"


def test_descriptors_without_bytes_are_refused_and_unclaimed_ones_given_back() -> None:
    reader = FrameReader(100)
    with pytest.raises(ValueError, match="at least one byte"):
        reader.feed(b"", [3])
    reader.feed(framed(b"half")[:5], [4, 5])
    assert reader.next_frame() is None
    assert reader.drain_descriptors() == (4, 5)
    assert reader.drain_descriptors() == ()


def test_an_empty_frame_is_a_frame() -> None:
    reader = FrameReader(100)
    reader.feed(b"\x00\x00\x00\x00")
    assert reader.next_frame() == (b"", ())
    with pytest.raises(msgspec.DecodeError):
        msgspec.msgpack.decode(b"")
