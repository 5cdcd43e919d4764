import itertools
import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.daemon.aggregate import MINUTE_S, MOST_KEYS, NOBODY, SEVERAL, Aggregate
from signerd.errors import CODES
from signerd.wire.links import PeerFacts, RefusedRecord, RequestFacts

NOW = 6000.0
LATER = NOW + MINUTE_S


def ids() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"id{next(numbers)}"


def facts(
    uid: int = 1000, *, tenant: str = "", principal: str = "", method: str = "sign.dsse", pid: int = 7
) -> RequestFacts:
    return RequestFacts(method, PeerFacts(uid, pid), tenant, principal)


def refusal(uid: int = 1000, *, principal: str = "uid:1000", code: str = "release.untrusted") -> RefusedRecord:
    return RefusedRecord("audit1", facts(uid, tenant="local", principal=principal), "refused", code, "unknown")


def total(records: list[RefusedRecord]) -> int:
    return sum([record.count for record in records])


def test_alike_refusals_are_one_record_with_their_count() -> None:
    aggregate = Aggregate(10_000, NOW)
    for _ in range(1000):
        aggregate.count(facts(), "refused", "auth.required", "not_bound")
    aggregate.count(facts(uid=1001), "refused", "auth.required", "not_bound")
    aggregate.count(facts(), "refused", "auth.peer_denied", "foreign_sender")
    assert len(aggregate) == 3
    first, second, third = aggregate.flush(LATER, ids())
    assert (first.audit_id, first.count, first.outcome, first.code, first.reason) == (
        "id0",
        1000,
        "refused",
        "auth.required",
        "not_bound",
    )
    assert first.request == facts()
    assert (second.request.peer.uid, second.count) == (1001, 1)
    assert (third.code, third.count) == ("auth.peer_denied", 1)
    assert len(aggregate) == 0
    assert aggregate.flush(LATER + MINUTE_S, ids()) == []


def test_what_the_counted_do_not_agree_on_is_not_said() -> None:
    aggregate = Aggregate(10_000, NOW)
    aggregate.count(facts(principal="a", method="keys.list"), "refused", "auth.required", "not_bound")
    aggregate.count(facts(principal="b", method="sign.dsse", pid=8), "fault", "auth.required", "other")
    (record,) = aggregate.flush(LATER, ids())
    assert record.request == RequestFacts(SEVERAL, PeerFacts(1000, 0), "", "")
    assert (record.reason, record.outcome, record.count) == (SEVERAL, "fault", 2)


def test_tenants_stay_apart_so_that_each_reads_its_own() -> None:
    aggregate = Aggregate(10_000, NOW)
    aggregate.count(facts(tenant="a"), "refused", "auth.scope_missing", "scope_missing")
    aggregate.count(facts(tenant="b"), "refused", "auth.scope_missing", "scope_missing")
    assert [record.request.tenant for record in aggregate.flush(LATER, ids())] == ["a", "b"]


def test_records_are_given_when_the_minute_is_over_or_early_when_asked() -> None:
    aggregate = Aggregate(10_000, NOW)
    aggregate.count(facts(), "refused", "auth.required", "not_bound")
    assert aggregate.flush(NOW + MINUTE_S - 0.1, ids()) == []
    assert len(aggregate.flush(NOW + 1, ids(), early=True)) == 1
    aggregate.count(facts(), "refused", "auth.required", "not_bound")
    assert len(aggregate.flush(LATER, ids())) == 1


def test_a_bound_principals_refusals_are_recorded_one_by_one_up_to_the_cap() -> None:
    aggregate = Aggregate(10_000, NOW)
    size = len(msgspec.json.encode(refusal()))
    single = 0
    while not aggregate.takes(refusal()):
        single += 1
        assert single * size <= 10_000
    assert single >= 10
    for _ in range(999):
        assert aggregate.takes(refusal())
    assert not aggregate.takes(refusal(uid=1001)), "another uid has its own cap"
    (record,) = aggregate.flush(LATER, ids())
    assert (record.count, record.request.principal, record.code) == (1000, "uid:1000", "release.untrusted")
    assert not aggregate.takes(refusal()), "a new minute"


def test_who_is_not_bound_gets_no_record_of_its_own() -> None:
    aggregate = Aggregate(10_000, NOW)
    assert aggregate.takes(refusal(principal=""))
    (record,) = aggregate.flush(LATER, ids())
    assert record.count == 1


def test_what_is_kept_is_bounded_and_still_counts_everything() -> None:
    aggregate = Aggregate(10_000, NOW)
    for uid in range(3 * MOST_KEYS):
        aggregate.count(facts(uid=uid), "refused", "auth.required", "not_bound")
    assert len(aggregate) <= MOST_KEYS + len(CODES)
    records = aggregate.flush(LATER, ids())
    assert total(records) == 3 * MOST_KEYS
    assert {record.request.peer.uid for record in records if record.count > 1} == {NOBODY}


def test_so_are_the_caps() -> None:
    aggregate = Aggregate(10_000, NOW)
    single = [uid for uid in range(2 * MOST_KEYS) if not aggregate.takes(refusal(uid=uid))]
    assert len(single) == MOST_KEYS
    assert total(aggregate.flush(LATER, ids())) == MOST_KEYS


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["", "a", "b"]),
            st.sampled_from(sorted(CODES)[:4]),
            st.booleans(),
            st.integers(0, 40),
        ),
        max_size=60,
    )
)
def test_every_refusal_is_counted_exactly_once(events: list[tuple[int, str, str, bool, int]]) -> None:
    aggregate = Aggregate(2000, NOW)
    now, single, counted = NOW, 0, 0
    for uid, tenant, code, bound, seconds in events:
        now += seconds
        counted += total(aggregate.flush(now, ids()))
        request = facts(uid, tenant=tenant, principal="p" if bound else "")
        single += not aggregate.takes(RefusedRecord("x", request, "refused", code, "r"))
    counted += total(aggregate.flush(now, ids(), early=True))
    assert single + counted == len(events)


@pytest.mark.parametrize("bound", [True, False])
def test_it_costs_little(bound: bool) -> None:
    aggregate = Aggregate(10_000, NOW)
    start = time.perf_counter()
    for _ in range(20_000):
        aggregate.takes(refusal(principal="p" if bound else ""))
    assert time.perf_counter() - start < 2, "about 0.05 s where nothing else runs"
