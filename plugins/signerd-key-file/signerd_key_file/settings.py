"""The plugin's table of the configuration, understood and checked."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Settings", "understand"]

_KNOWN: Final = {"directory", "password_file", "password_credential", "keys"}
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Settings:
    """``directory`` holds NAME.pem; ``keys`` places single names elsewhere; ``password`` opens encrypted
    ones. A place is an absolute path, or the name of a credential of systemd's."""

    directory: str | None = None
    password: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)


def understand(settings: Mapping[str, object]) -> Settings:
    """Read the table; ValueError in a plain sentence for an unknown key, a wrong type, a path that is not
    absolute."""
    _only(settings, _KNOWN, "")
    directory = settings.get("directory")
    keys = settings.get("keys", {})
    if not isinstance(keys, Mapping):
        raise ValueError("keys: a table of NAME = {path = …} or {credential = …} is expected")
    password_path, password_credential = settings.get("password_file"), settings.get("password_credential")
    if password_path is not None and password_credential is not None:
        raise ValueError("password_file and password_credential: only one of them is expected")
    password = None
    if password_path is not None:
        password = _path("password_file", password_path)
    elif password_credential is not None:
        password = _credential("password_credential", password_credential)
    if directory is None and not keys:
        raise ValueError("directory or keys: at least one of them is expected")
    return Settings(
        None if directory is None else _path("directory", directory),
        password,
        {str(name): _source(str(name), entry) for name, entry in keys.items()},
    )


def _source(name: str, entry: object) -> str:
    where = f"keys.{name}"
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{where}: a name of letters, digits, dots, dashes and underscores is expected, at most 64"
        )
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
