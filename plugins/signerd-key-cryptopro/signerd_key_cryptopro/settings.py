"""The plugin's table of the configuration: what the vendor's module is by default, and the containers of its tool."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from signerd.contracts.settings import absolute_path, key_name, only_known, pin_of_file, seconds, table_of
from signerd_key_pkcs11.settings import ModuleFile, SignatureOrder
from signerd_key_pkcs11.settings import understand as understand_module

__all__ = ["MODULE", "PROGRAM", "Container", "Settings", "ToolSettings", "understand"]

MODULE: Final = "/opt/cprocsp/lib/amd64/libcppkcs11.so"
"""Where the package lsb-cprocsp-pkcs11-64 puts the module."""
PROGRAM: Final = "/opt/cprocsp/bin/amd64/csptest"
"""Where the package lsb-cprocsp-capilite-64 puts the tool."""
DEFAULT_TIMEOUT_S: Final = 8.0
"""Below the 10 s of a call to hardware: the worker answers, and is not killed for being late."""
LEAST_TIMEOUT_S: Final = 0.1
MOST_TIMEOUT_S: Final = 60.0
MOST_NAME: Final = 260
"""MAX_PATH: no container has a longer name."""
_TOOL: Final = {"containers", "path", "sha256", "signature", "timeout_s"}
_CONTAINERS: Final = "NAME = {name = …, public_key = …}"
_SHAPE: Final = "path, sha256, signature, timeout_s and containers"
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
    table = table_of("tool", settings["tool"], _SHAPE)
    containers = table_of("tool.containers", table.get("containers"), _CONTAINERS)
    with_pin = sorted(name for name, entry in containers.items() if isinstance(entry, Mapping) and _PIN & set(entry))
    if with_pin:
        refused = f"tool.containers.{with_pin[0]}: the tool takes a PIN as an argument alone, for every user to read"
        return Settings(module, understood.state, understood.environment, None, refused)
    return Settings(module, understood.state, understood.environment, _tool(table, containers))


def _tool(table: Mapping[str, object], containers: Mapping[str, object]) -> ToolSettings:
    only_known(table, _TOOL, "tool.")
    digest = pin_of_file("tool.sha256", table.get("sha256"))
    order = table.get("signature", SignatureOrder.REVERSED)
    if order not in list(SignatureOrder):
        raise ValueError(f"tool.signature: one of {', '.join(SignatureOrder)} is expected")
    if not containers:
        raise ValueError(f"tool.containers: at least one {_CONTAINERS} is expected")
    return ToolSettings(
        ModuleFile(absolute_path("tool.path", table.get("path", PROGRAM)), digest),
        {name: _container(name, entry) for name, entry in containers.items()},
        SignatureOrder(str(order)),
        seconds("tool.timeout_s", table.get("timeout_s", DEFAULT_TIMEOUT_S), LEAST_TIMEOUT_S, MOST_TIMEOUT_S),
    )


def _container(name: str, entry: object) -> Container:
    where = f"tool.containers.{name}"
    key_name(where, name)
    table = table_of(where, entry, "name, public_key and key")
    only_known(table, _CONTAINER, f"{where}.")
    inside = table.get("name")
    # A name that begins with a dash would be an option of the tool.
    if not isinstance(inside, str) or not inside.isprintable() or not 1 <= len(inside) <= MOST_NAME or inside[0] == "-":
        raise ValueError(f"{where}.name: the container's name as the CSP has it is expected")
    key = table.get("key", _KEYS[0])
    if key not in _KEYS:
        raise ValueError(f"{where}.key: one of {', '.join(_KEYS)} is expected")
    return Container(inside, absolute_path(f"{where}.public_key", table.get("public_key")), str(key))
