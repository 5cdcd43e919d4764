"""What a command reads, with the error of a person who named the wrong file."""

from signerd.errors import Fault, Refusal
from signerd_client.output import write_atomic

__all__ = ["read_file", "unreadable", "write_file"]


def read_file(path: str, limit: int | None = None) -> bytes:
    """Return the bytes of a file, no more than ``limit`` of them.

    ``request.malformed`` with reason ``unreadable_file`` where it cannot be read (exit code 2).
    """
    try:
        with open(path, "rb") as file:
            return file.read() if limit is None else file.read(limit)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> Refusal:
    """Return the refusal of a file that cannot be read."""
    why = getattr(error, "strerror", None) or str(error)
    return Refusal("request.malformed", "unreadable_file", f"{path}: {why}")


def write_file(path: str, data: bytes) -> None:
    """Write a whole file or none; Fault ``internal`` with reason ``unwritable_file`` (exit code 1) where it
    cannot."""
    try:
        write_atomic(path, data)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Fault("internal", "unwritable_file", f"{path}: {why}") from error
