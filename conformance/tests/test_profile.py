import json

import pytest

from signerd_conformance.evidence import Evidence
from signerd_conformance.profile import PROFILE_RULES, fail, ok, skip


@pytest.mark.parametrize("rule", PROFILE_RULES, ids=lambda rule: rule.name)
def test_a_choice_of_signerd_is_a_rule_only_where_it_is_asked_for(rule: object) -> None:
    text = json.dumps({"mediaType": "older", "dsseEnvelope": {"payload": "eyAgfQ=="}}, indent=1).encode()
    assert rule.judge(Evidence.read(text, strict=True))[0] == "FAIL"  # type: ignore[attr-defined]  # a Rule
    assert rule.judge(Evidence.read(text))[0] == "skip"  # type: ignore[attr-defined]  # a Rule


def test_the_three_judgements() -> None:
    assert [ok("a"), fail("b"), skip("c")] == [("ok", "a"), ("FAIL", "b"), ("skip", "c")]
