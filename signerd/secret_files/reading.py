"""One secret from one file: checked on the open descriptor, so that nothing can be put in its place in between."""

import errno
import os
import stat
from collections.abc import Mapping
from typing import Final, Literal

__all__ = ["CREDENTIALS_DIRECTORY", "Unfit", "UnfitReason", "read_secret", "read_secret_in"]

CREDENTIALS_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"
"""Environment: where systemd puts what LoadCredential= names (systemd.exec(5))."""
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_CLOSED: Final = 0o077
_CREDENTIAL_CLOSED: Final = 0o037
"""systemd hands its copy over with an access list for the unit's user, which shows as a group that may read."""

UnfitReason = Literal["missing", "no_credentials", "symlink", "type", "owner", "mode", "size", "unreadable"]


class Unfit(Exception):
    """There is no secret to be had. ``reason`` is one stable word; the text is the operator's: it names the file, and
    nothing of what is in it."""

    def __init__(self, reason: UnfitReason, text: str) -> None:
        super().__init__(text)
        self.reason: UnfitReason = reason


def read_secret(place: str, most: int, env: Mapping[str, str] = os.environ) -> bytes:
    """Return all bytes of the secret at ``place``: an absolute path, else the name of a credential of systemd's.

    Raises Unfit: ``missing``; ``no_credentials`` (systemd passed none); ``symlink``; ``type`` (no regular file);
    ``owner`` (neither root's nor the own user's); ``mode`` (group or others may do anything; of a credential the group
    may read); ``size`` (more than ``most`` bytes); ``unreadable``.
    """
    if place.startswith("/"):
        return read_secret_in(None, place, most)
    folder = env.get(CREDENTIALS_DIRECTORY, "")
    if not folder.startswith("/"):
        raise Unfit("no_credentials", f"${CREDENTIALS_DIRECTORY} is not set: the service has no credential {place!a}")
    if not place or "/" in place or place in {".", ".."}:
        raise Unfit("missing", f"{place!a} is neither an absolute path nor the name of a credential")
    return _read(None, f"{folder}/{place}", most, _CREDENTIAL_CLOSED)


def read_secret_in(folder: int | None, name: str, most: int) -> bytes:
    """Return the secret in file ``name`` of the open directory ``folder``; raises as :func:`read_secret` does."""
    return _read(folder, name, most, _CLOSED)


def _read(folder: int | None, path: str, most: int, closed: int) -> bytes:
    try:
        fd = os.open(path, _FLAGS, dir_fd=folder)
    except OSError as exc:
        raise _not_opened(path, exc) from exc
    try:
        _check(path, os.fstat(fd), most, closed)
        return _all(path, fd, most)
    except OSError as exc:
        raise Unfit("unreadable", f"{path} cannot be read: {exc.strerror}") from exc
    finally:
        os.close(fd)


def _not_opened(path: str, exc: OSError) -> Unfit:
    reasons: dict[int | None, UnfitReason] = {errno.ENOENT: "missing", errno.ELOOP: "symlink"}
    return Unfit(reasons.get(exc.errno, "unreadable"), f"{path} cannot be opened: {exc.strerror}")


def _check(path: str, found: os.stat_result, most: int, closed: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Unfit("type", f"{path} is not a regular file")
    if found.st_uid not in {0, os.geteuid()}:
        raise Unfit("owner", f"{path} belongs to uid {found.st_uid}, and not to root or uid {os.geteuid()}")
    if found.st_mode & closed:
        allowed = "0600 or 0400" if closed == _CLOSED else "0640 or 0440"
        raise Unfit("mode", f"{path} must be closed to others ({allowed}), got {found.st_mode & 0o7777:04o}")
    if found.st_size > most:
        raise Unfit("size", f"{path} is longer than {most} bytes")


def _all(path: str, fd: int, most: int) -> bytes:
    parts: list[bytes] = []
    left = most + 1  # it may have grown since
    while left and (part := os.read(fd, left)):
        parts.append(part)
        left -= len(part)
    if not left:
        raise Unfit("size", f"{path} is longer than {most} bytes")
    return b"".join(parts)
