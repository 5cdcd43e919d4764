import pytest

from signerd.contracts.providers import PredicateType
from signerd_predicates_intoto.plugin import signerd_predicates


def test_it_gives_predicate_types_one_for_each_uri():
    types = signerd_predicates({})
    assert all(isinstance(one, PredicateType) for one in types)
    uris = [one.uri for one in types]
    assert len(uris) == len(set(uris))
    names = [name for one in types for name in one.names]
    assert len(names) == len(set(names))
    assert not set(names) & set(uris)


def test_a_setting_is_refused():
    with pytest.raises(ValueError, match="no settings, but network was given"):
        signerd_predicates({"network": True})
