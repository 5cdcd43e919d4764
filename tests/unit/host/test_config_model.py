import pytest

from signerd.host.config_limits import Limits
from signerd.host.config_model import Backend


@pytest.mark.parametrize(("kind", "seconds"), [("software", 1), ("hsm", 10), ("network", 25)])
def test_the_deadline_of_a_call_follows_the_kind_of_backend_unless_it_is_set(kind, seconds):
    assert Backend("b", "file", "none", kind=kind).deadline_s(Limits()) == seconds
    assert Backend("b", "file", "none", kind=kind, call_deadline_s=3.5).deadline_s(Limits()) == 3.5
