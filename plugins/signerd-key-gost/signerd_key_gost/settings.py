"""The plugin's table of the configuration, understood and checked."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from signerd_key_gost.private_key import PARAMETERS

__all__ = ["NAME", "Settings", "understand"]

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KNOWN: Final = {"directory", "keys", "parameters_256", "parameters_512", "password_credential", "password_file"}
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True, slots=True)
class Settings:
    """``directory`` holds NAME.pem; ``keys`` places single names elsewhere; ``password`` opens encrypted ones.

    A place is an absolute path, or the name of a credential of systemd's. ``parameters`` has for each algorithm the
    parameter set of new keys.
    """

    directory: str | None = None
    password: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


def understand(settings: Mapping[str, object]) -> Settings:
    """Read the table; ValueError in a plain sentence for an unknown key, a wrong type, a path that is not absolute."""
    _only(settings, _KNOWN, "")
    directory, keys = settings.get("directory"), settings.get("keys", {})
    if not isinstance(keys, Mapping):
        raise ValueError("keys: a table of NAME = {path = …} or {credential = …} is expected")
    if directory is None and not keys:
        raise ValueError("directory or keys: at least one of them is expected")
    if "password_file" in settings and "password_credential" in settings:
        raise ValueError("password_file and password_credential: only one of them is expected")
    password = None
    if "password_file" in settings:
        password = _path("password_file", settings["password_file"])
    elif "password_credential" in settings:
        password = _credential("password_credential", settings["password_credential"])
    return Settings(
        None if directory is None else _path("directory", directory),
        password,
        {str(name): _place(str(name), entry) for name, entry in keys.items()},
        {algorithm: _parameters(algorithm, settings) for algorithm in PARAMETERS},
    )


def _place(name: str, entry: object) -> str:
    where = f"keys.{name}"
    if NAME.fullmatch(name) is None:
        raise ValueError(f"{where}: a name of letters, digits, dots, dashes and underscores is expected, at most 64")
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: a table with path or credential is expected")
    _only(entry, {"path", "credential"}, f"{where}.")
    if len(entry) != 1:
        raise ValueError(f"{where}: exactly one of path and credential is expected")
    if "path" in entry:
        return _path(f"{where}.path", entry["path"])
    return _credential(f"{where}.credential", entry["credential"])


def _only(table: Mapping[str, object], known: set[str], prefix: str) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"{prefix}{key}: unknown key; expected are {', '.join(sorted(known))}")


def _path(where: str, value: object) -> str:
    if not isinstance(value, str) or not os.path.isabs(value) or "\0" in value:
        raise ValueError(f"{where}: an absolute path is expected")
    return value


def _credential(where: str, value: object) -> str:
    if not isinstance(value, str) or _CREDENTIAL.fullmatch(value) is None:
        raise ValueError(f"{where}: the name of a systemd credential is expected")
    return value


def _parameters(algorithm: str, settings: Mapping[str, object]) -> str:
    key, known = f"parameters_{algorithm[-3:]}", PARAMETERS[algorithm]
    chosen = settings.get(key, next(iter(known)))
    if not isinstance(chosen, str) or chosen not in known:
        raise ValueError(f"{key}: one of {', '.join(known)} is expected")
    return chosen
