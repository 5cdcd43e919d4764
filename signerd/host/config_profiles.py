"""What the configuration says of compliance profiles, and of algorithms outside them."""

from collections.abc import Iterator

from signerd.attestation.algorithms import COMPLIANCE_PROFILES, allows, parts_of
from signerd.host.config_model import Config
from signerd.host.tables import quoted

__all__ = ["profile_problems"]


def profile_problems(config: Config) -> Iterator[str]:
    """Yield a line ``key: expectation`` for each profile that is none, and each key that would be made outside its
    tenant's."""
    profiles = {}
    for tenant in config.tenants:
        try:
            parts_of(tenant.profile)
            profiles[tenant.name] = tenant.profile
        except ValueError as error:
            yield f"tenants.{quoted(tenant.name)}.profile: {error}, got {quoted(tenant.profile)}"
    for key in config.keys:
        profile = profiles.get(key.tenant)
        if key.purposes is not None or key.generate is None or profile is None or allows(profile, key.generate):
            continue
        allowed = sorted(set().union(*[COMPLIANCE_PROFILES[part].algorithms for part in parts_of(profile)]))
        yield (
            f"keys.{quoted(key.key)}.generate: expected an algorithm of the profile {profile} of tenant {key.tenant} "
            f"({', '.join(allowed)}), got {key.generate}"
        )
