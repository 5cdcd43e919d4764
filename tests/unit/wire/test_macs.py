from typing import Any

import msgspec
import pytest
from msgspec import Raw

from signerd.errors import Refusal
from signerd.wire.macs import LONGEST_MAC, HmacCompute, HmacVerify, MacComputed, MacVerified
from signerd.wire.methods import decode_params, decode_result
from signerd.wire.params import Descriptor

ASKED: dict[str, Any] = {"purpose": "signing", "key": "hmac:k", "data": b"x"}


def decoded(method: str, **changes: Any) -> Any:
    return decode_params(method, Raw(msgspec.msgpack.encode({**ASKED, **changes})))


def test_data_comes_inline_or_by_descriptor() -> None:
    assert decoded("hmac.compute") == HmacCompute("signing", "hmac:k", b"x")
    assert decoded("hmac.compute", data={"fd": 0, "size": 9}).data == Descriptor(0, 9)
    assert decoded("hmac.verify", mac=b"m") == HmacVerify("signing", "hmac:k", b"x", b"m")


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"purpose": "payments"}, "request.unsupported", "unknown_value"),
        ({"purpose": None}, "request.malformed", "wrong_type"),
        ({"key": ""}, "request.malformed", "out_of_range"),
        ({"data": "text"}, "request.malformed", "wrong_type"),
        ({"data": None}, "request.malformed", "wrong_type"),
        ({"data": {"fd": 0}}, "request.malformed", "missing_field"),
        ({"data": {"fd": -1, "size": 1}}, "request.malformed", "out_of_range"),
        ({"mac": "hex"}, "request.malformed", "wrong_type"),
        ({"mac": bytes(LONGEST_MAC + 1)}, "request.malformed", "out_of_range"),
        ({"algorithm": "HMAC-SHA256"}, "request.unsupported", "unknown_key"),
    ],
)
def test_what_is_out_of_shape(changes: dict[str, Any], code: str, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        decoded("hmac.verify", **{"mac": b"m", **changes})
    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_results_may_grow() -> None:
    named = {"algorithm": "HMAC-SHA256", "keyid": "k", "audit_id": "id", "later": 1}
    computed = decode_result("hmac.compute", Raw(msgspec.msgpack.encode({"mac": b"m", **named})))
    assert computed == MacComputed(b"m", "HMAC-SHA256", "k", "id")
    verified = decode_result("hmac.verify", Raw(msgspec.msgpack.encode({"valid": True, **named})))
    assert verified == MacVerified(True, "HMAC-SHA256", "k", "id")
