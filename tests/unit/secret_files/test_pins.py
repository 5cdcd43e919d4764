import os
from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd.secret_files.pins import read_pin

LENGTHS = (4, 63)


def written(path: Path, data: bytes, mode: int = 0o600) -> str:
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def refused(source: str) -> str:
    with pytest.raises(SignerdError) as caught:
        read_pin(source, *LENGTHS)
    assert caught.value.code == "key.backend_fault"
    assert "/" not in caught.value.public
    return caught.value.reason


@pytest.mark.parametrize(
    ("data", "pin"),
    [
        (b"1234", "1234"),
        (b"1234\n", "1234"),
        (b" 1 2 \n\n", " 1 2 \n"),
        ("пин1".encode(), "пин1"),
        (b"x" * 63 + b"\n", "x" * 63),
    ],
)
def test_one_newline_at_the_end_is_the_editors(tmp_path: Path, data: bytes, pin: str) -> None:
    assert read_pin(written(tmp_path / "pin", data), *LENGTHS) == pin


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"123", "пин".encode(), b"\xff" * 4, b"12\x0034", b"1" * 64, b"1" * 64 + b"\n"]
)
def test_what_cannot_be_a_pin(tmp_path: Path, data: bytes) -> None:
    assert refused(written(tmp_path / "pin", data)) == "pin_format"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_could_read_or_write(tmp_path: Path, mode: int) -> None:
    assert refused(written(tmp_path / "pin", b"1234", mode)) == "pin_file_mode"


def test_no_file_a_link_a_folder_a_pipe(tmp_path: Path) -> None:
    source = written(tmp_path / "pin", b"1234")
    (tmp_path / "link").symlink_to(tmp_path / "pin")
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert refused(str(tmp_path / "none")) == "pin_unreadable"
    assert refused(str(tmp_path / "link")) == "pin_unreadable"
    assert refused(str(tmp_path)) == "pin_file_type"
    assert refused(str(tmp_path / "fifo")) == "pin_file_type"
    assert read_pin(source, *LENGTHS) == "1234"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user(tmp_path: Path) -> None:
    source = written(tmp_path / "pin", b"1234")
    os.chown(tmp_path / "pin", 1, 1)
    assert refused(source) == "pin_file_owner"


def test_a_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "token-pin"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert refused(source) == "no_credentials"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert refused(source) == "pin_unreadable"
    written(tmp_path / "token-pin", b"1234\n", 0o440)  # as systemd's access list shows
    assert read_pin(source, *LENGTHS) == "1234"
    (tmp_path / "token-pin").chmod(0o444)
    assert refused(source) == "pin_file_mode"
