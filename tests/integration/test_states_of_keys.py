"""The whole life of keys, in any order of orders, failures and restarts: what must hold whatever happened."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fakes.life import KEYS, Keys
from signerd.contracts.validity import status_at
from signerd.daemon.snapshot import Snapshot
from signerd.errors import SignerdError
from signerd.sealer import ring
from signerd.wire.links import Opened
from signerd.wire.ring import RingEntry

SIGNING = ("active", "retiring")
key = st.sampled_from(KEYS)
version = st.integers(0, 3)
overlap = st.sampled_from([0, 1, 3600])


class LifeOfKeys(RuleBasedStateMachine):
    """Two references, the real log, ring and key files, and a front end's copy that hears of each change."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="signerd-life-"))
        self.keys = Keys(self.folder)
        self.snapshot = Snapshot()
        self.opened()
        self.revoked: set[str] = set()
        self.compromised: set[str] = set()
        self.suspended: set[str] = set()
        self.ended: set[str] = set()
        self.kept: Path | None = None

    def teardown(self) -> None:
        self.keys.close()
        shutil.rmtree(self.folder)

    def opened(self) -> None:
        self.snapshot.opened(Opened(self.keys.ring.snapshot(), 0, {}, (), "process"))

    def order(self, operation: Any, reference: str, **fields: Any) -> tuple[RingEntry, ...]:
        """Order something; what it changed. The front end hears of just that."""
        before = self.keys.life.versions()
        end = self.keys.order(operation, reference, **fields)
        self.snapshot.take_ring(self.keys.ring.changes())
        if isinstance(end, SignerdError):
            assert self.keys.life.versions() == before, "a refusal has changed something"
            return ()
        return end

    @rule(reference=key, algorithm=st.sampled_from(["ES256", "Ed25519", "made up"]))
    def generate(self, reference: str, algorithm: str) -> None:
        had = self.keys.life.versions(reference)
        made = self.order("generate", reference, algorithm=algorithm)
        assert not (had and made)

    @rule(reference=key, overlap_s=overlap)
    def rotate(self, reference: str, overlap_s: int) -> None:
        known = {entry.keyid for entry in self.keys.life.versions()}
        changes = self.order("rotate", reference, overlap_s=overlap_s)
        if changes:
            assert changes[0].keyid not in known
            assert changes[0].version == max(entry.version for entry in self.keys.life.versions(reference))

    @rule(reference=key, number=version)
    def suspend(self, reference: str, number: int) -> None:
        self.suspended |= {entry.keyid for entry in self.order("suspend", reference, version=number)}

    @rule(reference=key, number=version)
    def resume(self, reference: str, number: int) -> None:
        for entry in self.order("resume", reference, version=number):
            assert entry.keyid in self.suspended
            self.suspended.discard(entry.keyid)

    @rule(reference=key, number=version, cause=st.sampled_from(["", "superseded", "compromised"]))
    def revoke(self, reference: str, number: int, cause: str) -> None:
        before = {entry.keyid: entry for entry in self.keys.life.versions(reference)}
        changes = self.order("revoke", reference, version=number, cause=cause)
        for entry in changes:
            was = before[entry.keyid]
            if was.status == "revoked":
                assert (was.cause, entry.cause) in {("unspecified", "compromised"), ("superseded", "compromised")}
                assert entry.revoked_at == was.revoked_at
        self.compromised |= {entry.keyid for entry in changes if cause == "compromised"}
        self.revoked |= {entry.keyid for entry in changes}
        self.suspended -= self.revoked

    @rule(reference=key, number=version)
    def retire(self, reference: str, number: int) -> None:
        for entry in self.order("retire", reference, version=number):
            self.ended.add(entry.keyid)
            self.suspended.discard(entry.keyid)

    @rule(reference=key)
    def rotate_while_the_backend_is_down(self, reference: str) -> None:
        self.keys.backend.up = False
        assert not self.order("rotate", reference)
        self.keys.backend.up = True

    @rule(seconds=st.sampled_from([0.001, 1.0, 7200.0]))
    def time_passes(self, seconds: float) -> None:
        self.keys.clock.move(seconds)

    @rule()
    def restart(self) -> None:
        before, history = self.keys.life.versions(), self.keys.life.history()
        self.keys.restart()
        assert self.keys.life.versions() == before
        assert self.keys.life.history() == history
        self.opened()

    @rule()
    def keep_a_copy(self) -> None:
        self.keys.close()
        self.kept = self.folder / "kept"
        shutil.copy(self.folder / ring.FILE_NAME, self.kept)
        self.keys.open()
        self.opened()

    @precondition(lambda self: self.kept is not None)
    @rule()
    def put_the_old_copy_back(self) -> None:
        assert self.kept is not None
        before = self.keys.life.versions()
        self.keys.close()
        for suffix in ("-wal", "-shm"):
            (self.folder / (ring.FILE_NAME + suffix)).unlink(missing_ok=True)
        shutil.copy(self.kept, self.folder / ring.FILE_NAME)
        self.keys.open()
        assert self.keys.life.versions() == before
        self.opened()

    def status(self, entry: RingEntry) -> str:
        return status_at(self.keys.ring.pins[entry.keyid].entry, self.keys.clock.now_ms())

    @invariant()
    def no_reference_has_two_active_versions(self) -> None:
        for reference in KEYS:
            active = [entry for entry in self.keys.life.versions(reference) if self.status(entry) == "active"]
            assert len(active) <= 1
            found = self.snapshot.find("local", reference)
            newest = self.keys.life.versions(reference)[-1:]
            assert [found] == (active or list(newest) or [None])

    @invariant()
    def what_has_ended_signs_never_again(self) -> None:
        for entry in self.keys.life.versions():
            status = self.status(entry)
            if entry.keyid in self.revoked:
                assert status == "revoked"
                assert (entry.cause == "compromised") == (entry.keyid in self.compromised)
                assert (entry.invalid_since > 0) == (entry.keyid in self.compromised)
            elif entry.keyid in self.ended or self.keys.clock.now_ms() >= entry.retire_at > 0:
                assert status not in SIGNING
                self.ended.add(entry.keyid)
            elif entry.keyid in self.suspended:
                assert status == "suspended", "only resume lifts a suspension"

    @invariant()
    def what_may_sign_is_what_its_backend_has_under_its_handle(self) -> None:
        for entry in self.keys.life.versions():
            if self.status(entry) in SIGNING:
                assert self.keys.ring.pins[entry.keyid].unfit is None
        handles = [entry.name for entry in self.keys.life.versions()]
        assert len(set(handles)) == len(handles)

    @invariant()
    def the_log_says_what_the_ring_holds(self) -> None:
        told = {(change.entry.key, change.entry.version): change.entry for change in self.keys.life.history()}
        assert sorted(told.values(), key=lambda entry: (entry.key, entry.version)) == self.keys.store.load()
        assert list(self.keys.store.load()) == sorted(
            self.keys.life.versions(), key=lambda entry: (entry.key, entry.version)
        )


TestLifeOfKeys = LifeOfKeys.TestCase
TestLifeOfKeys.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


