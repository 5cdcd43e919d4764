"""Entry point of the plugin."""

from collections.abc import Mapping, Sequence

from signerd.contracts import hookimpl
from signerd.contracts.providers import PredicateType
from signerd_predicates_intoto.catalogue import predicate_types

__all__ = ["signerd_predicates"]


@hookimpl
def signerd_predicates(settings: Mapping[str, object]) -> Sequence[PredicateType]:
    """Give the catalogue; the plugin has no settings, and any is refused with ``ValueError``."""
    if settings:
        raise ValueError(f"predicates-intoto has no settings, but {', '.join(sorted(settings))} was given")
    return predicate_types()
