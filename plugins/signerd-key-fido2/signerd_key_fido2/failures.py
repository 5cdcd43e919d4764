"""What an authenticator's refusals mean to signerd. The peer hears no more than the code; the operator the status."""

import struct
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from fido2.ctap import CtapError
from fido2.hid import ConnectionFailure

from signerd.errors import Fault, Refusal, SignerdError

__all__ = ["PIN_REJECTED", "PROTOCOL", "fault", "forbidden", "not_found", "translated", "unavailable"]

PIN_REJECTED: Final = (
    CtapError.ERR.PIN_INVALID,
    CtapError.ERR.PIN_BLOCKED,
    CtapError.ERR.PIN_AUTH_BLOCKED,
    CtapError.ERR.PIN_POLICY_VIOLATION,
)
"""The authenticator has judged the PIN, or judges none any more."""
PROTOCOL: Final = (
    ArithmeticError,
    AttributeError,
    ConnectionFailure,
    LookupError,
    RecursionError,
    TypeError,
    UnsupportedAlgorithm,
    ValueError,
    struct.error,
)
"""What the library raises over answers that are none: it takes them apart without asking first."""
_REASONS: Final = {
    CtapError.ERR.PIN_AUTH_BLOCKED: "pin_locked",
    CtapError.ERR.PIN_BLOCKED: "pin_locked",
    CtapError.ERR.PIN_INVALID: "pin_incorrect",
    CtapError.ERR.PIN_NOT_SET: "pin_not_set",
    CtapError.ERR.PIN_POLICY_VIOLATION: "pin_policy",
}
_UNTOUCHED: Final = {
    CtapError.ERR.ACTION_TIMEOUT: "no_touch",
    CtapError.ERR.KEEPALIVE_CANCEL: "no_touch",
    CtapError.ERR.OPERATION_DENIED: "denied",
    CtapError.ERR.TIMEOUT: "no_touch",
    CtapError.ERR.USER_ACTION_TIMEOUT: "no_touch",
}
_TEXTS: Final = {
    "no_touch": "nobody has touched the authenticator in time",
    "denied": "the authenticator's holder has declined",
}


def fault(reason: str, operator: str) -> Fault:
    """Build the fault of a backend that cannot use what it found."""
    return Fault("key.backend_fault", reason, "a component of the signer failed", operator=operator)


def forbidden(reason: str, public: str, operator: str | None = None) -> Refusal:
    """Build the refusal of what could be done and must not be."""
    return Refusal("key.forbidden", reason, public, operator=operator)


def not_found(reason: str, operator: str) -> Refusal:
    """Build the refusal of a reference that leads to no key."""
    return Refusal("key.not_found", reason, "there is no such key", operator=operator)


def unavailable(reason: str, operator: str) -> Fault:
    """Build the fault that asking again later may cure."""
    said = _TEXTS.get(reason)
    if said is None:
        return Fault("key.backend_unavailable", reason, "the key's authenticator is not available", operator=operator)
    return Fault("key.backend_unavailable", reason, said, operator=f"{said} ({operator})")


def translated(exc: Exception, doing: str) -> SignerdError:
    """Return what ``exc``, raised while ``doing``, is to the caller.

    ``key.backend_unavailable``: ``no_touch``, ``denied``, ``device_lost`` (it went, or fell silent).
    ``key.not_found``: ``not_on_device``. ``key.algorithm_refused``: ``device_algorithm``. ``key.backend_fault``:
    ``pin_incorrect``, ``pin_locked``, ``pin_not_set``, ``pin_policy``, ``device_protocol``, else ``device_refused``.
    """
    operator = f"{doing}: {type(exc).__name__} {exc}"
    if isinstance(exc, OSError):
        return unavailable("device_lost", operator)
    if not isinstance(exc, CtapError):
        return fault("device_protocol", operator)
    if exc.code in _UNTOUCHED:
        return unavailable(_UNTOUCHED[exc.code], operator)
    if exc.code == CtapError.ERR.NO_CREDENTIALS:
        return not_found("not_on_device", operator)
    if exc.code == CtapError.ERR.UNSUPPORTED_ALGORITHM:
        return Refusal("key.algorithm_refused", "device_algorithm", "the authenticator has no such algorithm")
    return fault(_REASONS.get(exc.code, "device_refused"), operator)
