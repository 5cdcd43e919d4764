"""The plugin's table of the configuration, understood and checked."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = ["GostHabits", "ModuleFile", "Settings", "SignatureOrder", "Source", "understand"]

_KNOWN: Final = {"environment", "gost", "modules", "pin_credential", "pin_file", "sessions", "state", "tokens"}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_LOADER: Final = ("LD_", "PYTHON", "GLIBC_")
"""Variables by which a loader or interpreter takes in other code than the files that were checked."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
LABEL_BYTES: Final = 32
"""CK_TOKEN_INFO has room for no longer label."""
MOST_SESSIONS: Final = 64
"""Hardware has tens of them for everybody; this process makes one signature at a time."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a PIN lies: an absolute path, or the name of a systemd credential (systemd.exec(5))."""

    value: str
    is_credential: bool


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
    """``tokens`` has the PINs by token label, ``pin`` that of all others; ``state`` is where failures are kept.

    ``environment`` is set before a module is loaded: modules find their own configuration by it. ``gost`` is of all
    modules.
    """

    modules: Mapping[str, ModuleFile]
    state: str | None = None
    pin: Source | None = None
    tokens: Mapping[str, Source] = field(default_factory=dict)
    sessions: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    gost: GostHabits = GostHabits()


def understand(settings: Mapping[str, object]) -> Settings:
    """Read the table; ValueError in a plain sentence for an unknown key, a wrong type, a path that is not absolute,
    a PIN without ``state``."""
    _only(settings, _KNOWN, "")
    modules = _table("modules", settings, 'NAME = "/path/of/module.so"')
    if not modules:
        raise ValueError('modules: at least one NAME = "/path/of/module.so" is expected')
    tokens = _table("tokens", settings, "LABEL = {pin_file = …} or {pin_credential = …}")
    sessions = settings.get("sessions", 1)
    if not isinstance(sessions, int) or isinstance(sessions, bool) or not 1 <= sessions <= MOST_SESSIONS:
        raise ValueError(f"sessions: a number from 1 to {MOST_SESSIONS} is expected")
    read = Settings(
        {name: _module(name, entry) for name, entry in modules.items()},
        None if settings.get("state") is None else _path("state", settings["state"]),
        _pin(settings, ""),
        {label: _token(label, entry) for label, entry in tokens.items()},
        sessions,
        {name: _variable(name, value) for name, value in _table("environment", settings, 'NAME = "value"').items()},
        _habits(_table("gost", settings, "signature and digest_parameter")),
    )
    if read.state is None and (read.pin or read.tokens):
        # Without a memory, each restart would present a wrong PIN again, until the token locks itself.
        raise ValueError("state: an absolute path is expected, where a wrong PIN is remembered")
    return read


def _table(name: str, settings: Mapping[str, object], shape: str) -> dict[str, object]:
    table = settings.get(name, {})
    if not isinstance(table, Mapping):
        raise ValueError(f"{name}: a table of {shape} is expected")
    return {str(key): value for key, value in table.items()}


def _module(name: str, entry: object) -> ModuleFile:
    where = f"modules.{name}"
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{where}: a name of letters, digits, dots, dashes and underscores is expected, at most 64")
    if not isinstance(entry, Mapping):
        return ModuleFile(_path(where, entry))
    _only(entry, {"path", "sha256"}, f"{where}.")
    digest = entry.get("sha256")
    if digest is not None and (not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None):
        raise ValueError(f"{where}.sha256: 64 lowercase hex digits are expected")
    return ModuleFile(_path(f"{where}.path", entry.get("path")), digest)


def _token(label: str, entry: object) -> Source:
    where = f"tokens.{label}"
    if not 1 <= len(label.encode()) <= LABEL_BYTES:
        raise ValueError(f"{where}: a token's label is expected, at most {LABEL_BYTES} bytes")
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: a table with pin_file or pin_credential is expected")
    _only(entry, {"pin_file", "pin_credential"}, f"{where}.")
    source = _pin(entry, f"{where}.")
    if source is None:
        raise ValueError(f"{where}: exactly one of pin_file and pin_credential is expected")
    return source


def _pin(table: Mapping[str, object], prefix: str) -> Source | None:
    path, credential = table.get("pin_file"), table.get("pin_credential")
    if path is not None and credential is not None:
        raise ValueError(f"{prefix}pin_file and {prefix}pin_credential: only one of them is expected")
    if path is not None:
        return Source(_path(f"{prefix}pin_file", path), is_credential=False)
    if credential is None:
        return None
    if not isinstance(credential, str) or _CREDENTIAL.fullmatch(credential) is None:
        raise ValueError(f"{prefix}pin_credential: the name of a systemd credential is expected")
    return Source(credential, is_credential=True)


def _habits(table: Mapping[str, object]) -> GostHabits:
    _only(table, {"signature", "digest_parameter"}, "gost.")
    signature, parameter = table.get("signature", SignatureOrder.S_R), table.get("digest_parameter", False)
    if signature not in list(SignatureOrder):
        raise ValueError(f"gost.signature: one of {', '.join(SignatureOrder)} is expected")
    if not isinstance(parameter, bool):
        raise ValueError("gost.digest_parameter: true or false is expected")
    return GostHabits(SignatureOrder(str(signature)), parameter)


def _variable(name: str, value: object) -> str:
    where = f"environment.{name}"
    if _VARIABLE.fullmatch(name) is None or name.startswith(_LOADER):
        raise ValueError(f"{where}: a variable of the module's own is expected, in capital letters")
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{where}: text is expected")
    return value


def _only(table: Mapping[str, object], known: set[str], prefix: str) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"{prefix}{key}: unknown key; expected are {', '.join(sorted(known))}")


def _path(where: str, value: object) -> str:
    if not isinstance(value, str) or not os.path.isabs(value) or "\0" in value:
        raise ValueError(f"{where}: an absolute path is expected")
    return value
