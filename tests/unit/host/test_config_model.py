import msgspec
import pytest

from signerd.host import config_model
from signerd.host.config_model import Backend, Limits


def test_each_default_limit_has_a_constant_of_its_name_and_meets_its_own_bounds():
    for name in Limits.__struct_fields__:
        assert getattr(Limits(), name) == getattr(config_model, name.upper())
    assert msgspec.convert(msgspec.to_builtins(Limits()), Limits) == Limits()


@pytest.mark.parametrize(("kind", "seconds"), [("software", 1), ("hsm", 10), ("network", 25)])
def test_the_deadline_of_a_call_follows_the_kind_of_backend_unless_it_is_set(kind, seconds):
    assert Backend("b", "file", "none", kind=kind).deadline_s(Limits()) == seconds
    assert Backend("b", "file", "none", kind=kind, call_deadline_s=3.5).deadline_s(Limits()) == 3.5
