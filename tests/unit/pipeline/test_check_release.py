import pytest
from msgspec import UNSET

from fakes.services import (
    EXEMPT,
    LIMITS,
    NEEDS_RELEASE,
    TOOL,
    Later,
    Releases,
    World,
    complete,
    entitled,
    order,
    refusal,
    request,
    world,
)
from signerd.contracts.values import Entitlement, Release
from signerd.daemon.snapshot import Snapshot
from signerd.errors import Fault, Refusal
from signerd.pipeline.check_release import APPROVED, WAIVED, check_release
from signerd.pipeline.evidence import Cleared
from signerd.pipeline.tenants import Tenant
from signerd.wire.ring import Grant

WINDOWED = Entitlement("default", LIMITS, "fake", ("2026.2", "2026.11"))
OTHER = "sha256:" + "cd" * 32


def clear(given: World, **changes: object) -> Cleared:
    return complete(check_release(entitled(given, request(order(**changes))), given.services), given)


def refused(given: World, **changes: object) -> tuple[str, str, object]:
    return refusal(check_release(entitled(given, request(order(**changes))), given.services), given)


@pytest.mark.parametrize("later", [False, True])
def test_a_release_that_a_check_knows_is_asserted(later: bool) -> None:
    release = Release(TOOL, "signature", "2026.3", ("stale",))
    given = world(release=Later(release) if later else release)
    evidence = clear(given)
    assert (evidence.release, evidence.binding, evidence.degraded) == (release, "asserted", ("stale",))
    assert given.releases.asked == [TOOL]


def test_a_type_that_needs_no_release_asks_nobody() -> None:
    given = world()
    evidence = clear(given, predicate_type=EXEMPT)
    assert (evidence.release, evidence.binding, evidence.degraded) == (None, "exempt", ())
    assert given.releases.asked == []


def test_a_type_that_the_configuration_exempts_stands_degraded() -> None:
    given = world(tenants=[Tenant("acme", "file:acme", exempt=frozenset({NEEDS_RELEASE}))])
    evidence = clear(given)
    assert (evidence.release, evidence.binding, evidence.degraded) == (None, "exempt", (WAIVED,))
    assert given.releases.asked == []


def test_an_exemption_is_of_one_tenant_and_one_type() -> None:
    tenants = [Tenant("acme", "file:acme", exempt=frozenset({"https://example.org/report/v1"}))]
    tenants.append(Tenant("other", "file:other", exempt=frozenset({NEEDS_RELEASE})))
    assert refused(world(tenants=tenants), scanner_image_digest=UNSET)[1] == "digest_missing"


def test_the_digest_must_be_there() -> None:
    assert refused(world(), scanner_image_digest=UNSET) == ("release.untrusted", "digest_missing", {})


def test_a_tenant_may_demand_more_than_the_callers_word() -> None:
    given = world(tenants=[Tenant("acme", "file:acme", require_attested=True)])
    assert refused(given) == ("release.untrusted", "binding_asserted", {})
    assert given.releases.asked == []
    assert clear(given, predicate_type=EXEMPT).binding == "exempt"


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (Refusal("release.untrusted", "not_listed", "no"), "release.untrusted", "not_listed"),
        (Refusal("release.approval_required", "manual", "no"), "release.approval_required", "manual"),
        (Fault("release.unavailable", "registry", "no"), "release.unavailable", "registry"),
        (ValueError("x"), "release.unavailable", "plugin_failed"),
    ],
)
def test_what_a_check_says_is_what_is_said(answer: Exception, code: str, reason: str, later: bool) -> None:
    assert refused(world(release=Later(answer) if later else answer)) == (code, reason, {})


@pytest.mark.parametrize("answer", [True, "trusted", Later(True)])
def test_a_yes_is_no_evidence(answer: object) -> None:
    assert refused(world(release=answer)) == ("release.unavailable", "plugin_type", {})


def test_evidence_for_another_digest_is_none() -> None:
    assert refused(world(release=Release(OTHER, "allowlist"))) == ("release.unavailable", "other_digest", {})


def test_every_check_must_pass() -> None:
    checks = [Releases(), Releases(Refusal("release.untrusted", "not_listed", "no"))]
    for ordered in (checks, checks[::-1]):
        assert refused(world(checks=ordered)) == ("release.untrusted", "not_listed", {})


def test_without_a_check_nothing_is_genuine() -> None:
    assert refused(world(checks=[])) == ("release.untrusted", "no_check", {})


def test_the_degradations_of_all_checks_are_told_and_the_evidence_that_proves_a_version() -> None:
    first = Release(TOOL, "signature", None, ("first",))
    second = Release(TOOL, "allowlist", "2026.3", ("second",))
    evidence = clear(world(plan=WINDOWED, checks=[Releases(first), Releases(second)]))
    assert evidence.release is second
    assert evidence.degraded == ("first", "second")
    assert clear(world(checks=[Releases(first), Releases(Release(TOOL, "approval"))])).release is first


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("2026.1", "outside_window"),
        ("2026.2", None),
        ("2026.10", None),
        ("2026.11", None),
        ("2026.12", "outside_window"),
        ("2027.3", "outside_window"),
        ("2025.5", "outside_window"),
        (None, "version_unproved"),
        ("2026", "version_malformed"),
        ("next.week", "version_malformed"),
        ("", "version_malformed"),
    ],
)
def test_the_window_compares_months_as_numbers(version: str | None, reason: str | None) -> None:
    given = world(plan=WINDOWED, release=Release(TOOL, "allowlist", version))
    if reason is None:
        assert clear(given).binding == "asserted"
    else:
        assert refused(given) == ("entitlement.version_window", reason, {})


def test_one_version_outside_the_window_is_enough_to_refuse() -> None:
    versions = ("2026.3", "2025.3")
    for ordered in (versions, versions[::-1]):
        checks = [Releases(Release(TOOL, "allowlist", version)) for version in ordered]
        assert refused(world(plan=WINDOWED, checks=checks))[1] == "outside_window"


def test_without_a_window_no_version_is_asked_for() -> None:
    assert clear(world(release=Release(TOOL, "allowlist", "whatever"))).binding == "asserted"


def test_a_plan_with_a_window_covers_what_needs_no_release() -> None:
    assert clear(world(plan=WINDOWED), predicate_type=EXEMPT).binding == "exempt"


@pytest.mark.parametrize(
    ("answer", "saved"),
    [
        (Refusal("release.untrusted", "not_listed", "no"), True),
        (Refusal("release.approval_required", "unsigned", "no"), True),
        (Fault("release.unavailable", "registry", "no"), True),
        (Release(OTHER, "signature"), False),
    ],
)
def test_an_admins_approval_is_the_last_resort(answer: object, saved: bool) -> None:
    exceptions = Snapshot()
    given = world(release=answer, exceptions=exceptions)
    far = given.services.clock.now_ms() + 1000
    exceptions.grants = (Grant("1", "release", TOOL, far, "", "2026.3"),)
    if saved:
        assert clear(given).release == Release(TOOL, "approval", "2026.3", (APPROVED,))
    else:
        assert refused(given)[1] == "other_digest"
    exceptions.grants = (Grant("1", "release", OTHER, far),)
    assert refused(given)[0].startswith("release.")


def test_an_approval_changes_nothing_where_the_checks_pass() -> None:
    exceptions = Snapshot()
    release = Release(TOOL, "signature")
    given = world(release=release, exceptions=exceptions)
    exceptions.grants = (Grant("1", "release", TOOL, given.services.clock.now_ms() + 1000),)
    assert clear(given).release == release
