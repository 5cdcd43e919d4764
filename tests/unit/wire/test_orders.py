import msgspec
import pytest

from signerd.wire.orders import KeyOrder


def test_an_order_crosses_the_link_as_it_is() -> None:
    order = KeyOrder("revoke", "file:default", "stolen", "uid:1000", 2, cause="compromised", invalid_since=5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(order), type=KeyOrder) == order


@pytest.mark.parametrize("fields", [{"operation": "delete"}, {"cause": "boredom"}, {"version": "1"}])
def test_what_is_no_order_is_refused(fields: dict[str, object]) -> None:
    given: dict[str, object] = {"operation": "revoke", "key": "file:default", "reason": "stolen", **fields}
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(given), type=KeyOrder)
