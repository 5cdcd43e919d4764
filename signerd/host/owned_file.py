"""Reads a file that decides something: one that a stranger can write, or put in its place, is not believed."""

import os
import stat
from pathlib import Path

__all__ = ["read_owned"]


def read_owned(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes, of root's or the own user's, which not everybody
    may write.

    Raises ValueError with what was expected, and nothing else.
    """
    try:
        # Not blocking: a FIFO in the file's place must not hold the start up.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _check(os.fstat(fd))
            raw = _read(fd, most + 1)
        finally:
            os.close(fd)
    except OSError as exc:
        raise ValueError(f"expected a readable file: {exc.strerror}") from exc
    if len(raw) > most:
        raise ValueError(f"expected at most {most} bytes")
    return raw


def _read(fd: int, most: int) -> bytes:
    parts: list[bytes] = []
    while most and (part := os.read(fd, most)):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _check(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("expected a regular file")
    if found.st_mode & stat.S_IWOTH:
        raise ValueError(f"expected one that not everybody may write, got {found.st_mode & 0o777:04o}")
    if found.st_uid not in {0, os.geteuid()}:
        raise ValueError(f"expected one of root or uid {os.geteuid()}, got uid {found.st_uid}")
