import pytest
from pkcs11 import exceptions as ck

from signerd.errors import Fault, Refusal
from signerd_key_pkcs11.failures import (
    LOST,
    PIN_REJECTED,
    PIN_UNJUDGED,
    fault,
    forbidden,
    not_found,
    translated,
    unavailable,
)


@pytest.mark.parametrize(
    ("exc", "code", "reason"),
    [
        (ck.SessionHandleInvalid(), "key.backend_unavailable", "token_lost"),
        (ck.DeviceRemoved(), "key.backend_unavailable", "token_lost"),
        (ck.ObjectHandleInvalid(), "key.backend_unavailable", "token_lost"),
        (ck.TokenNotPresent(), "key.backend_unavailable", "token_lost"),
        (ck.SessionCount(), "key.backend_unavailable", "token_busy"),
        (ck.DeviceMemory(), "key.backend_unavailable", "token_busy"),
        (ck.PinIncorrect(), "key.backend_fault", "pin_incorrect"),
        (ck.PinLenRange(), "key.backend_fault", "pin_incorrect"),
        (ck.PinLocked(), "key.backend_fault", "pin_locked"),
        (ck.PinExpired(), "key.backend_fault", "pin_expired"),
        (ck.UserPinNotInitialized(), "key.backend_fault", "pin_not_initialised"),
        (ck.MechanismInvalid(), "key.algorithm_refused", "mechanism_refused"),
        (ck.MechanismParamInvalid(), "key.algorithm_refused", "mechanism_refused"),
        (ck.GeneralError(), "key.backend_fault", "module_failed"),
        (ck.PKCS11Error("unmapped"), "key.backend_fault", "module_failed"),
    ],
)
def test_each_return_code_is_a_key_error_and_names_itself_to_the_operator_alone(
    exc: ck.PKCS11Error, code: str, reason: str
) -> None:
    error = translated(exc, "signing")
    assert (error.code, error.reason) == (code, reason)
    assert f"signing: {type(exc).__name__}" in str(error)
    assert type(exc).__name__ not in error.public


def test_a_pin_that_was_judged_is_never_taken_for_one_that_was_not() -> None:
    assert not set(PIN_REJECTED) & set(PIN_UNJUDGED)
    assert not set(PIN_REJECTED) & set(LOST)
    assert ck.DeviceRemoved not in PIN_UNJUDGED, "the token may have counted before it was pulled"


def test_what_is_told_to_whom() -> None:
    assert isinstance(fault("r", "path /x"), Fault)
    assert isinstance(forbidden("r", "public", "path /x"), Refusal)
    for error in (fault("r", "path /x"), not_found("r", "path /x"), unavailable("r", "path /x")):
        assert "/x" in str(error)
        assert "/x" not in error.public
