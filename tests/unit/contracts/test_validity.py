import msgspec
import pytest

from signerd.contracts.validity import UNLOGGED, check_validity, in_force, status_at
from signerd.errors import Fault, Refusal
from signerd.wire.ring import Grant, RingEntry

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



def test_a_version_that_no_leaf_backs_signs_at_no_time():
    entry = msgspec.structs.replace(ENTRY, status=UNLOGGED, revoked_at=500)
    with pytest.raises(Fault) as caught:
        check_validity(entry, 1000)
    assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "ring_unlogged")
    assert status_at(entry, 1000) == UNLOGGED


BYPASS = Grant("id", "bypass", "gold", 5000, "acme", boot="this", until_ms=900)


@pytest.mark.parametrize(
    ("grant", "now", "monotonic", "boot", "holds"),
    [
        (BYPASS, 4999, 0.899, "this", True),
        (BYPASS, 5000, 0.1, "this", False),
        (BYPASS, 1, 0.9, "this", False),  # the wall clock was set back
        (BYPASS, 1, 0.1, "another", False),
        (Grant("id", "release", "sha256:x", 5000), 4999, 1e9, "any", True),
        (Grant("id", "release", "sha256:x", 5000), 5000, 0.0, "any", False),
    ],
)
def test_an_exception_ends_by_whichever_clock_comes_first(grant, now, monotonic, boot, holds):
    assert in_force(grant, now, monotonic, boot) is holds
