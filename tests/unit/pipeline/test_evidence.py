import dataclasses
from typing import get_type_hints

import pytest

from fakes.services import built, request, world
from signerd.pipeline import (
    admit,
    authenticate,
    build_statement,
    check_release,
    entitle,
    seal,
    sign,
    understand,
)
from signerd.pipeline.evidence import Admission, BuiltStatement, Cleared, Entitled, Order, Signed

STAGES = [
    authenticate.authenticate,
    understand.understand,
    entitle.entitle,
    check_release.check_release,
    admit.admit.__aenter__,
    build_statement.build_statement,
    seal.seal,
]


def test_each_stage_asks_for_what_the_one_before_it_proves() -> None:
    takes = [set(get_type_hints(stage).values()) - {get_type_hints(stage)["return"]} for stage in STAGES]
    takes[4] = set(get_type_hints(admit.admit.__init__).values())
    for index, stage in enumerate(STAGES[:-1]):
        assert get_type_hints(stage)["return"] in takes[index + 1]
    assert get_type_hints(STAGES[-1])["return"] is Signed
    assert get_type_hints(sign.sign)["return"] is Signed


def test_no_stage_answers_yes_or_no() -> None:
    assert not [stage for stage in STAGES if get_type_hints(stage)["return"] is bool]


def test_evidence_leads_back_to_what_was_asked() -> None:
    asked = request()
    evidence = built(world(), asked)
    order = evidence.admission.cleared.entitled.order
    assert order.request is asked
    assert order is asked.order


@pytest.mark.parametrize("kind", [Order, Entitled, Cleared, Admission, BuiltStatement, Signed])
def test_evidence_does_not_change(kind: type) -> None:
    made: object = object.__new__(kind)
    for field in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, None)
