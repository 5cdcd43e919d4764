import errno
import os
from pathlib import Path

import pytest

from signerd.errors import Fault
from signerd_client.descriptors import close_all, read_sealed, sealed_memfd


def test_what_is_sealed_can_be_read_and_never_changed() -> None:
    data = os.urandom(3 << 20)
    descriptor = sealed_memfd(data)
    try:
        assert read_sealed(descriptor, len(data), 1 << 30) == data
        for change in (lambda: os.write(descriptor, b"x"), lambda: os.ftruncate(descriptor, 1)):
            with pytest.raises(OSError) as caught:
                change()
            assert caught.value.errno == errno.EPERM
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_an_unsealed_memfd_a_file_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    reading, writing = os.pipe()
    memory = os.memfd_create("t", os.MFD_ALLOW_SEALING)
    os.write(memory, b"abc")
    file = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        for descriptor in (memory, file, reading):
            with pytest.raises(Fault) as caught:
                read_sealed(descriptor, 3, 100)
            assert (caught.value.code, caught.value.reason) == ("internal", "result_descriptor")
    finally:
        close_all([reading, writing, memory, file])


@pytest.mark.parametrize(("size", "limit"), [(2, 100), (4, 100), (3, 2)])
def test_a_size_that_lies_or_is_too_large_is_not_believed(size: int, limit: int) -> None:
    descriptor = sealed_memfd(b"abc")
    try:
        with pytest.raises(Fault) as caught:
            read_sealed(descriptor, size, limit)
        assert caught.value.reason == "result_descriptor"
    finally:
        os.close(descriptor)


def test_close_all_goes_on_after_one_that_is_closed() -> None:
    first, second = sealed_memfd(b""), sealed_memfd(b"")
    os.close(first)
    close_all((first, second))
    with pytest.raises(OSError):
        os.fstat(second)
