import os
from pathlib import Path

import pytest

from signerd.host.owned_file import read_owned


def test_reads_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 300_000)
    assert read_owned(file, 300_000) == b"x" * 300_000
    with pytest.raises(ValueError, match="at most 299999 bytes"):
        read_owned(file, 299_999)


def test_refuses_what_others_can_write_and_what_is_no_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    file.chmod(0o646)
    with pytest.raises(ValueError, match="not everybody may write, got 0646"):
        read_owned(file, 1)
    os.mkfifo(tmp_path / "fifo", 0o600)
    for other in (tmp_path / "fifo", tmp_path):
        with pytest.raises(ValueError, match="a regular file"):
            read_owned(other, 1)
    with pytest.raises(ValueError, match="readable file: No such file"):
        read_owned(tmp_path / "none", 1)
