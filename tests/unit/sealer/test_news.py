from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from fakes.services import FakeClock
from signerd.sealer.admin_leaves import AdminFacts
from signerd.sealer.audit import FILE_NAME, SqliteAuditStore
from signerd.sealer.backends import BackendSpec
from signerd.sealer.grants import Grants
from signerd.sealer.keyring import Keyring
from signerd.sealer.news import ENTRIES_PER_FRAME, News
from signerd.sealer.ring import FILE_NAME as RING_FILE
from signerd.sealer.ring import RingStore
from signerd.sealer.versions import Versions
from signerd.wire.backends import BackendChanged, BackendState
from signerd.wire.links import Opened
from signerd.wire.ring import GrantsChanged, RingChanged, RingEntry

DIGEST = "sha256:" + "ab" * 32


@dataclass
class Worker:
    up: bool
    spec: BackendSpec = field(default_factory=lambda: BackendSpec("soft", "file", 1.0, cast("Any", None)))


class Told:
    """News over a real log and a real ring, with all that was sent."""

    def __init__(self, folder: Path) -> None:
        self.sent: list[msgspec.Struct] = []
        self.clock = FakeClock()
        self.store = SqliteAuditStore(folder / FILE_NAME)
        self.ring_store = RingStore(folder / RING_FILE)
        self.grants = Grants(self.store, self.clock)
        self.ring = Keyring([], Versions(self.ring_store, self.store, self.clock), self.clock)
        self.news = News(self.sent.append, self.ring, self.grants)

    def grant(self) -> None:
        facts = AdminFacts("admin.approve_release", "uid:7", "by hand", ceremony="ab" * 16)
        self.grants.release(DIGEST, "", "", self.clock.now_ms() + 60_000, facts)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path)
    yield made
    made.store.close()
    made.ring_store.close()


def test_a_backend_that_comes_before_opened_is_told_by_it_and_one_after_by_itself(told: Told) -> None:
    told.news.backend(cast("Any", Worker(up=True)))
    assert told.sent == []
    told.news.open(told.store, cast("Any", [Worker(up=False)]), 1)
    told.news.backend(cast("Any", Worker(up=True)))
    assert [type(message) for message in told.sent] == [Opened, BackendChanged]
    assert cast("Opened", told.sent[0]).backends == (BackendState("soft", "file", up=False),)
    assert cast("BackendChanged", told.sent[1]).backend == BackendState("soft", "file", up=True)


def entries(count: int) -> tuple[RingEntry, ...]:
    return tuple(
        RingEntry("file:a", "acme", version, f"sha256:{version:064x}", "ES256", b"spki", "soft", "active", 1)
        for version in range(count)
    )


@pytest.mark.parametrize("count", [0, 1, ENTRIES_PER_FRAME, ENTRIES_PER_FRAME + 1, 3 * ENTRIES_PER_FRAME - 1])
def test_a_ring_larger_than_a_frame_comes_whole_in_its_order_and_ends_with_opened(told, count, monkeypatch) -> None:
    monkeypatch.setattr(told.ring, "snapshot", lambda: entries(count))
    told.news.open(told.store, [], 1)
    *before, opened = told.sent
    assert isinstance(opened, Opened)
    came = [entry for message in before for entry in cast("RingChanged", message).ring] + list(opened.ring)
    assert tuple(came) == entries(count)
    assert all(len(cast("RingChanged", message).ring) <= ENTRIES_PER_FRAME for message in before)


def test_an_exception_is_told_when_it_changes_and_not_again(told: Told) -> None:
    told.news.open(told.store, [], 1)
    told.news.tell()
    assert len(told.sent) == 1
    told.grant()
    told.news.tell()
    told.news.tell()
    assert [type(message) for message in told.sent[1:]] == [GrantsChanged]
    assert [grant.subject for grant in cast("GrantsChanged", told.sent[1]).grants] == [DIGEST]
