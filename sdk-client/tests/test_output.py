import json
import os
import stat
from pathlib import Path

import pytest

from signerd_client.output import escape, json_text, note, table, write_atomic, write_stdout


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe", "größe"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("a\x7f\x9bb", r"a\x7f\x9bb"),
        ("a\u202eb\u2066", r"a\u202eb\u2066"),
        ("a\u2028b\u200b", r"a\u2028b\u200b"),
        ("a\ud800b", r"a\ud800b"),
    ],
)
def test_what_a_terminal_might_act_on_is_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_notes_and_tables_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    note("x\x1b]0;t\x07")
    assert capsys.readouterr().err == "x\\x1b]0;t\\x07\n"
    assert table(("A", "LONG"), [("1\n2", "x"), ("", "yy")]) == "A     LONG\n1\\n2  x\n      yy\n"


def test_json_is_sorted_on_one_line_with_bytes_in_base64(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_stdout(json_text({"b": b"\x00\xff", "a": "x\n\x1b"}))
    text = capfdbinary.readouterr().out
    assert text == b'{"a":"x\\n\\u001b","b":"AP8="}\n'
    assert json.loads(text)["b"] == "AP8="


def test_a_file_is_replaced_whole_with_mode_0644(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(b"old")
    path.chmod(0o600)
    before = os.umask(0o077)
    try:
        write_atomic(str(path), b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


def test_a_failure_leaves_the_old_state(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError):
        write_atomic(str(tmp_path / "directory"), b"x")
    with pytest.raises(OSError):
        write_atomic(str(tmp_path / "absent" / "file"), b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["directory"]
