import msgspec

from fakes.services import HeldKey
from signerd.daemon.snapshot import Snapshot
from signerd.wire.links import BackendChanged, BackendState, Opened

OURS = HeldKey.make("file:a", "acme").entry
OTHER = HeldKey.make("file:b", "other").entry


def opened() -> Snapshot:
    snapshot = Snapshot()
    snapshot.opened(Opened((OURS, OTHER), 1, {}, (BackendState("soft", "file", up=True),), "process"))
    return snapshot


def test_another_tenants_key_does_not_exist() -> None:
    snapshot = opened()
    assert snapshot.find("acme", "file:a") == OURS
    assert snapshot.find("acme", "file:b") is None
    assert snapshot.find("nobody", "file:a") is None
    assert list(snapshot.of_tenant("acme")) == [OURS]
    assert list(snapshot.of_tenant("nobody")) == []


def test_a_new_ring_replaces_the_old_one_whole() -> None:
    snapshot = opened()
    newer = msgspec.structs.replace(OURS, version=2, status="suspended")
    snapshot.take_ring([newer])
    assert snapshot.find("acme", "file:a") == newer
    assert snapshot.find("other", "file:b") is None


def test_one_backend_changes_alone() -> None:
    snapshot = opened()
    snapshot.take_backend(BackendChanged(BackendState("hsm", "pkcs11", up=True)))
    snapshot.take_backend(BackendChanged(BackendState("soft", "file", up=False)))
    assert {name: state.up for name, state in snapshot.backends.items()} == {"soft": False, "hsm": True}
