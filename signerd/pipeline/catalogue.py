"""The predicate types that this daemon knows, by URI and by short name, and by the payload type of bare documents."""

from collections.abc import Iterable, Mapping

from signerd.attestation.dsse import is_media_type
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.contracts.providers import PayloadType, PredicateType
from signerd.errors import Refusal
from signerd.pipeline.guarded import Guarded

__all__ = ["Catalogue"]


class Catalogue:
    """Every type once, under its URI and each of its names, and its payload type where it has one.

    ValueError where two types claim one name or payload type, or a payload type is no media type or a Statement's.
    """

    def __init__(self, types: Iterable[Guarded[PredicateType]]) -> None:
        by_name: dict[str, Guarded[PredicateType]] = {}
        self.types: dict[str, Guarded[PredicateType]] = {}
        self._by_payload: dict[str, Guarded[PredicateType]] = {}
        for guarded in types:
            kind = guarded.provider
            self.types[kind.uri] = guarded
            for name in {kind.uri, *kind.names}:
                if name in by_name:
                    first = by_name[name].provider.uri
                    raise ValueError(f"predicate type name {name!r} is claimed by {first!r} and {kind.uri!r}")
                by_name[name] = guarded
            if isinstance(kind, PayloadType):
                self._add_payload(guarded, kind.payload_type)
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

    def find_payload(self, payload_type: str) -> Guarded[PredicateType]:
        """Return the type whose documents are signed bare under that payload type; ``predicate.unsupported``
        otherwise."""
        found = self._by_payload.get(payload_type)
        if found is None:
            raise Refusal(
                "predicate.unsupported",
                "unknown_payload_type",
                "this payload type is not in the signer's catalogue",
            )
        return found

    def _add_payload(self, guarded: Guarded[PredicateType], payload_type: str) -> None:
        if not is_media_type(payload_type) or payload_type == PAYLOAD_TYPE:
            raise ValueError(f"{guarded.provider.uri!r} has a payload type that is none of its own: {payload_type!r}")
        if payload_type in self._by_payload:
            first = self._by_payload[payload_type].provider.uri
            raise ValueError(f"payload type {payload_type!r} is claimed by {first!r} and {guarded.provider.uri!r}")
        self._by_payload[payload_type] = guarded
