"""Whether the tool that made the content is a genuine release."""

from signerd.contracts.values import Entitlement, Release
from signerd.errors import Refusal
from signerd.pipeline.evidence import Cleared, Entitled
from signerd.pipeline.guarded import ask
from signerd.pipeline.services import Services

__all__ = ["check_release"]


async def check_release(entitled: Entitled, services: Services) -> Cleared:
    """Return why the tool is trusted; every configured check must pass.

    A type that needs no release, or that the configuration exempts for this tenant, is cleared as ``exempt``; any
    other needs a digest (``release.untrusted``, ``digest_missing``), or callers would choose the type that skips the
    check (T6). What the digest proves is the version that the evidence states, never the caller's word.
    """
    order = entitled.order
    digest = order.params.scanner_image_digest or None
    if not order.predicate_type.needs_release or order.predicate_type.uri in order.tenant.exempt:
        return Cleared(entitled, None, "exempt")
    if digest is None:
        raise Refusal(
            "release.untrusted",
            "digest_missing",
            "this predicate type needs the digest of the tool that made its content",
        )
    if order.tenant.require_attested:
        raise Refusal(
            "release.untrusted", "binding_asserted", "the digest was asserted, and this tenant demands more"
        )
    release: Release | None = None
    for guarded in services.release_checks:
        release = await ask(guarded, guarded.provider.check, Release, digest, order.principal)
        _in_window(release, entitled.entitlement)
    if release is None:
        raise Refusal("release.untrusted", "no_check", "no release check is configured")
    return Cleared(entitled, release, "asserted")


def _in_window(release: Release, entitlement: Entitlement) -> None:
    """Refuse a version outside the plan's window; none proved under a windowed plan is refused too."""
    if entitlement.window is None:
        return
    first, last = entitlement.window
    if release.version is None or not _version(first) <= _version(release.version) <= _version(last):
        raise Refusal(
            "entitlement.version_window",
            "outside_window" if release.version else "version_unproved",
            "the plan does not cover this version of the tool",
        )


def _version(text: str) -> tuple[int, int]:
    """Return ``year.month`` as numbers, so that 2026.2 comes before 2026.11."""
    year, _, month = text.partition(".")
    try:
        return int(year), int(month)
    except ValueError:
        raise Refusal(
            "entitlement.version_window", "version_malformed", "the proved version is not year.month"
        ) from None
