import msgspec
import pytest

from signerd.errors import Refusal
from signerd.wire.methods import decode_params
from signerd.wire.params import ITEMS_CEILING, KEYS_CEILING, Options, SignBatch


def test_own_options_stand_over_the_defaults_field_by_field() -> None:
    defaults = Options(mode="keyful", keys=("a", "b"), timestamp=True)
    assert Options(keys=("c",), timestamp=False).over(defaults) == Options(
        mode="keyful", keys=("c",), timestamp=False
    )
    assert Options().over(defaults) == defaults
    assert defaults.over(Options()) == defaults


@pytest.mark.parametrize(
    ("method", "params", "field"),
    [
        ("sign.batch", {"items": [0] * (ITEMS_CEILING + 1)}, "items"),
        ("sign.batch", {"items": [], "options": {"keys": ["k"] * (KEYS_CEILING + 1)}}, "options.keys"),
        ("session.bind", {"intermediates": [b""] * 9}, "intermediates"),
    ],
)
def test_long_arrays_are_refused_before_they_are_built(method: str, params: object, field: str) -> None:
    with pytest.raises(Refusal) as caught:
        decode_params(method, msgspec.Raw(msgspec.msgpack.encode(params)))
    assert caught.value.code == "request.too_large"
    assert caught.value.details == {"reason": "too_many", "field": field}


def test_an_array_that_only_claims_to_be_long_allocates_nothing() -> None:
    with pytest.raises(Refusal, match="too_many"):
        decode_params("sign.batch", msgspec.Raw(b"\x81\xa5items\xdd\xff\xff\xff\xff"))


def test_a_batch_of_nothing_has_no_options() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(SignBatch.of([]))) == {"items": []}
