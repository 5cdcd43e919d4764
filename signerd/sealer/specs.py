"""What the configuration says of keys, as the sealer's ring takes it."""

from signerd.host.config_model import Config, Key
from signerd.host.keyless_trust import read_trust
from signerd.sealer.key_spec import KeySpec
from signerd.sealer.keyless import Certificates
from signerd.sealer.keyring import DAY_MS
from signerd.verification.fido2 import Credential

__all__ = ["key_specs"]


def key_specs(config: Config) -> list[KeySpec]:
    """Return what is configured for each key, its tenant's rules with it.

    Raises ConfigError for a keyless key whose authority or CT logs cannot be read.
    """
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
            _certificates(key),
            key.presence or "",
            key.presence_s if key.presence else 0.0,
            Credential(b"", key.rp_id, key.origin, key.user_verification) if key.rp_id else None,
            frozenset(key.purposes or ()),
            key.algorithm or "",
        )
        for key in config.keys
    ]


def _certificates(key: Key) -> Certificates | None:
    if key.keyless is None:
        return None
    trust = read_trust(key.key, key.keyless)
    return Certificates(trust, key.keyless.issuers, key.keyless.identities, ephemeral_ok=key.keyless.ephemeral_ok)
