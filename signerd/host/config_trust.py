"""``[trust]`` and ``[verification]``: of what files of trust are made, against what callers' bundles are verified."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ["Time", "Trust", "TrustedAuthority", "TrustedLog", "TrustedRekor", "TrustedService", "Url", "Verification"]

Time = Annotated[datetime, Meta(tz=True, description="a time with its offset, as 2026-01-31T00:00:00Z")]
Url = Annotated[str, Meta(pattern=r"^https?://[!-~]{1,2000}\Z", description="a URL of http or https")]
Name = Annotated[str, Meta(pattern=r"^[!-~]{1,256}\Z", description="a text without spaces")]


class TrustedService(msgspec.Struct, frozen=True, kw_only=True):
    """``[[trust.oidc]]``: an issuer of the tokens that Fulcio takes; in the signing config alone."""

    url: Url
    """Where it is, as clients are to reach it."""
    since: Time
    """From when on it is believed; both ends are included."""
    until: Time | None = None
    """Until when. Absent: open."""


class TrustedAuthority(TrustedService, frozen=True, kw_only=True):
    """``[[trust.fulcio]]``, ``[[trust.tsa]]``: an authority by its certificates."""

    chain: str
    """PEM file, an absolute path: the certificate that issues (of a timestamp authority: that stamps) first, its root
    last."""


class TrustedLog(TrustedService, frozen=True, kw_only=True):
    """``[[trust.ct_logs]]``: a log by its public key."""

    key: str
    """Its public key, PEM, an absolute path."""


class TrustedRekor(TrustedLog, frozen=True, kw_only=True):
    """``[[trust.rekor]]``: a transparency log."""

    origin: Annotated[str, Meta(pattern=r"^[!-~]{0,256}\Z", description="a text without spaces")] = ""
    """First line of its checkpoints: the host of its URL without the port. Empty: a Rekor v1, which has none."""


class Trust(msgspec.Struct, frozen=True):
    """``[trust]``: the parts of which ``signerd trust build`` makes its files; the daemon itself reads none of them."""

    operator: Name = "signerd"
    """Who runs the services, as the signing config says it."""
    fulcio: tuple[TrustedAuthority, ...] = ()
    """Certificate authorities."""
    ct_logs: tuple[TrustedLog, ...] = ()
    """Certificate-transparency logs, whose SCTs stand in the certificates."""
    rekor: tuple[TrustedRekor, ...] = ()
    """Transparency logs."""
    tsa: tuple[TrustedAuthority, ...] = ()
    """Timestamp authorities. The URL holds the path that takes requests."""
    oidc: tuple[TrustedService, ...] = ()
    """Issuers of tokens."""


class Verification(msgspec.Struct, frozen=True):
    """``[verification]``: against what ``verify.bundle`` and ``verify.batch`` verify."""

    trusted_root: str = ""
    """A `trusted_root.json`, an absolute path. Empty: bundles that a key signed can be verified, and no other."""
    policies: tuple[str, ...] = ()
    """Files of verification policies, absolute paths; requests name them by their `policyId`. Root and policies are
    together at most 2 MiB."""
