"""What the operator's commands print: JSON for programs, tables for people, nothing that drives a terminal."""

import datetime
import os
import secrets
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

__all__ = ["cell", "moment", "show", "write_whole"]


def cell(value: object) -> str:
    """Return ``value`` as a cell; what is not printable is escaped, for it may be somebody else's text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value)) or "-"
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in str(value))


def moment(time: object) -> str:
    """Return Unix milliseconds as UTC."""
    if not isinstance(time, int):
        return ""
    return datetime.datetime.fromtimestamp(time / 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def show(output: str | None, rows: Sequence[msgspec.Struct], columns: Iterable[str]) -> None:
    """Print rows as a JSON array or as a table of ``columns``; those that end in ``_at``, and ``time``, are moments."""
    if (output or ("table" if sys.stdout.isatty() else "json")) == "json":
        print(msgspec.json.format(msgspec.json.encode(list(rows))).decode())
        return
    names = list(columns)
    cells = [names]
    for row in rows:
        values = msgspec.to_builtins(row)
        cells.append(
            [
                moment(values.get(name)) if name.endswith("_at") or name == "time" else cell(values.get(name, ""))
                for name in names
            ]
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def write_whole(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` with mode 0644: whole and on disk, or what was there before still is; OSError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
