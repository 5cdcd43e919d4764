"""What the configuration must agree on where keys make MACs: they sign nothing, and nothing else makes MACs."""

from collections.abc import Iterator, Mapping

from signerd.attestation.algorithms import parts_of
from signerd.attestation.macs import mac_for
from signerd.host.config_model import Config, Key, Tenant
from signerd.host.tables import quoted

__all__ = ["mac_problems", "signing_problems", "signs_nothing"]


def mac_problems(key: Key, tenant: Tenant | None, where: str) -> Iterator[str]:
    """Yield what is wrong with one key: ``purposes`` and ``algorithm`` go together, and the profile allows them."""
    if key.purposes is None:
        if key.algorithm is not None:
            yield f"{where}.algorithm: expected with purposes only"
        if key.generate is not None and key.generate.startswith("HMAC-"):
            yield f"{where}.generate: expected the algorithm of a key that signs, without purposes"
        return
    if len(set(key.purposes)) != len(key.purposes):
        yield f"{where}.purposes: expected each purpose once"
    if key.algorithm is None:
        yield f"{where}.algorithm: missing; expected the algorithm of the MACs"
    elif tenant is not None and _is_profile(tenant.profile):
        for purpose in key.purposes:
            allowed = mac_for(tenant.profile, purpose)
            if key.algorithm not in allowed:
                expected = ", ".join(allowed)
                yield f"{where}.algorithm: expected one of {expected} for {purpose} in profile {tenant.profile}"
    if key.generate is not None and key.generate != key.algorithm:
        yield f"{where}.generate: expected the key's algorithm"
    if key.keyless is not None or key.fallback is not None:
        # Another key makes another MAC: whoever compares it later would find it false.
        yield f"{where}: expected neither keyless nor fallback with purposes"


def _is_profile(profile: str) -> bool:
    """Whether it is one: that it is none is told elsewhere."""
    try:
        parts_of(profile)
    except ValueError:
        return False
    return True


def signs_nothing(tenant: Tenant, keys: Mapping[str, Key]) -> bool:
    """Whether no key of the tenant signs, so that none can be its default."""
    # What approves by an authenticator signs no more by itself than what makes MACs.
    return all(name in keys and bool(keys[name].purposes or keys[name].rp_id) for name in tenant.keys)


def signing_problems(config: Config) -> Iterator[str]:
    """Yield where a key that makes MACs is named in the place of one that signs."""
    secret = {key.key for key in config.keys if key.purposes is not None}
    for tenant in config.tenants:
        where = f"tenants.{quoted(tenant.name)}"
        if tenant.default_key in secret:
            yield f"{where}.default_key: expected a key that signs, {tenant.default_key} makes MACs"
        for plan, reference in tenant.default_keys.items():
            if reference in secret:
                yield f"{where}.default_keys.{quoted(plan)}: expected a key that signs, {reference} makes MACs"
    for key in config.keys:
        if key.fallback in secret:
            yield f"keys.{quoted(key.key)}.fallback: expected a key that signs, {key.fallback} makes MACs"
