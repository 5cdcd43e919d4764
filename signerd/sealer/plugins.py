"""What plugins this daemon runs, for the ``start`` leaf: read from metadata, nothing is imported (T2)."""

import logging

from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP, PLUGINS_GROUP
from signerd.host.config_model import Config
from signerd.sealer.leaves import PluginFacts

__all__ = ["plugin_facts"]

_log = logging.getLogger(__name__)


def plugin_facts(config: Config) -> tuple[PluginFacts, ...]:
    """Return name, version and RECORD digest of each distribution that front end and workers load, sorted by name.

    The files are verified as they are for loading; takes a few milliseconds a plugin. ``digest`` is empty for an
    editable installation. What cannot be loaded is left out and logged: whoever loads it refuses to start.
    """
    # Metadata is needed here alone, and once: importing its reader earlier would hold up the workers' start.
    from signerd.host.distribution import LoadError, find_entry, verify

    wanted = [(PLUGINS_GROUP, plugin.name) for plugin in config.plugins]
    wanted += [(KEY_BACKENDS_GROUP, backend.scheme) for backend in config.backends]
    found = {}
    for group, name in wanted:
        try:
            dist = verify(find_entry(group, name), development=config.daemon.development)
        except LoadError as error:
            _log.warning("the start is recorded without a plugin: %s", error)
            continue
        digest = "" if dist.editable else f"sha256:{dist.record_sha256}"
        found[dist.name] = PluginFacts(dist.name, dist.version, digest)
    return tuple(found[name] for name in sorted(found))
