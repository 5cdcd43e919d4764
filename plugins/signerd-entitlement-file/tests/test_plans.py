import pytest

from signerd.contracts.values import PlanLimits
from signerd_entitlement_file.plans import BUILT_IN, TenantPlan, read_plans

PLAN = {"concurrency": 2, "size": 1000}


def test_built_in_plans():
    assert BUILT_IN["embedded"] == PlanLimits(256, 134217728)
    assert BUILT_IN["default"] == PlanLimits(64, 134217728, 100.0, 200, 1_000_000)


def test_plans_and_tenants():
    document = {
        "plans": {"team": {**PLAN, "rate": 5, "burst": 9, "daily": 7}},
        "tenants": {
            "a": {"plan": "team", "window": ["2026.01", "2026.12"], "expires": "2027-01-01T00:00:00Z"},
            "b": {"plan": "default"},
        },
    }
    assert read_plans(document) == {
        "a": TenantPlan("team", PlanLimits(2, 1000, 5.0, 9, 7), ("2026.01", "2026.12"), 1798761600000),
        "b": TenantPlan("default", BUILT_IN["default"]),
    }
    assert read_plans({}) == {}


@pytest.mark.parametrize(
    ("document", "expectation"),
    [
        ({"plan": {}}, "unknown field `plan`"),
        ({"plans": {"embedded": PLAN}}, "plans.embedded: expected another name"),
        ({"plans": {"x": {**PLAN, "rates": 1}}}, "unknown field `rates`"),
        ({"plans": {"x": {**PLAN, "rate": 0}}}, "> 0"),
        ({"plans": {"x": {"size": 1}}}, "missing required field `concurrency`"),
        ({"plans": {"x": {**PLAN, "daily": -1}}}, ">= 1"),
        ({"plans": {"A b": PLAN}}, "matching regex"),
        ({"tenants": {"t": {"plan": "none"}}}, "tenants.t.plan: expected one of default, embedded, got none"),
        (
            {"tenants": {"t": {"plan": "default", "window": ["2026.12", "2026.01"]}}},
            "the earlier version first",
        ),
        ({"tenants": {"t": {"plan": "default", "window": ["2026.1", "2026.02"]}}}, "matching regex"),
        ({"tenants": {"t": {"plan": "default", "window": ["2026.01"]}}}, "length 2"),
        ({"tenants": {"t": {"plan": "default", "expires": "soon"}}}, "Invalid RFC3339"),
        ({"tenants": {"t": {"plan": "default", "expires": "2027-01-01T00:00:00"}}}, "a time with its offset"),
    ],
)
def test_what_is_out_of_shape_is_refused(document, expectation):
    with pytest.raises(ValueError, match=expectation):
        read_plans(document)
