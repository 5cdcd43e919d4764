"""What the configuration says of a tenant, in the pipeline's terms."""

from dataclasses import dataclass, field

__all__ = ["Tenant"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """What a tenant may have signed, and with what.

    ``predicates`` None allows the whole catalogue; ``exempt`` lists types (URIs) whose release check is
    waived, which every record under it says.
    """

    name: str
    default_key: str
    profile: str = "world"
    predicates: frozenset[str] | None = None
    exempt: frozenset[str] = field(default_factory=frozenset)
    require_attested: bool = False
