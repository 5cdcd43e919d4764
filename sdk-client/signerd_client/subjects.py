"""Subjects of a statement: what is signed about, by name and digest."""

import hashlib
import os
import stat
from dataclasses import dataclass

from signerd.errors import Refusal

__all__ = ["Subject", "SubjectFile", "file_sha256", "open_file"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject whose digests are known: ``digest`` maps algorithm names to lowercase hex; ``sha256`` is
    required."""

    name: str
    digest: dict[str, str]

    @classmethod
    def of_file(cls, path: str | os.PathLike[str], name: str | None = None) -> "Subject":
        """Hash the file here; ``name`` defaults to its base name. OSError where it cannot be read."""
        return cls(os.path.basename(os.fspath(path)) if name is None else name, {"sha256": file_sha256(path)})


@dataclass(frozen=True, slots=True)
class SubjectFile:
    """A subject that the daemon shall hash: an open descriptor of a regular file or sealed memfd.

    The client sends a duplicate and does not close it; the file must not change until the request is
    answered.
    """

    name: str
    descriptor: int


def open_file(path: str | os.PathLike[str]) -> int:
    """Open a regular file for reading and return its descriptor.

    OSError where it cannot be opened; ``request.malformed`` with reason ``not_a_file`` for a FIFO, a device
    or a directory, on which reading could wait for ever or never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refusal(
            "request.malformed",
            "not_a_file",
            "a file is needed",
            operator=f"{os.fspath(path)}: no regular file",
        )
    return descriptor


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a regular file in lowercase hex; errors as :func:`open_file`."""
    with open(open_file(path), "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
