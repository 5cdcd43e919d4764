"""Entry point of the plugin."""

from collections.abc import Mapping, Sequence

from signerd.contracts import hookimpl
from signerd.contracts.providers import PredicateType
from signerd_predicates_stella.catalogue import UriForm, predicate_types

__all__ = ["signerd_predicates"]


@hookimpl
def signerd_predicates(settings: Mapping[str, object]) -> Sequence[PredicateType]:
    """Give the catalogue.

    The one setting is ``predicate_uri``: ``"uri"`` (the default) or ``"alias"``, which puts
    ``stella.ops/<name>@v1`` on the wire. Raises ``ValueError`` for any other setting or value.
    """
    unknown = sorted(settings.keys() - {"predicate_uri"})
    if unknown:
        raise ValueError(f"predicates-stella knows predicate_uri alone, but {', '.join(unknown)} was given")
    return predicate_types(_form(settings.get("predicate_uri", "uri")))


def _form(value: object) -> UriForm:
    if value == "uri":
        return "uri"
    if value == "alias":
        return "alias"
    raise ValueError(f'predicate_uri of predicates-stella must be "uri" or "alias", not {value!r}')
