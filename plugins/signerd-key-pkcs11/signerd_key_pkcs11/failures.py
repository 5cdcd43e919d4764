"""What a module's return codes mean to signerd: lost and worth one more try, away, or broken.

The text for the peer never says more than the code; the operator's names the return code by python-pkcs11's
class.
"""

from typing import Final

from pkcs11 import exceptions as ck

from signerd.errors import Fault, Refusal, SignerdError

__all__ = [
    "LOST",
    "LOST_OBJECT",
    "PIN_REJECTED",
    "PIN_UNJUDGED",
    "fault",
    "forbidden",
    "not_found",
    "translated",
    "unavailable",
]

LOST_OBJECT: Final = (ck.KeyHandleInvalid, ck.ObjectHandleInvalid)
"""The handle leads nowhere any more, the session may be well: the object is looked for again."""
LOST: Final = (
    *LOST_OBJECT,
    ck.DeviceError,
    ck.DeviceRemoved,
    ck.OperationActive,  # an error that did not end what was begun: this session is of no more use
    ck.SessionClosed,
    ck.SessionHandleInvalid,
    ck.SlotIDInvalid,
    ck.TokenNotPresent,
    ck.TokenNotRecognised,
    ck.UserNotLoggedIn,
)
"""What a token that was taken out and put back answers to everything begun before."""
PIN_REJECTED: Final = (ck.PinExpired, ck.PinIncorrect, ck.PinInvalid, ck.PinLenRange, ck.PinLocked)
"""The token has judged the PIN and will not have it."""
PIN_UNJUDGED: Final = (ck.HostMemory, ck.SlotIDInvalid, ck.TokenNotPresent, ck.UserPinNotInitialized)
"""The login ended before the token could have counted an attempt. Anything else may have been counted."""

_PIN_REASONS: Final[dict[type[ck.PKCS11Error], str]] = {
    ck.PinExpired: "pin_expired",
    ck.PinLocked: "pin_locked",
    ck.UserPinNotInitialized: "pin_not_initialised",
}
_MECHANISM: Final = (ck.MechanismInvalid, ck.MechanismParamInvalid)
_BUSY: Final = (ck.DeviceMemory, ck.FunctionCancelled, ck.HostMemory, ck.SessionCount)


def fault(reason: str, operator: str) -> Fault:
    """Build the fault of a backend that cannot use what it found."""
    return Fault("key.backend_fault", reason, "a component of the signer failed", operator=operator)


def forbidden(reason: str, public: str, operator: str | None = None) -> Refusal:
    """Build the refusal of what could be done and must not be."""
    return Refusal("key.forbidden", reason, public, operator=operator)


def not_found(reason: str, operator: str) -> Refusal:
    """Build the refusal of a reference that leads to no key."""
    return Refusal("key.not_found", reason, "there is no such key", operator=operator)


def translated(exc: ck.PKCS11Error, doing: str) -> SignerdError:
    """Return what ``exc``, raised while ``doing``, is to the caller.

    ``key.backend_unavailable``: ``token_lost`` for what :data:`LOST` lists, ``token_busy`` where memory or
    sessions have run out. ``key.algorithm_refused``: ``mechanism_refused``. ``key.backend_fault``:
    ``pin_incorrect``, ``pin_expired``, ``pin_locked``, ``pin_not_initialised``, else ``module_failed``.
    """
    operator = f"{doing}: {type(exc).__name__} {exc}".rstrip()
    if isinstance(exc, LOST):
        return unavailable("token_lost", operator)
    if isinstance(exc, _BUSY):
        return unavailable("token_busy", operator)
    if isinstance(exc, _MECHANISM):
        public = "the key's token does not sign as it says that it does"
        return Refusal("key.algorithm_refused", "mechanism_refused", public, operator=operator)
    if isinstance(exc, (*PIN_REJECTED, ck.UserPinNotInitialized)):
        return fault(_PIN_REASONS.get(type(exc), "pin_incorrect"), operator)
    return fault("module_failed", operator)


def unavailable(reason: str, operator: str) -> Fault:
    """Build the fault that asking again later may cure."""
    return Fault("key.backend_unavailable", reason, "the key's token is not available", operator=operator)
