"""The plugin's table of the configuration, understood and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from signerd.contracts.settings import absolute_path, key_name, one_secret_place, only_known, secret_place, table_of

__all__ = ["Settings", "understand"]

_KNOWN: Final = {"directory", "password_file", "password_credential", "keys"}


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
    only_known(settings, _KNOWN)
    directory = settings.get("directory")
    keys = table_of("keys", settings.get("keys", {}), "NAME = {path = …} or {credential = …}")
    password = secret_place(settings, "password_file", "password_credential")
    if directory is None and not keys:
        raise ValueError("directory or keys: at least one of them is expected")
    return Settings(
        None if directory is None else absolute_path("directory", directory),
        password,
        {name: _place(name, entry) for name, entry in keys.items()},
    )


def _place(name: str, entry: object) -> str:
    where = f"keys.{name}"
    key_name(where, name)
    return one_secret_place(where, entry, "path", "credential")
