"""What plugins this daemon runs: read from metadata, nothing is imported (T2)."""

import logging

from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP, PLUGINS_GROUP, PUBLISHERS_GROUP
from signerd.errors import Refusal
from signerd.host.config_model import Config
from signerd.sealer.leaves import PluginFacts

__all__ = ["certified", "plugin_facts"]

_log = logging.getLogger(__name__)


def certified(config: Config) -> None:
    """Hold the certificates of key backends and publishers against what is installed, before any worker is started.

    Refuses ``request.malformed`` (``certificate``): the daemon does not start. Policy plugins are the front end's.
    """
    wanted = [
        *[(f"backends.{b.name}", KEY_BACKENDS_GROUP, b.scheme, b.certificate) for b in config.backends],
        *[(f"publishers.{p.name}", PUBLISHERS_GROUP, p.plugin, p.certificate) for p in config.publishers],
    ]
    wanted = [one for one in wanted if one[3] != "none"]
    if not wanted:
        return
    from signerd.host.load import LoadError, worker_entry

    for where, group, name, certificate in wanted:
        try:
            worker_entry(
                group,
                name,
                development=config.daemon.development,
                certificate=certificate,
                certifiers=config.conformance.certifiers,
            )
        except LoadError as error:
            raise Refusal(
                "request.malformed",
                "certificate",
                "a key backend or publisher is not certified",
                operator=f"{config.source or 'embedded defaults'}: {where}: {error}",
            ) from error


def plugin_facts(config: Config) -> tuple[PluginFacts, ...]:
    """Return name, version and RECORD digest of each distribution that front end and workers load, and its
    certificate's digest, sorted by name.

    The files are verified as they are for loading; takes a few milliseconds a plugin. ``digest`` is empty for an
    editable installation. What cannot be loaded is left out and logged: whoever loads it refuses to start.
    """
    # Metadata is needed here alone, and once: importing its reader earlier would hold up the workers' start.
    from signerd.host.certificate import check_certificate
    from signerd.host.distribution import LoadError, find_entry, verify

    wanted = [(PLUGINS_GROUP, plugin.name, plugin.certificate) for plugin in config.plugins]
    # A worker at a socket path has its code from elsewhere.
    own = [backend for backend in config.backends if not backend.socket]
    wanted += [(KEY_BACKENDS_GROUP, backend.scheme, backend.certificate) for backend in own]
    wanted += [(PUBLISHERS_GROUP, publisher.plugin, publisher.certificate) for publisher in config.publishers]
    found = set()
    for group, name, certificate in wanted:
        try:
            dist = verify(find_entry(group, name), development=config.daemon.development)
            held = check_certificate(name, certificate, config.conformance.certifiers, group, dist)
        except LoadError as error:
            _log.warning("the start is recorded without a plugin: %s", error)
            continue
        digest = "" if dist.editable else f"sha256:{dist.record_sha256}"
        found.add((dist.name, dist.version, digest, "" if held is None else f"sha256:{held.sha256}"))
    return tuple(PluginFacts(*facts) for facts in sorted(found))
