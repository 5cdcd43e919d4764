import os
from pathlib import Path

import pytest

from signerd.errors import Fault, Refusal, exit_code
from signerd_client.files import read_file, unreadable, write_file


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abcdef")
    assert read_file(str(tmp_path / "f")) == b"abcdef"
    assert read_file(str(tmp_path / "f"), 3) == b"abc"


@pytest.mark.parametrize("name", ["absent", ".", "a\0b"])
def test_what_cannot_be_read_is_exit_code_2(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_file(os.path.join(tmp_path, name))
    assert caught.value.reason == "unreadable_file"
    assert exit_code(caught.value.code) == 2
    assert str(tmp_path) in str(caught.value)


def test_what_cannot_be_written_is_exit_code_1(tmp_path: Path) -> None:
    with pytest.raises(Fault) as caught:
        write_file(str(tmp_path / "absent" / "f"), b"")
    assert caught.value.reason == "unwritable_file"
    assert exit_code(caught.value.code) == 1
    write_file(str(tmp_path / "f"), b"x")
    assert (tmp_path / "f").read_bytes() == b"x"


def test_an_error_without_a_number_is_told_too() -> None:
    assert "embedded null byte" in str(unreadable("p", ValueError("embedded null byte")))
