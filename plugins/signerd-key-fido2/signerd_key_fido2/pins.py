"""The PIN on disk."""

from typing import Final

from signerd.secret_files.reading import Unfit, read_secret
from signerd_key_fido2.failures import fault

__all__ = ["read_pin"]

_LENGTHS: Final = range(4, 64)
"""Code points at least, bytes at most (CTAP 2.1, section 6.5.1)."""
_REASONS: Final = {
    "no_credentials": "no_credentials",
    "type": "pin_file_type",
    "owner": "pin_file_owner",
    "mode": "pin_file_mode",
    "size": "pin_format",
}


def read_pin(place: str) -> str:
    """Return the PIN at an absolute path, or in a credential of systemd's, without the editor's newline at its end.

    ``key.backend_fault``: ``no_credentials`` (systemd passed none), ``pin_unreadable`` (a symlink too),
    ``pin_file_type`` (no regular file), ``pin_file_owner``, ``pin_file_mode`` (group or others may do anything; of a
    credential the group may read), ``pin_format`` (what no authenticator takes: fewer than 4 characters, more than 63
    bytes, not UTF-8, with a NUL).
    """
    try:
        data = read_secret(place, _LENGTHS.stop)
    except Unfit as unfit:
        raise fault(_REASONS.get(unfit.reason, "pin_unreadable"), str(unfit)) from unfit
    pin = data.removesuffix(b"\n")
    if len(pin) < _LENGTHS.stop and b"\0" not in pin:
        try:
            text = pin.decode()
        except UnicodeDecodeError:
            text = ""
        if len(text) >= _LENGTHS.start:
            return text
    raise fault("pin_format", f"{place} must hold a PIN: 4 characters at least, 63 bytes of UTF-8 at most")
