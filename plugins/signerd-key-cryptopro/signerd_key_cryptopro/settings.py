"""The plugin's table of the configuration: what the vendor's module is by default, and the containers of its tool."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from signerd_key_pkcs11.settings import ModuleFile, SignatureOrder
from signerd_key_pkcs11.settings import understand as understand_module

__all__ = ["MODULE", "PROGRAM", "Container", "Settings", "ToolSettings", "understand"]

MODULE: Final = "/opt/cprocsp/lib/amd64/libcppkcs11.so"
"""Where the package lsb-cprocsp-pkcs11-64 puts the module."""
PROGRAM: Final = "/opt/cprocsp/bin/amd64/csptest"
"""Where the package lsb-cprocsp-capilite-64 puts the tool."""
DEFAULT_TIMEOUT_S: Final = 8.0
"""Below the 10 s of a call to hardware: the worker answers, and is not killed for being late."""
MOST_TIMEOUT_S: Final = 60.0
MOST_NAME: Final = 260
"""MAX_PATH: no container has a longer name."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TOOL: Final = {"containers", "path", "sha256", "signature", "timeout_s"}
_CONTAINER: Final = {"key", "name", "public_key"}
_PIN: Final = {"password", "pin", "pin_credential", "pin_file"}
_KEYS: Final = ("exchange", "signature")


@dataclass(frozen=True, slots=True)
class Container:
    """``name`` as the CSP has it (``\\\\.\\HDIMAGE\\release``); ``key`` is which of its two keys; ``public_key`` is a
    file: a public key in PEM or a certificate."""

    name: str
    public_key: str
    key: str = "exchange"


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """The tool, the time that one call of it may take, and the containers by the names that references use."""

    program: ModuleFile
    containers: Mapping[str, Container]
    signature: SignatureOrder = SignatureOrder.REVERSED
    timeout_s: float = DEFAULT_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Settings:
    """``module`` is the table that signerd-key-pkcs11 understands. ``refused`` says why nothing may sign with this."""

    module: Mapping[str, object]
    state: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    tool: ToolSettings | None = None
    refused: str | None = None


def understand(settings: Mapping[str, object]) -> Settings:
    """Read the table; ValueError in a plain sentence for what is not understood.

    A container with a PIN is understood and ``refused``: the tool takes a PIN as an argument alone, where every user
    of the host can read it (proc(5), cmdline), so the whole backend stays shut until that is mended.
    """
    module = {name: value for name, value in settings.items() if name != "tool"}
    module.setdefault("modules", {"cryptopro": MODULE})
    habits = module.get("gost", {})
    if isinstance(habits, Mapping):
        module["gost"] = {"signature": SignatureOrder.REVERSED.value, "digest_parameter": True, **habits}
    understood = understand_module(module)
    if "tool" not in settings:
        return Settings(module, understood.state, understood.environment)
    if understood.state is None:
        raise ValueError("state: an absolute path is expected, under which the tool has its files")
    table = _table("tool", settings["tool"])
    containers = _table("tool.containers", table.get("containers"))
    with_pin = sorted(name for name, entry in containers.items() if isinstance(entry, Mapping) and _PIN & set(entry))
    if with_pin:
        refused = f"tool.containers.{with_pin[0]}: the tool takes a PIN as an argument alone, for every user to read"
        return Settings(module, understood.state, understood.environment, None, refused)
    return Settings(module, understood.state, understood.environment, _tool(table, containers))


def _tool(table: Mapping[str, object], containers: Mapping[str, object]) -> ToolSettings:
    _only(table, _TOOL, "tool.")
    digest = table.get("sha256")
    if digest is not None and (not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None):
        raise ValueError("tool.sha256: 64 lowercase hex digits are expected")
    order = table.get("signature", SignatureOrder.REVERSED)
    if order not in list(SignatureOrder):
        raise ValueError(f"tool.signature: one of {', '.join(SignatureOrder)} is expected")
    seconds = table.get("timeout_s", DEFAULT_TIMEOUT_S)
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= MOST_TIMEOUT_S:
        raise ValueError(f"tool.timeout_s: a number of seconds up to {MOST_TIMEOUT_S:.0f} is expected")
    if not containers:
        raise ValueError("tool.containers: at least one NAME = {name = …, public_key = …} is expected")
    return ToolSettings(
        ModuleFile(_path("tool.path", table.get("path", PROGRAM)), digest),
        {name: _container(name, entry) for name, entry in containers.items()},
        SignatureOrder(str(order)),
        float(seconds),
    )


def _container(name: str, entry: object) -> Container:
    where = f"tool.containers.{name}"
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{where}: a name of letters, digits, dots, dashes and underscores is expected, at most 64")
    table = _table(where, entry)
    _only(table, _CONTAINER, f"{where}.")
    inside = table.get("name")
    # A name that begins with a dash would be an option of the tool.
    if not isinstance(inside, str) or not inside.isprintable() or not 1 <= len(inside) <= MOST_NAME or inside[0] == "-":
        raise ValueError(f"{where}.name: the container's name as the CSP has it is expected")
    key = table.get("key", _KEYS[0])
    if key not in _KEYS:
        raise ValueError(f"{where}.key: one of {', '.join(_KEYS)} is expected")
    return Container(inside, _path(f"{where}.public_key", table.get("public_key")), str(key))


def _table(where: str, value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: a table is expected")
    return {str(key): entry for key, entry in value.items()}


def _only(table: Mapping[str, object], known: set[str], prefix: str) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"{prefix}{key}: unknown key; expected are {', '.join(sorted(known))}")


def _path(where: str, value: object) -> str:
    if not isinstance(value, str) or not os.path.isabs(value) or "\0" in value:
        raise ValueError(f"{where}: an absolute path is expected")
    return value
