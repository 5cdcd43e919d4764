import pytest
from fido2.ctap import CtapError
from fido2.hid import ConnectionFailure

from signerd_key_fido2.failures import translated

ERR = CtapError.ERR


@pytest.mark.parametrize(
    ("exc", "code", "reason"),
    [
        (CtapError(ERR.KEEPALIVE_CANCEL), "key.backend_unavailable", "no_touch"),
        (CtapError(ERR.USER_ACTION_TIMEOUT), "key.backend_unavailable", "no_touch"),
        (CtapError(ERR.ACTION_TIMEOUT), "key.backend_unavailable", "no_touch"),
        (CtapError(ERR.OPERATION_DENIED), "key.backend_unavailable", "denied"),
        (CtapError(ERR.NO_CREDENTIALS), "key.not_found", "not_on_device"),
        (CtapError(ERR.UNSUPPORTED_ALGORITHM), "key.algorithm_refused", "device_algorithm"),
        (CtapError(ERR.PIN_INVALID), "key.backend_fault", "pin_incorrect"),
        (CtapError(ERR.PIN_BLOCKED), "key.backend_fault", "pin_locked"),
        (CtapError(ERR.PIN_AUTH_BLOCKED), "key.backend_fault", "pin_locked"),
        (CtapError(ERR.PIN_NOT_SET), "key.backend_fault", "pin_not_set"),
        (CtapError(ERR.OTHER), "key.backend_fault", "device_refused"),
        (CtapError(0xF3), "key.backend_fault", "device_refused"),
        (TimeoutError(110, "silent"), "key.backend_unavailable", "device_lost"),
        (ConnectionFailure("Wrong channel"), "key.backend_fault", "device_protocol"),
        (ValueError("Non-canonical CBOR"), "key.backend_fault", "device_protocol"),
    ],
    ids=lambda value: str(value)[:32],
)
def test_each_failure_has_a_code_and_a_reason(exc, code, reason):
    told = translated(exc, "asking")
    assert (told.code, told.reason) == (code, reason)
    assert "asking" not in told.public
    if reason == "no_touch":
        assert "nobody has touched" in str(told)
