"""``[keys.REF.keyless]``: whose certificates count where no key is pinned."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = ["AbsolutePath", "Keyless", "Uri"]

AbsolutePath = Annotated[str, Meta(pattern=r"^/[^\x00]*\Z", max_length=4096, description="an absolute path")]
Uri = Annotated[str, Meta(min_length=1, max_length=2048)]


class Keyless(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[keys."REF".keyless]``: no key is pinned; whose certificates count in its place, whatever the backend says."""

    ca: AbsolutePath
    """The authority's certificates in PEM: those between first, the anchor last."""
    issuers: Annotated[tuple[Uri, ...], Meta(min_length=1)]
    """The OIDC issuers whose word on identities counts. A request's token of another one is refused."""
    ct_log_keys: Annotated[tuple[AbsolutePath, ...], Meta(min_length=1)] | None = None
    """Public keys of CT logs in PEM: each certificate must have been seen by one of these."""
    ct_log: Literal["none"] | None = None
    """In place of `ct_log_keys`: certificates are in no log, and nobody can find those that the authority gave to
    others."""
    identities: Annotated[tuple[Uri, ...], Meta(min_length=1)] | None = None
    """The only identities that sign, as certificates name them. Absent: any that the issuers vouch for."""
    audience: Annotated[str, Meta(min_length=1, max_length=256)] = "sigstore"
    """The audience that a request's token must have, and no other."""
    ephemeral_ok: bool = False
    """Sign also without a log entry and without a stamp: once the certificate has ended, nothing proves that the
    signature was made before. Each record then says `ephemeral`."""
