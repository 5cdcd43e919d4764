import sqlite3
import stat

import msgspec
import pytest

from signerd.errors import Fault
from signerd.sealer.ring import FILE_NAME, RingStore
from signerd.wire.links import RingEntry

ENTRY = RingEntry(
    "file:default", "local", 1, "sha256:" + "a" * 64, "ES256", b"\x30\x59", "generated", "active", 1000
)


def test_entries_come_back_as_they_went_in_after_a_restart(tmp_path):
    ring = RingStore(tmp_path / FILE_NAME)
    other = msgspec.structs.replace(
        ENTRY, key="file:a", keyid="sha256:" + "b" * 64, expires_at=5, revoked_at=7
    )
    ring.add(ENTRY)
    ring.add(other)
    ring.close()
    again = RingStore(tmp_path / FILE_NAME)
    assert again.load() == [other, ENTRY]
    assert again.entry("file:default") == ENTRY
    assert again.entry("file:none") is None
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("change", [{"keyid": "sha256:" + "b" * 64}, {"key": "file:other"}])
def test_a_key_is_never_replaced_and_no_key_has_two_names(tmp_path, change):
    ring = RingStore(tmp_path / FILE_NAME)
    ring.add(ENTRY)
    with pytest.raises(Fault) as caught:
        ring.add(msgspec.structs.replace(ENTRY, **change))
    assert (caught.value.code, caught.value.reason) == ("internal", "ring_duplicate")
    assert ring.load() == [ENTRY]


def test_a_ring_that_cannot_be_used_is_a_typed_fault(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 500)
    with pytest.raises(Fault) as caught:
        RingStore(tmp_path / FILE_NAME)
    assert caught.value.reason == "ring_corrupt"
    ring = RingStore(tmp_path / "other.sqlite")
    blocker = sqlite3.connect(tmp_path / "other.sqlite", isolation_level=None)
    blocker.execute("DROP TABLE ring")
    for call in (ring.load, lambda: ring.entry("file:x")):
        with pytest.raises(Fault) as caught:
            call()
        assert caught.value.reason == "ring_failed"
