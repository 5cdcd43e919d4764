"""How each configured backend gets its worker."""

import os
from collections.abc import Callable

import msgspec

from signerd.host.config_model import Backend, Config
from signerd.host.credential import read_credential
from signerd.host.spawn import Spawned, identity_environment, spawn
from signerd.host.worker_socket import Connected, connect
from signerd.sealer.backends import BackendSpec

__all__ = ["backend_spec"]

PIN_CONFIRMED = "SIGNERD_PIN_CONFIRMED"
"""In the environment of a worker, once: an admin has confirmed its PIN. No configuration can say so for good."""


def backend_spec(config: Config, configured: Backend, pin_confirmed: set[str]) -> BackendSpec:
    """Return what the sealer must know of a backend; a name in ``pin_confirmed`` is used up by its next start."""
    limits = config.limits
    backoff_s = (limits.worker_backoff_first_s, limits.worker_backoff_longest_s)
    start = _reaching(configured) if configured.socket else _starting(config, configured, pin_confirmed)
    return BackendSpec(configured.name, configured.scheme, configured.deadline_s(limits), start, backoff_s)


def _reaching(configured: Backend) -> Callable[[], Connected]:
    """Return what connects to a worker that is a service of its own."""
    worker_uid = os.geteuid() if configured.worker_uid is None else configured.worker_uid

    def reach() -> Connected:
        # Read anew each time: a credential may be changed while this runs.
        return connect(configured.socket, read_credential(configured.credential), worker_uid)

    return reach


def _starting(config: Config, configured: Backend, pin_confirmed: set[str]) -> Callable[[], Spawned]:
    """Return what starts a worker as a child."""
    settings = {
        "scheme": configured.scheme,
        "name": configured.name,
        "settings": configured.settings,
        "development": config.daemon.development,
        "version": configured.version,
        "record": configured.record,
        "certificate": configured.certificate,
        "certifiers": config.conformance.certifiers,
    }
    keyless = configured.name in [key.backend for key in config.keys if key.keyless]

    def start() -> Spawned:
        confirmed = {PIN_CONFIRMED: "1"} if configured.name in pin_confirmed else {}
        pin_confirmed.discard(configured.name)
        environment = identity_environment() | confirmed if keyless else confirmed
        return spawn("signerd.worker.key", settings=msgspec.json.encode(settings), environment=environment)

    return start
