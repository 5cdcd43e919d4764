from signerd.contracts import hookspecs
from signerd.host.arity import ARITY, breaches


def test_every_hook_has_its_arity_and_no_other() -> None:
    hooks = {name for name in vars(hookspecs) if name.startswith("signerd_")}
    assert set(ARITY) == hooks
    assert len(hooks) == 8


def test_allowed_numbers_say_nothing() -> None:
    assert breaches({"signerd_authenticators": 3, "signerd_entitlements": 1, "signerd_quota_stores": 0}) == []


def test_each_breach_is_one_plain_sentence() -> None:
    none, two = breaches({"signerd_release_checks": 0, "signerd_predicates": 2, "signerd_entitlements": 2})
    assert none.startswith("at least one release check is needed")
    assert none.endswith("bring none")
    assert two.startswith("exactly one source of entitlements is needed")
    assert two.endswith("bring 2")
