"""Entry point: the authenticator over the kernel's word, and its settings.

Settings: ``uids`` (array of uids that are let in with the defaults) and ``callers``, a table by uid of
``tenant``, ``principal`` and ``scopes``. With neither, the daemon's own uid is let in. Defaults: tenant
``local``, principal ``uid:N``, every scope of the sign socket.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from signerd.contracts import hookimpl
from signerd.contracts.hookspecs import Settings
from signerd.contracts.values import Caller, Principal
from signerd.errors import Refusal

__all__ = ["NAME", "SCOPES", "PeerCredentials", "signerd_authenticators"]

NAME: Final = "auth-peercred"
SCOPES: Final = frozenset(
    "signer.sign signer.keyless signer.explain signer.keys signer.hmac signer.audit attestor.verify attestor.write"
    .split()
)
"""Every scope of the methods on the sign socket."""

_Text = Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z")]
_Uid = Annotated[int, Meta(ge=0, le=2**32 - 2)]


class _Caller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tenant: _Text = "local"
    principal: _Text | None = None
    scopes: frozenset[str] = SCOPES


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    uids: tuple[_Uid, ...] = ()
    callers: dict[str, _Caller] = {}


class PeerCredentials:
    """Authenticator: a uid is a principal. Whoever is not listed is refused: it stands last among several."""

    def __init__(self, principals: Mapping[int, Principal]) -> None:
        """Let in the uids of ``principals``."""
        self._principals = dict(principals)

    def authenticate(self, caller: Caller) -> Principal | None:
        """Return the principal of the peer's uid, or None for a caller that shows a token: that is others' to
        judge.

        Refuses ``auth.peer_denied`` (``uid_not_allowed``), and ``auth.tenant_mismatch`` where the caller
        names a tenant that is not its own.
        """
        if caller.token is not None:
            return None
        principal = self._principals.get(caller.peer.uid)
        if principal is None:
            raise Refusal(
                "auth.peer_denied",
                "uid_not_allowed",
                "this user may not use the signer",
                operator=f"uid {caller.peer.uid} is in neither uids nor callers of [plugins.{NAME}]",
            )
        if caller.tenant is not None and caller.tenant != principal.tenant:
            raise Refusal(
                "auth.tenant_mismatch", "tenant_of_another", "this user does not belong to that tenant"
            )
        return principal


@hookimpl
def signerd_authenticators(settings: Settings) -> list[PeerCredentials]:
    """Return the authenticator; ValueError for settings that are not as this module says."""
    try:
        given = msgspec.convert(dict(settings), _Settings)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc
    callers = dict.fromkeys(given.uids, _Caller())
    for key, caller in given.callers.items():
        uid = int(key) if key.isascii() and key.isdigit() and len(key) <= 10 else -1
        if not 0 <= uid <= 2**32 - 2:
            raise ValueError(f"callers.{key}: expected a uid")
        unknown = sorted(caller.scopes - SCOPES)
        if unknown:
            raise ValueError(
                f"callers.{key}.scopes: expected some of {', '.join(sorted(SCOPES))}, got {unknown[0]}"
            )
        callers[uid] = caller
    if not callers:
        callers[os.geteuid()] = _Caller()
    return [
        PeerCredentials(
            {
                uid: Principal(caller.principal or f"uid:{uid}", caller.tenant, caller.scopes, NAME)
                for uid, caller in callers.items()
            }
        )
    ]
