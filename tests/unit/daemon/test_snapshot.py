import msgspec
import pytest

from fakes.services import HeldKey
from signerd.contracts.validity import UNLOGGED
from signerd.daemon.snapshot import Snapshot
from signerd.errors import Fault
from signerd.host.clock import boot_id
from signerd.wire.backends import BackendChanged, BackendState
from signerd.wire.links import Opened
from signerd.wire.ring import Grant, RingEntry
from signerd.wire.worker_calls import CallError

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


def test_a_version_is_found_by_its_id_within_the_tenant() -> None:
    snapshot = opened()
    assert snapshot.find_version("acme", OURS.keyid) == OURS
    assert snapshot.find_version("other", OURS.keyid) is None
    assert snapshot.find_version("acme", "") is None
    snapshot.take_ring([msgspec.structs.replace(OURS, status=UNLOGGED)])
    assert snapshot.find_version("acme", OURS.keyid) is None


def version(number: int, status: str) -> RingEntry:
    return msgspec.structs.replace(OURS, version=number, status=status)


def test_what_has_changed_is_taken_and_the_rest_stays() -> None:
    snapshot = opened()
    assert [entry.version for entry in snapshot.of_tenant("acme")] == [1]
    snapshot.take_ring([version(2, "active"), version(1, "retiring")])
    assert snapshot.find("acme", "file:a") == version(2, "active")
    assert list(snapshot.of_tenant("acme")) == [version(1, "retiring"), version(2, "active")]
    assert snapshot.find("other", "file:b") == OTHER


@pytest.mark.parametrize("status", ["revoked", "suspended", "retired"])
def test_a_reference_never_means_a_version_that_was_rotated_away(status: str) -> None:
    snapshot = opened()
    snapshot.take_ring([version(1, "retiring"), version(2, status)])
    assert snapshot.find("acme", "file:a") == version(2, status)


def test_opened_replaces_the_ring_by_what_came_with_and_before_it() -> None:
    snapshot = opened()
    snapshot.take_early([version(1, "retiring")])
    assert snapshot.find("acme", "file:a") == OURS, "not before it is complete"
    snapshot.opened(Opened((version(2, "active"),), 1, {}, (), "process"))
    assert list(snapshot.of_tenant("acme")) == [version(1, "retiring"), version(2, "active")]
    assert snapshot.find("other", "file:b") is None
    snapshot.opened(Opened((), 1, {}, (), "process"))
    assert list(snapshot.of_tenant("acme")) == []


def test_why_a_key_is_absent_is_said_until_the_sealer_starts_anew() -> None:
    snapshot = opened()
    assert snapshot.why_absent("file:b") is None
    snapshot.absent = {"file:b": CallError("key.backend_unavailable", "token_absent", "not there", "slot 3")}
    why = snapshot.why_absent("file:b")
    assert isinstance(why, Fault)
    assert str(why) == "key.backend_unavailable (token_absent): slot 3"
    snapshot.opened(Opened((), 1, {}, (), "process"))
    assert snapshot.why_absent("file:b") is None


def test_one_backend_changes_alone() -> None:
    snapshot = opened()
    snapshot.take_backend(BackendChanged(BackendState("hsm", "pkcs11", up=True)))
    snapshot.take_backend(BackendChanged(BackendState("soft", "file", up=False)))
    assert {name: state.up for name, state in snapshot.backends.items()} == {"soft": False, "hsm": True}


def test_exceptions_are_those_of_the_tenant_and_the_digest() -> None:
    snapshot = Snapshot()
    grants = (
        Grant("1", "bypass", "gold", 100, "acme", boot=boot_id(), until_ms=2000),
        Grant("2", "release", "sha256:a", 100, "acme", "2026.1"),
        Grant("3", "release", "sha256:b", 100),
    )
    snapshot.opened(Opened((), 1, {}, (), "process", grants))
    assert snapshot.bypass("acme", 99, 1.9) is grants[0]
    assert snapshot.bypass("acme", 99, 2.0) is None
    assert snapshot.bypass("other", 99, 1.0) is None
    assert snapshot.approved_release("sha256:a", "acme", 99, 1.0) is grants[1]
    assert snapshot.approved_release("sha256:a", "other", 99, 1.0) is None
    assert snapshot.approved_release("sha256:b", "other", 99, 1.0) is grants[2]
    assert snapshot.approved_release("sha256:b", "other", 100, 1.0) is None
    assert snapshot.approved_release("gold", "acme", 99, 1.0) is None
