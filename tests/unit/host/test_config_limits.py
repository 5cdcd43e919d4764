import msgspec
import pytest
from msgspec import UNSET, UnsetType

from signerd.host import config_limits
from signerd.host.config_limits import Limits


def test_each_default_limit_has_a_constant_of_its_name_and_meets_its_own_bounds():
    for name in Limits.__struct_fields__:
        assert getattr(Limits(), name) == getattr(config_limits, name.upper())
    assert msgspec.convert(msgspec.to_builtins(Limits()), Limits) == Limits()


@pytest.mark.parametrize(("asked", "seconds"), [(UNSET, 30), (1500, 1.5), (120_000, 120), (10**9, 120)])
def test_a_request_has_the_time_that_it_asks_for_and_no_more_than_the_longest(asked: int | UnsetType, seconds: float):
    assert Limits().seconds_for(asked) == seconds
