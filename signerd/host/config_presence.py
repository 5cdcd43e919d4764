"""Keys that sign only what somebody has touched an authenticator for, and the credentials that say so."""

from collections.abc import Iterator
from typing import Final

from signerd.host.config_model import Config, Key
from signerd.host.tables import quoted

__all__ = ["presence_problems"]

_NOT_OF_A_CREDENTIAL: Final = ("fallback", "generate", "keyless", "plans", "presence")


def presence_problems(config: Config) -> Iterator[str]:
    """Yield a line ``key: expectation`` for each key that could not be approved, or would sign unapproved."""
    keys = {key.key: key for key in config.keys}
    for key in config.keys:
        where = f"keys.{quoted(key.key)}"
        if key.presence is not None:
            approver = keys.get(key.presence)
            if approver is None or not approver.rp_id or approver.tenant != key.tenant:
                yield f"{where}.presence: expected a key of tenant {key.tenant} that has rp_id, got {key.presence}"
            if key.fallback:
                yield f"{where}.fallback: expected none with presence: an approval is for the key that it names"
        elif key.fallback in keys and keys[key.fallback].presence is not None:
            yield f"{where}.fallback: expected a key without presence, got {key.fallback}"
        if key.rp_id:
            yield from _credential(config, key, where)
        elif key.origin or key.user_verification:
            yield f"{where}.rp_id: missing; expected the relying party that the credential was enrolled for"


def _credential(config: Config, credential: Key, where: str) -> Iterator[str]:
    """A credential approves and does not sign: nothing may choose it as a key that does."""
    for name in _NOT_OF_A_CREDENTIAL:
        if getattr(credential, name) is not None:
            yield f"{where}.{name}: expected none with rp_id: the key approves, and signs nothing by itself"
    for key in config.keys:
        if key.fallback == credential.key:
            yield f"keys.{quoted(key.key)}.fallback: expected a key without rp_id, got {credential.key}"
    for tenant in config.tenants:
        if credential.key == tenant.default_key or credential.key in tenant.default_keys.values():
            yield f"tenants.{quoted(tenant.name)}: expected default keys without rp_id, got {credential.key}"
