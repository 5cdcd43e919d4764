"""PINs on disk."""

from typing import Final

from signerd.secret_files.reading import Unfit, read_secret
from signerd_key_pkcs11.failures import fault

__all__ = ["read_pin"]

_MOST_BYTES: Final = 256
"""No token takes a longer PIN; a longer file is the wrong one."""
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
    credential the group may read), ``pin_format`` (empty, not UTF-8, with a NUL or longer than 256 bytes).
    """
    try:
        data = read_secret(place, _MOST_BYTES)
    except Unfit as unfit:
        raise fault(_REASONS.get(unfit.reason, "pin_unreadable"), str(unfit)) from unfit
    pin = data.removesuffix(b"\n")
    if pin and b"\0" not in pin:
        try:
            return pin.decode()
        except UnicodeDecodeError:
            pass
    raise fault("pin_format", f"{place} must hold a PIN: text in UTF-8 of at most {_MOST_BYTES} bytes")
