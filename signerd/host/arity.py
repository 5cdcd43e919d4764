"""How many providers each hook may bring: the table, and one plain sentence for each breach of it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

__all__ = ["ARITY", "Arity", "breaches"]


class Arity(NamedTuple):
    """At least ``least`` and at most ``most`` (None: any number) ``what``, in words for the operator."""

    least: int
    most: int | None
    what: str


ARITY: Final[Mapping[str, Arity]] = MappingProxyType(
    {
        "signerd_authenticators": Arity(1, None, "at least one authenticator"),
        "signerd_entitlements": Arity(1, 1, "exactly one source of entitlements"),
        "signerd_release_checks": Arity(1, None, "at least one release check"),
        "signerd_predicates": Arity(1, None, "at least one predicate type"),
        "signerd_quota_stores": Arity(0, 1, "at most one quota store"),
        "signerd_key_backends": Arity(1, 1, "exactly one key backend for a scheme"),
        "signerd_audit_sinks": Arity(0, None, "any number of audit sinks"),
        "signerd_transparency_logs": Arity(0, None, "any number of transparency logs"),
    }
)
"""The eight hooks. A second source of entitlements would make it a matter of order who has paid."""


def breaches(counts: Mapping[str, int]) -> list[str]:
    """Return a sentence for each hook of ``counts`` whose number of providers its arity does not allow."""
    found = []
    for hook, count in counts.items():
        least, most, what = ARITY[hook]
        if count < least or (most is not None and count > most):
            found.append(
                f"{what} is needed ({hook}); the plugins of the configuration bring {count or 'none'}"
            )
    return found
