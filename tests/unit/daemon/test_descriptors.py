import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from fakes.services import order, payload
from signerd.daemon.descriptors import READ_BYTES, check_claims, check_files, hash_file
from signerd.errors import Refusal
from signerd.host.memfd import sealed_memfd
from signerd.wire.methods import Descriptor, SignDsse, SignPayload, Subject

MOST = 1 << 20


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[dict[str, int]]:
    """A sealed memfd, a regular file, both of 5 bytes, and a pipe."""
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    reading, writing = os.pipe()
    found = {"memfd": sealed_memfd("x", b"12345"), "file": os.open(file, os.O_RDONLY), "pipe": reading}
    with ExitStack() as stack:
        for fd in (*found.values(), writing):
            stack.callback(os.close, fd)
        yield found


def by_fd(predicate: int | None, *subjects: int, size: int = 5) -> SignDsse:
    made = order(subject=tuple(Subject(f"s{fd}", fd=fd, size=size) for fd in subjects)) if subjects else order()
    return made if predicate is None else msgspec.structs.replace(made, predicate=Descriptor(predicate, size))


def reason(orders: Sequence[SignDsse | SignPayload], fds: tuple[int, ...], most: int = MOST) -> str:
    with pytest.raises(Refusal) as refused:
        check_claims(orders, fds, most)
    assert refused.value.code in {"request.malformed", "request.too_large"}
    return refused.value.reason


def test_each_is_named_once(opened: dict[str, int]) -> None:
    memfd, file = opened["memfd"], opened["file"]
    check_claims([order()], (), MOST)
    check_claims([by_fd(0, 1)], (memfd, file), MOST)
    check_claims([by_fd(1), by_fd(None, 0)], (file, memfd), MOST)
    assert reason([by_fd(0)], ()) == "descriptor_index"
    assert reason([by_fd(1)], (memfd,)) == "descriptor_index"
    assert reason([by_fd(0, 0)], (memfd,)) == "descriptor_index"
    assert reason([by_fd(0), by_fd(0)], (memfd,)) == "descriptor_index"
    assert reason([by_fd(0)], (memfd, file)) == "descriptor_surplus"
    assert reason([order()], (memfd,)) == "descriptor_surplus"


def test_a_bare_document_is_named_as_a_predicate_is(opened: dict[str, int]) -> None:
    memfd, file = opened["memfd"], opened["file"]
    bare = payload(payload=Descriptor(0, 5))
    check_claims([bare], (memfd,), MOST)
    check_claims([payload(payload=Descriptor(1, 5), subject=(Subject("s", fd=0, size=5),))], (file, memfd), MOST)
    assert reason([bare], (file,)) == "not_sealed"
    assert reason([bare], (memfd,), most=4) == "descriptor_size"
    assert reason([payload()], (memfd,)) == "descriptor_surplus"


def test_what_each_place_asks_for(opened: dict[str, int]) -> None:
    assert reason([by_fd(0)], (opened["file"],)) == "not_sealed"
    assert reason([by_fd(0)], (opened["pipe"],)) == "not_sealed"
    assert reason([by_fd(None, 0)], (opened["pipe"],)) == "descriptor_kind"
    check_claims([by_fd(None, 0)], (opened["memfd"],), MOST)
    for fd in (opened["memfd"], opened["file"]):
        assert reason([by_fd(None, 0, size=6)], (fd,)) == "size_mismatch"
    assert reason([by_fd(0, size=4)], (opened["memfd"],)) == "size_mismatch"
    assert reason([by_fd(0)], (opened["memfd"],), most=4) == "descriptor_size"


@pytest.mark.parametrize("flags", [os.O_PATH, os.O_WRONLY])
def test_one_that_cannot_be_read(tmp_path: Path, flags: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    fd = os.open(file, flags)
    assert reason([by_fd(None, 0)], (fd,)) == "descriptor_kind"
    os.close(fd)


@pytest.mark.parametrize("size", [0, 1, READ_BYTES, READ_BYTES + 1])
def test_hashing_reads_from_the_start_whatever_the_offset(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    content = os.urandom(size)
    file.write_bytes(content)
    with file.open("rb") as reading:
        reading.read()
        fd = reading.fileno()
        assert hash_file(fd, size) == hashlib.sha256(content).hexdigest()
        assert check_files([(fd, size), (fd, size)]) == [hashlib.sha256(content).hexdigest()] * 2
        for wrong in (size + 1, size - 1):
            if wrong >= 0:
                with pytest.raises(Refusal) as refused:
                    hash_file(fd, wrong)
                assert (refused.value.code, refused.value.reason) == ("request.malformed", "size_mismatch")


def test_hashing_ends_when_nobody_waits_any_more(tmp_path: Path) -> None:
    """A sparse file of terabytes would be read for hours."""
    with (tmp_path / "file").open("x+b") as file:
        file.truncate(1 << 43)
        asked: list[bool] = []

        def stopped() -> bool:
            asked.append(len(asked) == 2)
            return asked[-1]

        with pytest.raises(Refusal, match="size"):
            check_files([(file.fileno(), 1 << 43)], stopped)
        assert len(asked) == 3
