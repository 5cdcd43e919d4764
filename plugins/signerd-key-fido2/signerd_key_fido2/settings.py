"""The plugin's table of the configuration, understood and checked."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

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
    "rp_id",
    "state",
    "touch_s",
    "user_verification",
}
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
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
    with.
    """

    state: str
    rp_id: str
    origin: str = ""
    device: str = ANY
    user_verification: bool = False
    touch_s: float = TOUCH_S
    pin: str = ""


def understand(settings: Mapping[str, object]) -> Settings:
    """Read the table; ValueError in a plain sentence for an unknown key, a wrong type, a path that is not absolute,
    an ``rp_id`` that no authenticator would keep apart from another's."""
    for key in settings:
        if key not in _KNOWN:
            raise ValueError(f"{key}: unknown key; expected are {', '.join(sorted(_KNOWN))}")
    verification = settings.get("user_verification", False)
    if not isinstance(verification, bool):
        raise ValueError("user_verification: true or false is expected")
    return Settings(
        _path("state", settings.get("state")),
        _matching("rp_id", settings.get("rp_id"), _RP_ID, "a domain name, or ssh: and a name, is expected"),
        _origin(settings),
        _device(settings.get("device", ANY)),
        verification,
        _seconds(settings.get("touch_s", TOUCH_S)),
        _pin(settings),
    )


def _origin(settings: Mapping[str, object]) -> str:
    if "origin" not in settings:
        return ""
    origin = _matching("origin", settings["origin"], _ORIGIN, "https:// and a host name is expected")
    host, rp_id = origin.removeprefix("https://").partition(":")[0], str(settings.get("rp_id"))
    # WebAuthn level 2, section 5.1.3, step 7: what no browser would let pass is no origin of this relying party.
    if host != rp_id and not host.endswith(f".{rp_id}"):
        raise ValueError("origin: its host must be rp_id or end with a dot and rp_id")
    return origin


def _device(value: object) -> str:
    if value == ANY:
        return ANY
    if isinstance(value, str) and value.startswith(SOCKET):
        return SOCKET + _path("device", value.removeprefix(SOCKET))
    return _path("device", value)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= LONGEST_TOUCH_S:
        raise ValueError(f"touch_s: seconds from 1 to {LONGEST_TOUCH_S:g} are expected")
    return float(value)


def _pin(settings: Mapping[str, object]) -> str:
    path, credential = settings.get("pin_file"), settings.get("pin_credential")
    if path is not None and credential is not None:
        raise ValueError("pin_file and pin_credential: only one of them is expected")
    if path is not None:
        return _path("pin_file", path)
    if credential is None:
        return ""
    return _matching("pin_credential", credential, _CREDENTIAL, "the name of a systemd credential is expected")


def _matching(where: str, value: object, shape: re.Pattern[str], expected: str) -> str:
    if not isinstance(value, str) or shape.fullmatch(value) is None:
        raise ValueError(f"{where}: {expected}")
    return value


def _path(where: str, value: object) -> str:
    if not isinstance(value, str) or not os.path.isabs(value) or "\0" in value:
        raise ValueError(f"{where}: an absolute path is expected")
    return value
