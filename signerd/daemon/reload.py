"""SIGHUP: what a changed configuration file changes in the running daemon.

Plugins with their settings, tenants, and what bundles are verified against take effect at once; the rest (state,
sockets, limits, certifiers, backends, publishers, keys) belongs to processes and sockets that exist already, and waits
for the next start. So does the quota store: slots go back to the one that they were taken from, and a new one would
know nothing of the day. A file that cannot be used changes nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from signerd.daemon.compose import plugin_entries
from signerd.host.config import load, settle_socket
from signerd.host.config_model import Config
from signerd.host.load import Loaded, load_policy_plugins

__all__ = ["read_again", "store_of", "waiting"]

_AT_START: Final = ("daemon", "sockets", "limits", "conformance", "backends", "publishers", "keys", "approvals")


def read_again(config: Config) -> tuple[Config, Loaded]:
    """Read the file that ``config`` came from, and have its plugins introduce themselves with their new settings.

    Raises ConfigError or LoadError for what ``signerd check`` would refuse.
    """
    path = Path(config.sockets.sign.path)
    read = settle_socket(load(Path(config.source), state=Path(config.daemon.state), socket=path), {})
    # As every section but two, who certifies is what it was at the start: the sealer knows of no other.
    entries = plugin_entries(msgspec.structs.replace(read, conformance=config.conformance))
    return read, load_policy_plugins(entries, development=config.daemon.development)


def waiting(before: Config, after: Config) -> list[str]:
    """Return the sections that have changed and wait for the next start."""
    return [name for name in _AT_START if getattr(before, name) != getattr(after, name)]


def store_of(config: Config, loaded: Loaded) -> tuple[str, Mapping[str, object]] | None:
    """Return which plugin brings the quota store, with its settings; None where it is the one in this process."""
    store = loaded.quota_store
    return None if store is None else (store.name, plugin_entries(config)[store.name].settings)
