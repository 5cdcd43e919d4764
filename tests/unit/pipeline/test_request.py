from fakes.services import DIGEST, PRINCIPAL, admitted, cleared, request, world


def test_a_request_knows_nothing_but_what_came_in() -> None:
    one, other = request(), request()
    assert (one.principal, one.order, one.predicate_sha256, one.settled) == (None, None, "", False)
    one.owned.append(1)
    assert other.owned == []


def test_the_stages_tell_it_what_they_learn() -> None:
    asked = request()
    cleared(world(), asked)
    assert asked.principal is PRINCIPAL
    assert asked.order is not None
    assert asked.order.subjects[0].digest == {"sha256": DIGEST}
    admitted(world(), asked)
    assert not asked.settled
