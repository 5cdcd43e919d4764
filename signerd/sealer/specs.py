"""What the configuration says of keys, as the sealer's ring takes it."""

from signerd.host.config_model import Config
from signerd.sealer.keyring import DAY_MS, KeySpec

__all__ = ["key_specs"]


def key_specs(config: Config) -> list[KeySpec]:
    """Return what is configured for each key, its tenant's rules with it."""
    tenants = {tenant.name: tenant for tenant in config.tenants}
    return [
        KeySpec(
            key.key,
            key.tenant,
            key.backend,
            key.key.partition(":")[0],
            key.generate or "",
            None if key.plans is None else frozenset(key.plans),
            tenants[key.tenant].require_hardware,
            key.max_age_days * DAY_MS,
            key.warn_days * DAY_MS,
            tenants[key.tenant].profile,
        )
        for key in config.keys
    ]
