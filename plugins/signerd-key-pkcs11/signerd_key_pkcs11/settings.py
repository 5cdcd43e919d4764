"""The plugin's table of the configuration, understood and checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from signerd.contracts.settings import (
    absolute_path,
    key_name,
    one_secret_place,
    only_known,
    pin_of_file,
    secret_place,
    table_of,
    true_or_false,
)

__all__ = ["GostHabits", "ModuleFile", "Settings", "SignatureOrder", "understand"]

_KNOWN: Final = {"environment", "gost", "modules", "pin_credential", "pin_file", "sessions", "state", "tokens"}
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_LOADER: Final = ("LD_", "PYTHON", "GLIBC_")
"""Variables by which a loader or interpreter takes in other code than the files that were checked."""
LABEL_BYTES: Final = 32
"""CK_TOKEN_INFO has room for no longer label."""
MOST_SESSIONS: Final = 64
"""Hardware has tens of them for everybody; this process makes one signature at a time."""


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """A module's file; ``sha256`` (hex) pins what is in it."""

    path: str
    sha256: str | None = None


class SignatureOrder(StrEnum):
    """How a token writes a GOST signature: s || r, both big-endian (RFC 9215), or that with its last byte first."""

    S_R = "s-r"
    REVERSED = "reversed"


@dataclass(frozen=True, slots=True)
class GostHabits:
    """What tokens with GOST keys do differently. ``digest_parameter``: a mechanism is given the digest's identifier."""

    signature: SignatureOrder = SignatureOrder.S_R
    digest_parameter: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """``tokens`` has the places of PINs by token label, ``pin`` that of all others: an absolute path, or the name of a
    credential of systemd's. ``state`` is where failures are kept.

    ``environment`` is set before a module is loaded: modules find their own configuration by it. ``gost`` is of all
    modules.
    """

    modules: Mapping[str, ModuleFile]
    state: str | None = None
    pin: str | None = None
    tokens: Mapping[str, str] = field(default_factory=dict)
    sessions: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    gost: GostHabits = GostHabits()


def understand(settings: Mapping[str, object]) -> Settings:
    """Read the table; ValueError in a plain sentence for an unknown key, a wrong type, a path that is not absolute,
    a PIN without ``state``."""
    only_known(settings, _KNOWN, "")
    modules = table_of("modules", settings.get("modules", {}), 'NAME = "/path/of/module.so"')
    if not modules:
        raise ValueError('modules: at least one NAME = "/path/of/module.so" is expected')
    environment = table_of("environment", settings.get("environment", {}), 'NAME = "value"')
    tokens = table_of("tokens", settings.get("tokens", {}), "LABEL = {pin_file = …} or {pin_credential = …}")
    sessions = settings.get("sessions", 1)
    if not isinstance(sessions, int) or isinstance(sessions, bool) or not 1 <= sessions <= MOST_SESSIONS:
        raise ValueError(f"sessions: a number from 1 to {MOST_SESSIONS} is expected")
    read = Settings(
        {name: _module(name, entry) for name, entry in modules.items()},
        None if settings.get("state") is None else absolute_path("state", settings["state"]),
        secret_place(settings, "pin_file", "pin_credential"),
        {label: _token(label, entry) for label, entry in tokens.items()},
        sessions,
        {name: _variable(name, value) for name, value in environment.items()},
        _habits(table_of("gost", settings.get("gost", {}), "signature and digest_parameter")),
    )
    if read.state is None and (read.pin or read.tokens):
        # Without a memory, each restart would present a wrong PIN again, until the token locks itself.
        raise ValueError("state: an absolute path is expected, where a wrong PIN is remembered")
    return read


def _module(name: str, entry: object) -> ModuleFile:
    where = f"modules.{name}"
    key_name(where, name)
    if not isinstance(entry, Mapping):
        return ModuleFile(absolute_path(where, entry))
    only_known(entry, {"path", "sha256"}, f"{where}.")
    path = absolute_path(f"{where}.path", entry.get("path"))
    return ModuleFile(path, pin_of_file(f"{where}.sha256", entry.get("sha256")))


def _token(label: str, entry: object) -> str:
    where = f"tokens.{label}"
    if not 1 <= len(label.encode()) <= LABEL_BYTES:
        raise ValueError(f"{where}: a token's label is expected, at most {LABEL_BYTES} bytes")
    return one_secret_place(where, entry, "pin_file", "pin_credential")


def _habits(table: Mapping[str, object]) -> GostHabits:
    only_known(table, {"signature", "digest_parameter"}, "gost.")
    signature = table.get("signature", SignatureOrder.S_R)
    if signature not in list(SignatureOrder):
        raise ValueError(f"gost.signature: one of {', '.join(SignatureOrder)} is expected")
    parameter = true_or_false("gost.digest_parameter", table.get("digest_parameter", False))
    return GostHabits(SignatureOrder(str(signature)), parameter)


def _variable(name: str, value: object) -> str:
    where = f"environment.{name}"
    if _VARIABLE.fullmatch(name) is None or name.startswith(_LOADER):
        raise ValueError(f"{where}: a variable of the module's own is expected, in capital letters")
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{where}: text is expected")
    return value
