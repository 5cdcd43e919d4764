from typing import Any

import pytest

from fakes.fulcio import ISSUER, encode, jwt
from signerd.errors import Refusal
from signerd.verification.oidc import LARGEST_TOKEN, SKEW_S, Claims, check_claims, read_claims

NOW = 1_750_000_000


def names(**claims: object) -> set[str]:
    return set(read_claims(jwt(**claims)).names)


def refused(token: str) -> str:
    with pytest.raises(Refusal) as caught:
        read_claims(token)
    assert caught.value.code == "key.forbidden"
    assert not token or token not in f"{caught.value}{caught.value.public}"
    return caught.value.reason


def test_claims_are_read() -> None:
    claims = read_claims(jwt(sub="me", exp=NOW + 1.5, nbf=NOW, aud=["sigstore"]))
    assert claims == Claims(ISSUER, ("sigstore",), frozenset({"me"}), NOW + 1, NOW)


def test_a_holder_has_the_names_that_certificates_may_give_him() -> None:
    assert names(sub="1", email="me@example.com") == {"1", "me@example.com"}
    assert names(sub="1", email="me@example.com", email_verified=False) == {"1"}
    assert names(sub="r", job_workflow_ref="o/r/.github/workflows/w.yml@x") == {
        "r", "https://github.com/o/r/.github/workflows/w.yml@x",
    }  # fmt: skip
    assert names(sub="p", ci_config_ref_uri="gitlab.com/p//.gitlab-ci.yml@x") == {
        "p", "https://gitlab.com/p//.gitlab-ci.yml@x",
    }  # fmt: skip
    account = "system:serviceaccount:builds:signer"
    assert names(sub=account) == {account, "https://kubernetes.io/namespaces/builds/serviceaccounts/signer"}
    assert names(sub=1, email=["x"]) == set()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        "..",
        f"{jwt()}.x",
        f" {jwt()}",
        jwt() + "\n",
        f"x.{encode([1])}.x",
        f"x.{encode('text')}.x",
        "x.eyJhIjoxLCJhIjoyfQ.x",  # {"a":1,"a":2}: two readers may read it differently
        jwt(iss=1),
        jwt(iss=""),
        jwt(aud=[1]),
        jwt(aud=None),
        jwt(exp="soon"),
        jwt(exp=None),
        jwt(exp=True),
        jwt(nbf="x"),
        jwt(pad="x" * LARGEST_TOKEN),
    ],
)
def test_what_is_no_token_is_refused_and_not_repeated(token: str) -> None:
    assert refused(token) == "token_malformed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"issuer": "https://other"}, "token_issuer"),
        ({"issuer": f"{ISSUER}/"}, "token_issuer"),
        ({"audiences": ("other",)}, "token_audience"),
        ({"audiences": ("sigstore", "other")}, "token_audience"),
        ({"audiences": ()}, "token_audience"),
        ({"expires": NOW}, "token_expired"),
        ({"not_before": NOW + SKEW_S + 1}, "token_not_yet_valid"),
        ({"names": frozenset()}, "token_identity"),
    ],
)
def test_what_may_not_be_used_is_refused_with_its_reason(change: dict[str, Any], reason: str) -> None:
    good = {
        "issuer": ISSUER, "audiences": ("sigstore",), "names": frozenset({"me"}), "expires": NOW + 1,
        "not_before": NOW + SKEW_S,
    }  # fmt: skip
    check_claims(Claims(**good), "sigstore", [ISSUER], NOW)  # type: ignore[arg-type]  # a table of fields
    with pytest.raises(Refusal) as caught:
        check_claims(Claims(**{**good, **change}), "sigstore", [ISSUER], NOW)
    assert (caught.value.code, caught.value.reason) == ("key.forbidden", reason)
