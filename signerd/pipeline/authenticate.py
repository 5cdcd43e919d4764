"""Who is asking."""

from collections.abc import Sequence

from signerd.contracts.providers import Authenticator
from signerd.contracts.values import Caller, Principal
from signerd.errors import Refusal
from signerd.pipeline.guarded import Guarded, ask
from signerd.pipeline.request import SignRequest
from signerd.pipeline.services import Services

__all__ = ["authenticate", "bind"]

_PRINCIPAL_OR_NONE = (Principal, type(None))


async def authenticate(request: SignRequest, services: Services) -> Principal:
    """Return the principal that the connection is bound to, if it still is.

    Refuses with ``auth.required`` where nobody is bound, ``auth.token_expired`` where the binding has run
    out: at and after ``expires_at``.
    """
    principal = request.bound
    if principal is None:
        raise Refusal("auth.required", "not_bound", "this connection is not bound to a principal")
    # The record of a binding that has run out says whose it was.
    request.principal = principal
    if principal.expires_at is not None and services.clock.now_ms() >= principal.expires_at:
        raise Refusal("auth.token_expired", "expired", "the session's credential has expired; bind again")
    return principal


async def bind(caller: Caller, authenticators: Sequence[Guarded[Authenticator]]) -> Principal | None:
    """Ask the authenticators in their order; the first Principal counts, an exception stops."""
    for guarded in authenticators:
        principal = await ask(guarded, guarded.provider.authenticate, _PRINCIPAL_OR_NONE, caller)
        if principal is not None:
            return principal
    return None
