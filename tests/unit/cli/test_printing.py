import json
import os

import pytest

from signerd.cli.printing import cell, moment, show, write_whole
from signerd.wire.admin import Granted, KeyChange


def test_a_cell_cannot_drive_the_terminal():
    assert cell("a\x1b[2Jb\u202e") == "a\\x1b[2Jb\\x202e"
    assert [cell(value) for value in (True, 3, ("a", "b\n"), [])] == ["yes", "3", "a, b\\x0a", "-"]


def test_times_are_utc():
    assert moment(1_750_000_000_000) == "2025-06-15T15:06:40Z"
    assert moment(None) == ""


def test_tables_for_people_and_json_for_programs(capsys):
    row = KeyChange("rotate", 1_750_000_000_000, "file:a", 2, "sha256:aa", "active", by="uid:1\x07")
    show("table", [row], ("time", "change", "key", "by", "reason"))
    assert capsys.readouterr().out.splitlines() == [
        "time                  change  key     by         reason",
        "2025-06-15T15:06:40Z  rotate  file:a  uid:1\\x07",
    ]
    show(None, [Granted("id", 5)], ("bypass_id",))  # no terminal here
    assert json.loads(capsys.readouterr().out) == [{"bypass_id": "id", "expires_at": 5}]


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "jwks.json"
    write_whole(path, b"first")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"first", 0o644 & ~_umask())

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"second")
    assert [file.name for file in tmp_path.iterdir()] == ["jwks.json"]
    assert path.read_bytes() == b"first"


def _umask():
    found = os.umask(0)
    os.umask(found)
    return found
