"""The plugin's table of the configuration, understood and checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from signerd.contracts.settings import (
    absolute_path,
    matching,
    only_known,
    seconds,
    secret_place,
    true_or_false,
)

__all__ = ["ANY", "SOCKET", "Settings", "understand"]

ANY: Final = "any"
"""The device that stands for whichever authenticator is there."""
SOCKET: Final = "unix:"
"""How the name of an authenticator behind a Unix socket begins."""
_KNOWN: Final = {
    "device",
    "origin",
    "pin_credential",
    "pin_file",
    "raw_sign",
    "rp_id",
    "state",
    "touch_s",
    "user_verification",
}
_RP_ID: Final = re.compile(r"ssh:[!-~]{0,251}|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
"""A domain (WebAuthn level 2, section 5.1.2) or, as OpenSSH has it, what begins with ``ssh:``."""
_ORIGIN: Final = re.compile(r"https://[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?")
TOUCH_S: Final = 30.0
LONGEST_TOUCH_S: Final = 115.0
"""No call of a worker may take longer than two minutes, and the answer needs some of it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``state`` is where enrolled credentials and a refused PIN are kept. ``device``: ``any``, the path of a hidraw
    device, or ``unix:`` and the path of a socket. ``touch_s``: how long a touch is waited for. ``pin``: an absolute
    path, the name of a systemd credential (systemd.exec(5)), or empty.

    ``rp_id``, ``origin`` and ``user_verification`` are those of credentials to come: each keeps what it was enrolled
    with. ``raw_sign``: keys by the draft extension previewSign are enrolled and used.
    """

    state: str
    rp_id: str
    origin: str = ""
    device: str = ANY
    user_verification: bool = False
    touch_s: float = TOUCH_S
    pin: str = ""
    raw_sign: bool = False


def understand(settings: Mapping[str, object]) -> Settings:
    """Read the table; ValueError in a plain sentence for an unknown key, a wrong type, a path that is not absolute,
    an ``rp_id`` that no authenticator would keep apart from another's."""
    only_known(settings, _KNOWN)
    return Settings(
        absolute_path("state", settings.get("state")),
        matching("rp_id", settings.get("rp_id"), _RP_ID, "a domain name, or ssh: and a name, is expected"),
        _origin(settings),
        _device(settings.get("device", ANY)),
        true_or_false("user_verification", settings.get("user_verification", False)),
        seconds("touch_s", settings.get("touch_s", TOUCH_S), 1, LONGEST_TOUCH_S),
        secret_place(settings, "pin_file", "pin_credential") or "",
        true_or_false("raw_sign", settings.get("raw_sign", False)),
    )


def _origin(settings: Mapping[str, object]) -> str:
    if "origin" not in settings:
        return ""
    origin = matching("origin", settings["origin"], _ORIGIN, "https:// and a host name is expected")
    host, rp_id = origin.removeprefix("https://").partition(":")[0], str(settings.get("rp_id"))
    # WebAuthn level 2, section 5.1.3, step 7: what no browser would let pass is no origin of this relying party.
    if host != rp_id and not host.endswith(f".{rp_id}"):
        raise ValueError("origin: its host must be rp_id or end with a dot and rp_id")
    return origin


def _device(value: object) -> str:
    if value == ANY:
        return ANY
    if isinstance(value, str) and value.startswith(SOCKET):
        return SOCKET + absolute_path("device", value.removeprefix(SOCKET))
    return absolute_path("device", value)
