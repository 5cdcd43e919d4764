"""The plugin's table of the configuration, understood and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from signerd.contracts.settings import absolute_path, key_name, one_secret_place, only_known, secret_place, table_of
from signerd_key_gost.private_key import PARAMETERS

__all__ = ["Settings", "understand"]

_KNOWN: Final = {"directory", "keys", "parameters_256", "parameters_512", "password_credential", "password_file"}


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
    only_known(settings, _KNOWN)
    directory = settings.get("directory")
    keys = table_of("keys", settings.get("keys", {}), "NAME = {path = …} or {credential = …}")
    if directory is None and not keys:
        raise ValueError("directory or keys: at least one of them is expected")
    password = secret_place(settings, "password_file", "password_credential")
    return Settings(
        None if directory is None else absolute_path("directory", directory),
        password,
        {name: _place(name, entry) for name, entry in keys.items()},
        {algorithm: _parameters(algorithm, settings) for algorithm in PARAMETERS},
    )


def _place(name: str, entry: object) -> str:
    where = f"keys.{name}"
    key_name(where, name)
    return one_secret_place(where, entry, "path", "credential")


def _parameters(algorithm: str, settings: Mapping[str, object]) -> str:
    key, known = f"parameters_{algorithm[-3:]}", PARAMETERS[algorithm]
    chosen = settings.get(key, next(iter(known)))
    if not isinstance(chosen, str) or chosen not in known:
        raise ValueError(f"{key}: one of {', '.join(known)} is expected")
    return chosen
