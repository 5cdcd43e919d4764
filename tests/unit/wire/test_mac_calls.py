import msgspec
import pytest

from signerd.wire.mac_calls import CheckHmacParams, CheckHmacResult, HmacParams, HmacResult
from signerd.wire.params import Descriptor


@pytest.mark.parametrize(
    "value",
    [
        HmacParams("hmac:k", "HMAC-SHA256", b"x"),
        HmacParams("hmac:k", "HMAC-SHA256", Descriptor(0, 9)),
        HmacResult(b"m", "sha256:ab"),
        CheckHmacParams("hmac:k", "HMAC-SHA256", b"x", bytes(64)),
        CheckHmacResult(valid=False, keyid="sha256:ab"),
    ],
)
def test_they_cross(value: msgspec.Struct) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=type(value)) == value


def test_no_mac_is_longer_than_the_longest() -> None:
    value = CheckHmacParams("hmac:k", "HMAC-SHA256", b"x", bytes(65))
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=CheckHmacParams)
