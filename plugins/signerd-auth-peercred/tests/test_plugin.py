import os

import pytest

from signerd.contracts.providers import Authenticator
from signerd.contracts.values import Caller, Peer, Principal
from signerd.errors import Refusal
from signerd_auth_peercred.plugin import NAME, SCOPES, signerd_authenticators


def caller(uid, **shown):
    return Caller(Peer(uid, uid, 4242, 1), "signerd", **shown)


def authenticator(settings):
    (made,) = signerd_authenticators(settings)
    assert isinstance(made, Authenticator)
    return made


def refused(made, who):
    with pytest.raises(Refusal) as caught:
        made.authenticate(who)
    return caught.value.code, caught.value.reason


def test_without_settings_the_daemons_own_user_alone_is_let_in():
    made = authenticator({})
    own = os.geteuid()
    assert made.authenticate(caller(own)) == Principal(f"uid:{own}", "local", SCOPES, NAME)
    assert refused(made, caller(own + 1)) == ("auth.peer_denied", "uid_not_allowed")


def test_listed_users_are_let_in_and_nobody_else_not_even_the_daemons_own():
    made = authenticator(
        {
            "uids": [70001],
            "callers": {"70002": {"tenant": "acme", "principal": "build", "scopes": ["signer.sign"]}},
        }
    )
    assert made.authenticate(caller(70001)) == Principal("uid:70001", "local", SCOPES, NAME)
    assert made.authenticate(caller(70002)) == Principal("build", "acme", frozenset({"signer.sign"}), NAME)
    assert refused(made, caller(os.geteuid())) == ("auth.peer_denied", "uid_not_allowed")


def test_a_caller_with_a_table_of_its_own_has_that_and_not_the_defaults():
    made = authenticator({"uids": [70001], "callers": {"70001": {"tenant": "acme"}}})
    assert made.authenticate(caller(70001)).tenant == "acme"


def test_the_kernels_word_is_no_answer_to_a_token():
    assert authenticator({}).authenticate(caller(os.geteuid(), token="x")) is None


def test_a_tenant_that_is_not_the_users_is_refused():
    made = authenticator({})
    assert made.authenticate(caller(os.geteuid(), tenant="local")).tenant == "local"
    assert refused(made, caller(os.geteuid(), tenant="acme")) == ("auth.tenant_mismatch", "tenant_of_another")


def test_what_the_peer_is_told_names_no_setting():
    with pytest.raises(Refusal) as caught:
        authenticator({}).authenticate(caller(70003))
    assert "70003" in str(caught.value)
    assert "70003" not in caught.value.public
    assert "plugins" not in caught.value.public


@pytest.mark.parametrize(
    ("settings", "expectation"),
    [
        ({"uid": [1]}, "unknown field `uid`"),
        ({"uids": ["1"]}, "Expected `int`"),
        ({"uids": [-1]}, ">= 0"),
        ({"uids": [2**32 - 1]}, "<= 4294967294"),
        ({"callers": {"root": {}}}, "callers.root: expected a uid"),
        ({"callers": {"99999999999999999999": {}}}, "expected a uid"),
        ({"callers": {"4294967295": {}}}, "expected a uid"),
        ({"callers": {"1": {"scopes": ["admin"]}}}, "callers.1.scopes: expected some of"),
        ({"callers": {"1": {"tenant": ""}}}, "matching regex"),
        ({"callers": {"1": {"principal": "a b"}}}, "matching regex"),
        ({"callers": {"1": {"x": 1}}}, "unknown field `x`"),
    ],
)
def test_settings_out_of_shape_are_refused(settings, expectation):
    with pytest.raises(ValueError, match=expectation):
        signerd_authenticators(settings)
