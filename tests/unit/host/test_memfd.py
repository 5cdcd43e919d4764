import fcntl
import os
from pathlib import Path

import pytest

from signerd.errors import Refusal
from signerd.host.memfd import SEALS, read_sealed, sealed_memfd

LIMIT = 1024


def refusal(fd: int, size: int) -> str:
    with pytest.raises(Refusal) as caught:
        read_sealed(fd, size, LIMIT)
    return f"{caught.value.code} {caught.value.reason}"


def test_what_was_put_in_comes_out_and_cannot_be_changed() -> None:
    fd = sealed_memfd("test", b"one ", memoryview(b"two"))
    try:
        assert read_sealed(fd, 7, LIMIT) == b"one two"
        assert read_sealed(fd, 7, LIMIT) == b"one two", "the offset does not matter"
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == SEALS
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 1)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 100)
    finally:
        os.close(fd)


def test_an_empty_one_is_empty() -> None:
    fd = sealed_memfd("test")
    try:
        assert read_sealed(fd, 0, LIMIT) == b""
    finally:
        os.close(fd)


@pytest.mark.parametrize("missing", [fcntl.F_SEAL_WRITE, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SHRINK])
def test_a_memfd_with_one_seal_missing_is_refused(missing: int) -> None:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, b"abc")
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, (SEALS & ~fcntl.F_SEAL_SEAL) & ~missing)
        assert refusal(fd, 3) == "request.malformed not_sealed"
    finally:
        os.close(fd)


def test_a_lying_size_and_one_above_the_limit_are_refused() -> None:
    fd = sealed_memfd("test", bytes(LIMIT + 1))
    try:
        assert refusal(fd, LIMIT) == "request.malformed size_mismatch"
        assert refusal(fd, LIMIT + 2) == "request.malformed size_mismatch"
        assert refusal(fd, LIMIT + 1) == "request.too_large descriptor_size"
    finally:
        os.close(fd)


def test_other_kinds_of_descriptors_are_refused_without_being_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    plain = tmp_path / "plain"
    plain.write_bytes(b"abc")
    for path, flags in (
        (fifo, os.O_RDWR),
        (plain, os.O_RDONLY),
        (Path(os.devnull), os.O_RDONLY),
        (plain, os.O_PATH),
    ):
        fd = os.open(path, flags | os.O_CLOEXEC)
        try:
            assert refusal(fd, 3) == "request.malformed not_sealed"
        finally:
            os.close(fd)
