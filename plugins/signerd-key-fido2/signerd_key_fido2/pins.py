"""The PIN on disk: read only from a file that nobody else can read or write.

All checks are made on the open descriptor, so that nothing can be put in the file's place in between.
"""

import os
import stat
from typing import Final

from signerd_key_fido2.failures import fault
from signerd_key_fido2.settings import Source

__all__ = ["read_pin"]

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_LENGTHS: Final = range(4, 64)
"""Code points at least, bytes at most (CTAP 2.1, section 6.5.1)."""
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"


def read_pin(source: Source) -> str:
    """Return the PIN without the editor's newline at its end.

    ``key.backend_fault``: ``no_credentials`` (systemd passed none), ``pin_unreadable``, ``pin_file_type`` (no
    regular file, or a symlink), ``pin_file_owner``, ``pin_file_mode`` (group or others may do anything; of a
    credential, which systemd hands over with an access list that shows as a group mode, others), ``pin_format``
    (what no authenticator takes: fewer than 4 characters, more than 63 bytes, not UTF-8, with a NUL).
    """
    path = _place(source)
    try:
        fd = os.open(path, _FLAGS)
    except OSError as exc:
        raise fault("pin_unreadable", f"{path} cannot be opened: {exc.strerror}") from exc
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise fault("pin_file_type", f"{path} is not a regular file")
        if found.st_uid not in ({os.geteuid(), 0} if source.is_credential else {os.geteuid()}):
            raise fault("pin_file_owner", f"{path} must belong to the user that the key worker runs as")
        if found.st_mode & (0o027 if source.is_credential else 0o077):
            raise fault("pin_file_mode", f"{path} must be closed to group and others (mode 0600 or 0400)")
        return _text(path, os.read(fd, _LENGTHS.stop + 1))
    finally:
        os.close(fd)


def _place(source: Source) -> str:
    if not source.is_credential:
        return source.value
    folder = os.environ.get(_CREDENTIALS)
    if not folder:
        raise fault("no_credentials", f"{_CREDENTIALS} is not set: the service has no credential {source.value}")
    return os.path.join(folder, source.value)


def _text(path: str, data: bytes) -> str:
    pin = data.removesuffix(b"\n")
    if len(pin) < _LENGTHS.stop and b"\0" not in pin:
        try:
            text = pin.decode()
        except UnicodeDecodeError:
            text = ""
        if len(text) >= _LENGTHS.start:
            return text
    raise fault("pin_format", f"{path} must hold a PIN: 4 characters at least, 63 bytes of UTF-8 at most")
