"""Whether the tool that made the content is a genuine release."""

from collections.abc import Sequence

from signerd.contracts.values import Entitlement, Principal, Release
from signerd.errors import Fault, Refusal, SignerdError
from signerd.pipeline.evidence import Cleared, Entitled
from signerd.pipeline.guarded import ask
from signerd.pipeline.services import Services

__all__ = ["APPROVED", "WAIVED", "check_release"]

WAIVED = "release_check_waived"
"""The degradation of a record whose type needs a release, were it not for the configuration."""
APPROVED = "release_approved"
"""The degradation of a record whose tool no check has cleared, but an admin."""


async def check_release(entitled: Entitled, services: Services) -> Cleared:
    """Return why the tool is trusted; every configured check must pass, or an admin has approved the digest, which is
    told as degraded.

    A type that needs no release is cleared as ``exempt``, and so is one that the configuration exempts for
    this tenant, degraded. Any other needs a digest, or callers would choose the type that skips the check
    (T6). What the digest proves is the version that the evidence states, never the caller's word.

    Refuses with ``release.untrusted`` (``digest_missing``; ``binding_asserted``; ``no_check``), with
    ``entitlement.version_window`` (``version_unproved``; ``outside_window``; ``version_malformed``) and with
    what a check refuses with; ``release.unavailable`` (``other_digest``) where a check speaks of another
    digest.
    """
    order = entitled.order
    if not order.predicate_type.needs_release:
        return Cleared(entitled, None, "exempt", ())
    if order.predicate_type.uri in order.tenant.exempt:
        return Cleared(entitled, None, "exempt", (WAIVED,))
    digest = order.params.scanner_image_digest or None
    if digest is None:
        raise Refusal(
            "release.untrusted",
            "digest_missing",
            "this predicate type needs the digest of the tool that made its content",
        )
    if order.tenant.require_attested:
        raise Refusal("release.untrusted", "binding_asserted", "the digest was asserted, and this tenant demands more")
    try:
        releases = await _checked(digest, order.principal, services)
    except SignerdError as error:
        releases = [_approved(digest, order.principal.tenant, services, error)]
    degraded = tuple(word for release in releases for word in release.degraded)
    return Cleared(entitled, _telling(releases, entitled.entitlement), "asserted", degraded)


async def _checked(digest: str, principal: Principal, services: Services) -> list[Release]:
    releases = []
    for guarded in services.release_checks:
        release = await ask(guarded, guarded.provider.check, Release, digest, principal)
        if release.digest != digest:
            raise Fault("release.unavailable", "other_digest", "the release check failed")
        releases.append(release)
    if not releases:
        raise Refusal("release.untrusted", "no_check", "no release check is configured")
    return releases


def _approved(digest: str, tenant: str, services: Services, error: SignerdError) -> Release:
    """Return an admin's approval of the digest, the last resort; raises ``error`` where there is none, or where it is
    no word on the release: a cancel, a deadline, a check that speaks of another digest."""
    if error.code.startswith("release.") and error.reason != "other_digest":
        clock = services.clock
        grant = services.exceptions.approved_release(digest, tenant, clock.now_ms(), clock.monotonic())
        if grant is not None:
            return Release(digest, "approval", grant.version or None, degraded=(APPROVED,))
    raise error


def _telling(releases: Sequence[Release], entitlement: Entitlement) -> Release:
    """Return the evidence that the record tells: the first that proves a version, else the first.

    Refuses any proved version outside the plan's window; none proved under a windowed plan is refused too.
    """
    proved = [release for release in releases if release.version is not None]
    if entitlement.window is not None:
        first, last = entitlement.window
        if not proved:
            raise _window("version_unproved")
        for release in proved:
            if not _version(first) <= _version(release.version or "") <= _version(last):
                raise _window("outside_window")
    return (proved or releases)[0]


def _version(text: str) -> tuple[int, int]:
    """Return ``year.month`` as numbers, so that 2026.2 comes before 2026.11."""
    year, _, month = text.partition(".")
    try:
        return int(year), int(month)
    except ValueError:
        raise _window("version_malformed") from None


def _window(reason: str) -> Refusal:
    return Refusal("entitlement.version_window", reason, "the plan does not cover this version of the tool")
