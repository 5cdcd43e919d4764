"""What signerctl shows and writes: escaped text, tables, JSON, and files that are whole or not there."""

import os
import secrets
import sys
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

__all__ = ["escape", "json_text", "note", "table", "write_atomic", "write_stdout"]

_FILE_MODE: Final = 0o644


def escape(text: str) -> str:
    """Return ``text`` with every character that a terminal might act on written as an escape.

    Controls, line and paragraph separators, bidirectional overrides and lone surrogates included: a name in a
    bundle must not be able to move the cursor, change what was printed before, or look like another name.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in text
    )


def note(text: str) -> None:
    """Print a line for a person on stderr, escaped."""
    print(escape(text), file=sys.stderr, flush=True)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns aligned for a terminal, each cell escaped, a newline at the end."""
    cells = [list(header), *([escape(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
    return "\n".join(lines) + "\n"


def json_text(value: object) -> bytes:
    """Return ``value`` as one line of JSON: keys sorted, bytes in base64, times as they are; a newline at the
    end."""
    return msgspec.json.encode(value, order="sorted") + b"\n"


def write_stdout(data: bytes) -> None:
    """Write ``data`` to stdout as it is."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_atomic(path: str, data: bytes) -> None:
    """Put a file with ``data`` and mode 0644 at ``path``: whole and on disk, or the old one is still there.

    OSError where that cannot be done; nothing is left behind then.
    """
    temporary = f"{path}.{secrets.token_hex(8)}.tmp"
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, _FILE_MODE
    )
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, _FILE_MODE)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
