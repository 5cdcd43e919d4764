import msgspec
import pytest

from signerd.host.config_approvals import Approvals


def test_suspending_never_waits_so_it_cannot_be_made_to():
    assert msgspec.convert({"operations": {"keys.revoke": 2}}, Approvals).operations == {"keys.revoke": 2}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"operations": {"keys.suspend": 2}}, Approvals)


@pytest.mark.parametrize("life", [59, 7 * 86_400 + 1])
def test_approvals_live_a_minute_to_a_week(life):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"life_s": life}, Approvals)
