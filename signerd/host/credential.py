"""The credential that a key worker at a socket path and the sealer share: read where nobody else could have read it."""

import errno
import os
import stat
from collections.abc import Mapping
from typing import Final

from signerd.errors import Fault
from signerd.wire.worker_auth import CREDENTIAL_BYTES

__all__ = ["CREDENTIALS_DIRECTORY", "read_credential"]

CREDENTIALS_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"
"""Environment: where systemd puts what LoadCredential= names (systemd.exec(5))."""
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def read_credential(named: str, env: Mapping[str, str] = os.environ) -> bytes:
    """Return all bytes of the credential: of the file at an absolute path, else of systemd's credential of that name.

    A file must belong to this process's user or root and be closed to group and others. systemd hands its copy over
    with an access list, which shows as a group that may read: so much is allowed there.

    Fault ``key.backend_unavailable``, whose reason is ``credential_missing``, ``credential_symlink``,
    ``credential_type``, ``credential_owner``, ``credential_mode``, ``credential_size`` (32 to 4096 bytes) or
    ``credential_unreadable``; its text names the file and never what is in it.
    """
    path = named
    others = 0o077
    if not named.startswith("/"):
        folder = env.get(CREDENTIALS_DIRECTORY, "")
        if not folder.startswith("/") or not named or "/" in named or named in {".", ".."}:
            raise _unfit(named, "credential_missing", f"is neither an absolute path nor in ${CREDENTIALS_DIRECTORY}")
        path = f"{folder}/{named}"
        others = 0o037
    try:
        fd = os.open(path, _FLAGS)
    except OSError as exc:
        reasons = {errno.ENOENT: "credential_missing", errno.ELOOP: "credential_symlink"}
        reason = reasons.get(exc.errno or 0, "credential_unreadable")
        raise _unfit(path, reason, f"cannot be opened: {exc.strerror}") from None
    try:
        return _read(path, fd, others)
    except OSError as exc:
        raise _unfit(path, "credential_unreadable", f"cannot be read: {exc.strerror}") from None
    finally:
        os.close(fd)


def _read(path: str, fd: int, others: int) -> bytes:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise _unfit(path, "credential_type", "is not a regular file")
    if found.st_uid not in {0, os.geteuid()}:
        raise _unfit(path, "credential_owner", f"belongs to uid {found.st_uid}, and not to root or uid {os.geteuid()}")
    if found.st_mode & others:
        raise _unfit(path, "credential_mode", f"must be closed to others (mode {found.st_mode & 0o7777:04o})")
    least, most = CREDENTIAL_BYTES
    held = os.read(fd, most + 1)
    if not least <= len(held) <= most:
        raise _unfit(path, "credential_size", f"must have {least} to {most} bytes")
    return held


def _unfit(path: str, reason: str, what: str) -> Fault:
    return Fault(
        "key.backend_unavailable",
        reason,
        "the key's backend is not available",
        operator=f"credential {path!a} {what}",
    )
