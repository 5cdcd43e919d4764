from pathlib import Path

from bench.ring import fill
from signerd.host.clock import SystemClock
from signerd.sealer import audit, ring
from signerd.sealer.audit import SqliteAuditStore
from signerd.sealer.ring import RingStore
from signerd.sealer.versions import Versions
from signerd.verification.keys import PublicKey


def test_a_filled_ring_is_what_a_sealer_takes(tmp_path: Path) -> None:
    fill(tmp_path / "state", 10)
    log, store = SqliteAuditStore(tmp_path / "state" / audit.FILE_NAME), RingStore(tmp_path / "state" / ring.FILE_NAME)
    try:
        versions = Versions(store, log, SystemClock())
        entries = list(versions.entries())
        assert len(entries) == log.size == len(store.rows()) == 10, "nothing had to be restored"
        assert not [entry for entry in entries if versions.unlogged(entry)]
        assert {PublicKey.from_spki(entry.spki).keyid for entry in entries} == {entry.keyid for entry in entries}
        assert [entry.version for entry in versions.of("file:kept-000001")] == [1, 2, 3, 4]
    finally:
        log.close()
        store.close()
