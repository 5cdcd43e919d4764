import msgspec
import pytest

from fakes.services import NEEDS_RELEASE, PEER, HeldKey, request, world
from signerd.daemon.snapshot import Snapshot
from signerd.errors import Refusal
from signerd.pipeline.record import Entry
from signerd.pipeline.services import Bounds


def test_a_record_is_written_to_the_ledger() -> None:
    given = world()
    asked = request()
    scope = given.services.record(asked, PEER)
    assert isinstance(scope, Entry)
    no = Refusal("auth.required", "not_bound", "no")
    with pytest.raises(StopIteration):
        scope.__aexit__(Refusal, no, None).send(None)
    assert [refusal.reason for refusal in given.ledger.refusals] == ["not_bound"]


def test_a_deadline_is_watched_while_its_scope_is_open() -> None:
    given = world()
    with given.services.deadline(request()):
        assert given.deadlines.open == {"id"}
    assert given.deadlines.open == set()


def test_the_fake_ring_finds_what_the_daemons_finds() -> None:
    entry = HeldKey.make("file:acme").entry
    snapshot = Snapshot()
    snapshot.take_ring([entry, msgspec.structs.replace(entry, tenant="other", key="file:other")])
    ring = world(keys=[HeldKey(entry, None)]).services.ring
    for tenant, key in (("acme", "file:acme"), ("acme", "file:other"), ("other", "file:acme"), ("", "")):
        assert ring.find(tenant, key) == snapshot.find(tenant, key)


def test_services_do_not_change() -> None:
    given = world()
    with pytest.raises(AttributeError):
        given.services.bounds = Bounds(1, 1, 1, 1, 1)  # type: ignore[misc]  # that it cannot be set is the test
    assert given.services.catalogue.find("sbom").provider.uri == NEEDS_RELEASE
