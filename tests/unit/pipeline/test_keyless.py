import dataclasses
import time
from typing import Any

import msgspec
import pytest

from fakes.fulcio import ISSUER, jwt
from fakes.services import NOON, PRINCIPAL, HeldKey, World, cleared, order, request, world
from signerd.errors import Refusal
from signerd.pipeline.evidence import Order
from signerd.pipeline.keyless import default_keyless, identity_for, rule_of
from signerd.pipeline.tenants import KeylessRule, KeyRule, Tenant
from signerd.wire.methods import Options
from signerd.wire.ring import RingEntry

RULE = KeylessRule(frozenset({ISSUER}), "sigstore", ephemeral_ok=True, sct=True)
STRICT = dataclasses.replace(RULE, ephemeral_ok=False)
FILE = HeldKey.make("file:acme").entry
NOW_S = NOON // 1000


def keyless(name: str = "fulcio:ci") -> RingEntry:
    return RingEntry(name, "acme", 0, "", "ES256", b"", "fulcio", "active", 0)


def tenant(**rules: KeylessRule | None) -> Tenant:
    return Tenant("acme", "file:acme", rules={f"fulcio:{name}": KeyRule(keyless=rule) for name, rule in rules.items()})


def asked(given: World, options: Options | None = None) -> Order:
    changes: dict[str, Any] = {} if options is None else {"options": options}
    bound = msgspec.structs.replace(PRINCIPAL, scopes=frozenset({"signer.sign", "signer.keyless"}))
    return cleared(given, request(order(**changes), bound=bound)).entitled.order


def told(*keys: RingEntry, options: Options | None = None, rule: KeylessRule = RULE, **how: Any) -> Any:
    given = world(tenants=(tenant(ci=rule),))
    return identity_for(asked(given, options), keys, given.services, **how)


def refused(*keys: RingEntry, **given: Any) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        told(*keys, **given)
    return caught.value.code, caught.value.reason


def token(**claims: object) -> str:
    return jwt(exp=NOW_S + 60, **claims)


def test_a_token_comes_with_what_it_says_and_is_not_shown() -> None:
    identity = told(keyless(), options=Options(identity_token=token(sub="b", email="a")))
    assert (identity.issuer, identity.names) == (ISSUER, ("a", "b"))
    assert identity.token not in repr(identity)


def test_without_a_token_the_key_has_its_own() -> None:
    assert told(keyless()) is None
    assert told(keyless(), options=Options(mode="keyless")) is None
    assert told(FILE, options=Options(mode="keyful")) is None


def test_the_mode_holds_for_every_key() -> None:
    assert refused(keyless(), FILE, options=Options(mode="keyless")) == ("key.forbidden", "not_keyless")
    assert refused(FILE, keyless(), options=Options(mode="keyful")) == ("key.forbidden", "not_keyful")


def test_nothing_is_signed_whose_time_nothing_proves_unless_the_key_says_so() -> None:
    assert refused(keyless(), rule=STRICT) == ("key.forbidden", "ephemeral")
    assert told(FILE, rule=STRICT) is None


def test_a_token_that_no_key_has_a_use_for_goes_nowhere() -> None:
    options = Options(identity_token=token())
    assert refused(FILE, options=options) == ("request.unsupported", "token_unused")
    assert told(FILE, options=options, token_needed=False) is None


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://stranger"}, "token_issuer"),
        ({"aud": "other"}, "token_audience"),
        ({"nbf": NOW_S + 60}, "token_not_yet_valid"),
        ({"sub": None}, "token_identity"),
    ],
)
def test_a_token_that_is_not_taken_is_refused_before_anything_is_decided(claims: dict[str, Any], reason: str) -> None:
    assert refused(keyless(), options=Options(identity_token=token(**claims))) == ("key.forbidden", reason)


def test_the_daemons_clock_counts() -> None:
    assert time.time() > NOW_S + 60  # by the real clock it has long expired
    assert told(keyless(), options=Options(identity_token=token()))
    assert refused(keyless(), options=Options(identity_token=jwt(exp=NOW_S))) == ("key.forbidden", "token_expired")


def test_the_keyless_key_of_a_request_that_names_none() -> None:
    given = world(tenants=(tenant(ci=RULE),))
    assert default_keyless(asked(given), "file:acme") == "fulcio:ci"
    assert rule_of(asked(given), keyless()) is RULE
    assert rule_of(asked(given), FILE) is None
    several = asked(world(tenants=(tenant(ci=RULE, other=RULE),)))
    assert default_keyless(several, "fulcio:other") == "fulcio:other"
    with pytest.raises(Refusal, match="keyless_ambiguous"):
        default_keyless(several, "file:acme")
    with pytest.raises(Refusal, match="no_keyless_key"):
        default_keyless(asked(world(tenants=(tenant(),))), "file:acme")
