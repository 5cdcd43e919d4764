import pytest

from fakes.services import RECORD_TYPE, BareTypeFake, PredicateTypeFake
from signerd.errors import Refusal
from signerd.host.guard import Guard
from signerd.pipeline.catalogue import Catalogue
from signerd.pipeline.guarded import Guarded

ONE = PredicateTypeFake("https://example.org/one/v1", ("one", "o1"))
TWO = PredicateTypeFake("https://example.org/two/v1", ("two",))


def catalogue(*kinds: PredicateTypeFake) -> Catalogue:
    return Catalogue([Guarded(kind, Guard("predicate", "fake")) for kind in kinds])


@pytest.mark.parametrize(("name", "kind"), [(ONE.uri, ONE), ("one", ONE), ("o1", ONE), (TWO.uri, TWO), ("two", TWO)])
def test_a_type_is_found_by_its_uri_and_by_each_name(name: str, kind: PredicateTypeFake) -> None:
    assert catalogue(ONE, TWO).find(name).provider is kind


@pytest.mark.parametrize("name", ["", "One", "one ", "https://example.org/one/v2", ONE.uri + "/"])
def test_anything_else_is_not_in_it(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        catalogue(ONE, TWO).find(name)
    assert (caught.value.code, caught.value.reason) == ("predicate.unsupported", "unknown_type")


def test_the_types_stand_under_their_uri_alone() -> None:
    assert set(catalogue(ONE, TWO).types) == {ONE.uri, TWO.uri}


@pytest.mark.parametrize(
    "other",
    [
        PredicateTypeFake(ONE.uri),
        PredicateTypeFake(TWO.uri, ("one",)),
        PredicateTypeFake(TWO.uri, (ONE.uri,)),
    ],
)
def test_two_types_that_claim_one_name_are_refused_at_start(other: PredicateTypeFake) -> None:
    with pytest.raises(ValueError, match="is claimed by"):
        catalogue(ONE, other)


def test_a_type_may_name_itself_by_its_uri() -> None:
    kind = PredicateTypeFake(ONE.uri, (ONE.uri, "one"))
    assert catalogue(kind).find(ONE.uri).provider is kind


BARE = BareTypeFake("https://example.org/bare/v1", ("bare",))


def test_a_type_is_found_by_its_payload_type_too() -> None:
    known = catalogue(ONE, BARE)
    assert known.find_payload(RECORD_TYPE).provider is BARE
    assert known.find("bare").provider is BARE


@pytest.mark.parametrize(
    "name", ["", RECORD_TYPE.upper(), "application/json", BARE.uri, "bare", "application/vnd.in-toto+json"]
)
def test_any_other_payload_type_is_not_in_it(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        catalogue(ONE, BARE).find_payload(name)
    assert (caught.value.code, caught.value.reason) == ("predicate.unsupported", "unknown_payload_type")


@pytest.mark.parametrize("name", ["", "text", "text/plain; charset=utf-8", "application/vnd.in-toto+json"])
def test_a_payload_type_that_is_none_of_its_own_is_refused_at_start(name: str) -> None:
    with pytest.raises(ValueError, match="none of its own"):
        catalogue(BareTypeFake(BARE.uri, payload_type=name))


def test_two_types_of_one_payload_type_are_refused_at_start() -> None:
    with pytest.raises(ValueError, match="is claimed by"):
        catalogue(BARE, BareTypeFake(ONE.uri))
