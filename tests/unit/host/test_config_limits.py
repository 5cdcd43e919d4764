import msgspec

from signerd.host import config_limits
from signerd.host.config_limits import Limits


def test_each_default_limit_has_a_constant_of_its_name_and_meets_its_own_bounds():
    for name in Limits.__struct_fields__:
        assert getattr(Limits(), name) == getattr(config_limits, name.upper())
    assert msgspec.convert(msgspec.to_builtins(Limits()), Limits) == Limits()
