"""The predicate types that this daemon knows, by URI and by short name."""

from collections.abc import Iterable, Mapping

from signerd.contracts.providers import PredicateType
from signerd.errors import Refusal
from signerd.pipeline.guarded import Guarded

__all__ = ["Catalogue"]


class Catalogue:
    """Every type once, under its URI and each of its names; ValueError where two types claim one name."""

    def __init__(self, types: Iterable[Guarded[PredicateType]]) -> None:
        by_name: dict[str, Guarded[PredicateType]] = {}
        self.types: dict[str, Guarded[PredicateType]] = {}
        for guarded in types:
            kind = guarded.provider
            self.types[kind.uri] = guarded
            for name in {kind.uri, *kind.names}:
                if name in by_name:
                    first = by_name[name].provider.uri
                    raise ValueError(f"predicate type name {name!r} is claimed by {first!r} and {kind.uri!r}")
                by_name[name] = guarded
        self._by_name: Mapping[str, Guarded[PredicateType]] = by_name

    def find(self, name: str) -> Guarded[PredicateType]:
        """Return the type of that URI, short name or alias; ``predicate.unsupported`` otherwise."""
        found = self._by_name.get(name)
        if found is None:
            raise Refusal(
                "predicate.unsupported",
                "unknown_type",
                "this predicate type is not in the signer's catalogue",
            )
        return found
