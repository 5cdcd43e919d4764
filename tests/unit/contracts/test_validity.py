import msgspec
import pytest

from signerd.contracts.validity import check_validity
from signerd.errors import Refusal
from signerd.wire.links import RingEntry

ENTRY = RingEntry("file:a", "local", 1, "sha256:" + "a" * 64, "ES256", b"\x30", "generated", "active", 1000)


@pytest.mark.parametrize(
    ("change", "now", "refused"),
    [
        ({}, 1000, None),
        ({}, 999, ("key.not_yet_valid", "not_yet_valid")),
        ({"status": "pending"}, 1000, ("key.not_yet_valid", "not_yet_valid")),
        ({"status": "retiring"}, 1000, None),
        ({"status": "retired"}, 1000, ("key.expired", "retired")),
        ({"status": "expired"}, 1000, ("key.expired", "expired")),
        ({"expires_at": 2000}, 1999, None),
        ({"expires_at": 2000}, 2000, ("key.expired", "expired")),
        ({"status": "suspended"}, 1000, ("key.suspended", "suspended")),
        ({"status": "revoked"}, 1000, ("key.revoked", "revoked")),
        ({"revoked_at": 2000}, 1999, None),
        ({"revoked_at": 2000}, 2000, ("key.revoked", "revoked")),
        ({"revoked_at": 2000, "expires_at": 1500, "status": "suspended"}, 3000, ("key.revoked", "revoked")),
        ({"status": "from a later version"}, 1000, ("key.suspended", "status_unknown")),
    ],
)
def test_whether_a_key_may_sign_now(change, now, refused):
    entry = msgspec.structs.replace(ENTRY, **change)
    if refused is None:
        assert check_validity(entry, now) is None
        return
    with pytest.raises(Refusal) as caught:
        check_validity(entry, now)
    assert (caught.value.code, caught.value.reason) == refused
