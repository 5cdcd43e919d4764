"""What the configuration says of a tenant, in the pipeline's terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["KeyRule", "KeylessRule", "Tenant"]


@dataclass(frozen=True, slots=True)
class KeylessRule:
    """Which tokens a request may bring for a keyless key: of these issuers, for this audience alone. ``ephemeral_ok``:
    it signs without any proof of the time too. ``sct``: its certificates are in a CT log."""

    issuers: frozenset[str]
    audience: str
    ephemeral_ok: bool
    sct: bool


@dataclass(frozen=True, slots=True)
class KeyRule:
    """What is configured for one key: the plans that it signs for (None: every plan), the reference that signs while
    its backend cannot be reached, and how long before its end results say so (milliseconds). ``keyless`` is there for
    a keyless key, ``purposes`` for one that makes MACs. ``presence`` is the credential whose holder must approve each
    signature; one that ``approves`` is such a credential itself, and does not sign.
    """

    plans: frozenset[str] | None = None
    fallback: str | None = None
    warn_ms: int = 0
    keyless: KeylessRule | None = None
    presence: str | None = None
    approves: bool = False
    purposes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Tenant:
    """What a tenant may have signed, and with what.

    ``predicates`` None allows the whole catalogue; ``exempt`` lists types (URIs) whose release check is
    waived, which every record under it says. ``default_keys`` go before ``default_key``, by plan. ``rules`` are those
    of its keys, in the order of its configuration. ``transparency`` (none, async, required) and ``timestamp`` stand
    where a request does not say. ``backends`` are the names of those that have its keys.
    """

    name: str
    default_key: str
    profile: str = "world"
    predicates: frozenset[str] | None = None
    exempt: frozenset[str] = field(default_factory=frozenset)
    require_attested: bool = False
    require_hardware: bool = False
    default_keys: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, KeyRule] = field(default_factory=dict)
    transparency: str = "none"
    timestamp: bool = False
    backends: frozenset[str] = field(default_factory=frozenset)

    @property
    def has_keyless(self) -> bool:
        """Whether one of its keys is keyless."""
        return any([rule.keyless is not None for rule in self.rules.values()])
