"""Exceptions for a while: durable by their leaf alone, capped, and ended by the first clock."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fakes.services import FakeClock
from signerd.errors import Fault, Refusal
from signerd.host.clock import boot_id
from signerd.sealer.admin_leaves import AdminFacts
from signerd.sealer.audit import FILE_NAME, SqliteAuditStore
from signerd.sealer.grants import MOST_GRANTS, Grants
from signerd.wire.admin import BYPASS_MOST_MS, RELEASE_MOST_MS

ACT = AdminFacts("admin.bypass", "uid:7", "the licence server is down", ceremony="ab" * 16)
DIGEST = "sha256:" + "ab" * 32


class Bench:
    """Grants over a real log."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.audit = SqliteAuditStore(folder / FILE_NAME)
        self.grants = Grants(self.audit, self.clock)

    def ahead(self, ms: int) -> int:
        return self.clock.now_ms() + ms


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.audit.close()


def test_a_bypass_is_a_leaf_and_lives_in_it(bench: Bench) -> None:
    ends = bench.ahead(60_000)
    made = bench.grants.bypass("acme", "gold", ends, ACT)
    assert (made.kind, made.subject, made.tenant, made.boot, made.expires_at) == (
        "bypass", "gold", "acme", boot_id(), ends,
    )  # fmt: skip
    assert made.until_ms == int(bench.clock.monotonic() * 1000) + 60_000
    (text,) = bench.audit.admin_leaves()
    leaf = json.loads(text)
    assert (leaf["kind"], leaf["by"], leaf["reason"], leaf["ceremony"]) == ("admin", "uid:7", ACT.reason, "ab" * 16)
    assert bench.grants.changed
    assert bench.grants.snapshot() == (made,) == Grants(bench.audit, bench.clock).snapshot()
    assert not bench.grants.changed


def test_a_release_approval_has_no_monotonic_end(bench: Bench) -> None:
    made = bench.grants.release(DIGEST, "", "2026.1", bench.ahead(RELEASE_MOST_MS), ACT)
    assert (made.kind, made.subject, made.version, made.until_ms) == ("release", DIGEST, "2026.1", 0)


@pytest.mark.parametrize(
    ("kind", "ms", "reason"),
    [
        ("bypass", 0, "expires_at"),
        ("bypass", BYPASS_MOST_MS + 1, "over_cap"),
        ("release", -5, "expires_at"),
        ("release", RELEASE_MOST_MS + 1, "over_cap"),
    ],
)
def test_its_end_is_ahead_and_within_the_cap(bench: Bench, kind: str, ms: int, reason: str) -> None:
    grant = {
        "bypass": partial(bench.grants.bypass, "acme", "gold"),
        "release": partial(bench.grants.release, DIGEST, "", ""),
    }[kind]
    with pytest.raises(Refusal, match=reason):
        grant(bench.ahead(ms), ACT)
    assert bench.audit.size == 0
    assert bench.grants.snapshot() == ()


def test_what_has_ended_makes_room(bench: Bench) -> None:
    for _ in range(MOST_GRANTS):
        bench.grants.bypass("acme", "gold", bench.ahead(10_000), ACT)
    with pytest.raises(Refusal, match="too_many"):
        bench.grants.bypass("acme", "gold", bench.ahead(10_000), ACT)
    bench.clock.advance(10)
    assert bench.grants.snapshot() == ()
    assert Grants(bench.audit, bench.clock).snapshot() == ()
    bench.grants.bypass("acme", "gold", bench.ahead(10_000), ACT)


def test_nothing_is_granted_that_is_not_on_record(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(leaves: object) -> int:
        raise Fault("audit.unavailable", "disk_full", "no")

    monkeypatch.setattr(bench.audit, "append_many", full)
    with pytest.raises(Fault, match="disk_full"):
        bench.grants.bypass("acme", "gold", bench.ahead(10_000), ACT)
    assert bench.grants.snapshot() == ()
