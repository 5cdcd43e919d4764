import os

import pytest

from signerd.contracts.providers import EntitlementSource
from signerd.contracts.values import Principal, ProofOfEntitlement
from signerd.errors import SignerdError
from signerd_entitlement_file.plans import BUILT_IN, read_plans
from signerd_entitlement_file.plugin import LocalPlans, _File, signerd_entitlements

OWN = Principal(f"uid:{os.geteuid()}", "local", frozenset(), "auth-peercred")
OTHER = Principal("uid:70001", "local", frozenset(), "auth-peercred")
NONE = ProofOfEntitlement()


def refused(source, principal, proof=NONE):
    with pytest.raises(SignerdError) as caught:
        source.entitle(principal, proof)
    return caught.value.code, caught.value.reason


def test_without_settings_the_own_user_has_the_embedded_plan_and_nobody_else():
    source = signerd_entitlements({})
    assert isinstance(source, EntitlementSource)
    entitlement = source.entitle(OWN, NONE)
    assert (entitlement.plan, entitlement.limits, entitlement.window) == (
        "embedded",
        BUILT_IN["embedded"],
        None,
    )
    assert (entitlement.source, entitlement.degraded) == ("entitlement-file", ())
    assert refused(source, OTHER) == ("entitlement.denied", "own_user_only")


def test_a_tenant_without_a_plan_and_a_proof_that_nobody_can_judge():
    source = signerd_entitlements({"tenants": {"acme": {"plan": "default"}}})
    assert refused(source, OWN) == ("entitlement.denied", "tenant_unknown")
    acme = Principal("x", "acme", frozenset(), "t")
    assert source.entitle(acme, NONE).plan == "default"
    assert refused(source, acme, ProofOfEntitlement("jwt", "e30.e30.")) == (
        "entitlement.denied",
        "proof_unsupported",
    )


def test_a_plan_ends_at_its_time():
    plans = read_plans({"tenants": {"local": {"plan": "default", "expires": "2027-01-01T00:00:00Z"}}})
    assert LocalPlans(lambda: plans, lambda: 1798761599.9).entitle(OWN, NONE).plan == "default"
    assert refused(LocalPlans(lambda: plans, lambda: 1798761600.0), OWN) == ("entitlement.expired", "expired")


def test_the_window_goes_with_the_entitlement():
    source = signerd_entitlements(
        {"tenants": {"local": {"plan": "default", "window": ["2026.01", "2026.06"]}}}
    )
    assert source.entitle(OTHER, NONE).window == ("2026.01", "2026.06")


def test_a_file_is_read_again_when_it_changes_and_entitles_nobody_while_it_is_broken(tmp_path):
    file, clock = tmp_path / "plans.toml", [0.0]

    def write(text):
        file.write_text(text)
        file.chmod(0o600)
        os.utime(file, (clock[0], clock[0]))
        clock[0] += 1

    write('[tenants.local]\nplan = "default"')
    source = LocalPlans(_File(file, lambda: clock[0]))
    assert source.entitle(OTHER, NONE).plan == "default"
    write(
        "plans.small = { concurrency = 1, size = 10 }\n"
        'tenants.local = { plan = "small", expires = 2999-01-01T00:00:00Z }'
    )
    assert source.entitle(OTHER, NONE).limits.size == 10
    write("[tenants")
    assert refused(source, OTHER) == ("entitlement.unavailable", "file_unusable")
    assert refused(source, OTHER) == ("entitlement.unavailable", "file_unusable")
    file.unlink()
    assert refused(source, OTHER) == ("entitlement.unavailable", "file_unusable")
    write("")
    assert refused(source, OTHER) == ("entitlement.denied", "tenant_unknown")
    clock[0] += 1
    file.chmod(0o666)
    assert refused(source, OTHER) == ("entitlement.unavailable", "file_unusable")


def test_a_file_through_the_hook(tmp_path):
    file = tmp_path / "plans.toml"
    file.write_text('[tenants.local]\nplan = "default"')
    file.chmod(0o600)
    assert signerd_entitlements({"file": str(file)}).entitle(OTHER, NONE).plan == "default"


@pytest.mark.parametrize(
    ("settings", "expectation"),
    [
        ({"file": "plans.toml"}, "file: expected an absolute path"),
        ({"file": 5}, "file: expected an absolute path"),
        ({"file": "/nonexistent/plans.toml"}, "No such file"),
        ({"file": "/dev/null"}, "expected a regular file"),
        ({"file": "/x", "plans": {}}, "expected file alone"),
        ({"plan": {}}, "unknown field `plan`"),
    ],
)
def test_settings_out_of_shape_are_refused(settings, expectation):
    with pytest.raises(ValueError, match=expectation):
        signerd_entitlements(settings)
