"""PINs on disk."""

from typing import Final

from signerd.secret_files.key_files import fault
from signerd.secret_files.reading import Unfit, read_secret

__all__ = ["read_pin"]

_REASONS: Final = {
    "no_credentials": "no_credentials",
    "type": "pin_file_type",
    "owner": "pin_file_owner",
    "mode": "pin_file_mode",
    "size": "pin_format",
}


def read_pin(place: str, least: int, most: int) -> str:
    """Return the PIN at an absolute path, or in a credential of systemd's, without the editor's newline at its end:
    ``least`` characters at least, ``most`` bytes at most.

    ``key.backend_fault``: ``no_credentials`` (systemd passed none), ``pin_unreadable`` (a symlink too),
    ``pin_file_type`` (no regular file), ``pin_file_owner``, ``pin_file_mode`` (group or others may do anything; of a
    credential the group may read), ``pin_format`` (too short, too long, not UTF-8, with a NUL).
    """
    try:
        data = read_secret(place, most + 1)
    except Unfit as unfit:
        raise fault(_REASONS.get(unfit.reason, "pin_unreadable"), str(unfit)) from unfit
    pin = data.removesuffix(b"\n")
    if len(pin) <= most and b"\0" not in pin:
        try:
            text = pin.decode()
        except UnicodeDecodeError:
            text = ""
        if len(text) >= least:
            return text
    raise fault("pin_format", f"{place} must hold a PIN in UTF-8: {least} characters at least, {most} bytes at most")
