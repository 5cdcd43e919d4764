from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.contracts import plugin
from fakes.services import NOON, FakeClock
from signerd.contracts.services import Charge, Remaining
from signerd.errors import Refusal
from signerd.host.clock import SystemClock
from signerd.pipeline.quota import DAY_MS, MemoryQuotaStore
from signerd_conformance.contracts import QuotaStoreContract

DAY = NOON // DAY_MS
MIDNIGHT = (DAY + 1) * DAY_MS


def charge(
    tenant: str = "acme",
    *,
    rate: float | None = None,
    burst: int = 1,
    daily: int | None = None,
    concurrency: int = 1000,
) -> Charge:
    return Charge(tenant, "plan", rate, burst, daily, concurrency)


def admit(store: MemoryQuotaStore, claim: Charge) -> Remaining | Refusal:
    (outcome,) = store.admit_many([claim])
    assert isinstance(outcome, Remaining | Refusal)
    return outcome


def refused(store: MemoryQuotaStore, claim: Charge) -> Refusal:
    outcome = admit(store, claim)
    assert isinstance(outcome, Refusal)
    return outcome


STEPS = st.lists(st.tuples(st.floats(0, 3, allow_nan=False), st.integers(1, 5)), min_size=1, max_size=60)


@given(rate=st.floats(0.1, 1000), burst=st.integers(1, 50), steps=STEPS)
def test_never_more_than_burst_and_rate_times_time(rate: float, burst: int, steps: Sequence[tuple[float, int]]) -> None:
    clock = FakeClock()
    store = MemoryQuotaStore(clock)
    claim = charge(rate=rate, burst=burst)
    admitted: list[float] = []
    for pause, count in steps:
        clock.advance(pause)
        for _ in range(count):
            if isinstance(admit(store, claim), Remaining):
                admitted.append(clock.seconds)
                store.release_many([claim], signed=False)
    # In every window, not only from the start.
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= burst + rate * (admitted[last] - start) + 1e-3


@given(rate=st.floats(0.1, 1000), burst=st.integers(1, 50), spent=st.integers(0, 80))
def test_who_was_idle_long_enough_has_the_whole_burst(rate: float, burst: int, spent: int) -> None:
    clock = FakeClock()
    store = MemoryQuotaStore(clock)
    claim = charge(rate=rate, burst=burst)
    for _ in range(spent):
        admit(store, claim)
    clock.advance(burst / rate)
    outcomes = [admit(store, claim) for _ in range(burst)]
    assert all(isinstance(outcome, Remaining) for outcome in outcomes)
    assert isinstance(admit(store, claim), Refusal)


@given(rate=st.floats(0.1, 1000), burst=st.integers(1, 50), requests=st.integers(1, 100))
def test_who_keeps_to_the_rate_is_never_refused(rate: float, burst: int, requests: int) -> None:
    clock = FakeClock()
    store = MemoryQuotaStore(clock)
    for _ in range(requests):
        assert isinstance(admit(store, charge(rate=rate, burst=burst)), Remaining)
        clock.advance(1 / rate)


@given(rate=st.floats(0.1, 1000), burst=st.integers(1, 20))
def test_after_the_time_that_a_refusal_names_there_is_room(rate: float, burst: int) -> None:
    clock = FakeClock()
    store = MemoryQuotaStore(clock)
    claim = charge(rate=rate, burst=burst)
    for _ in range(burst):
        admit(store, claim)
    said = refused(store, claim)
    wait_ms = said.retry_after_ms
    assert wait_ms is not None
    assert said.details == {
        "reason": "rate_exceeded",
        "limit": burst,
        "remaining": 0,
        "reset_at": clock.wall_ms + wait_ms,
    }
    assert (said.code, said.retryable) == ("quota.rate", True)
    clock.advance(wait_ms / 1000)
    assert isinstance(admit(store, claim), Remaining)


def test_a_refusal_costs_nothing() -> None:
    clock = FakeClock()
    store = MemoryQuotaStore(clock)
    claim = charge(rate=1.0, burst=2)
    for _ in range(2):
        admit(store, claim)
    for _ in range(100):
        refused(store, claim)
    clock.advance(1)
    assert admit(store, claim) == Remaining(997, rate=0)


def test_the_rate_does_not_look_at_the_wall_clock() -> None:
    clock = FakeClock()
    store = MemoryQuotaStore(clock)
    claim = charge(rate=1.0, burst=1)
    admit(store, claim)
    clock.wall_ms += 3_600_000
    assert refused(store, claim).code == "quota.rate"


def test_what_is_left_of_the_rate() -> None:
    clock = FakeClock()
    store = MemoryQuotaStore(clock)
    claim = charge(rate=10.0, burst=3)
    assert store.peek(claim).rate == 3
    assert [admit(store, claim) for _ in range(3)] == [
        Remaining(999, rate=2),
        Remaining(998, rate=1),
        Remaining(997, rate=0),
    ]
    assert store.peek(claim).rate == 0
    clock.advance(0.25)
    assert store.peek(claim).rate == 2


@given(limit=st.integers(1, 8), steps=st.lists(st.booleans(), max_size=60))
def test_never_more_slots_than_the_plan_has(limit: int, steps: Sequence[bool]) -> None:
    store = MemoryQuotaStore(FakeClock())
    claim = charge(concurrency=limit)
    held = 0
    for take in steps:
        if not take:
            if held:
                store.release_many([claim], signed=True)
                held -= 1
        elif held < limit:
            held += 1
            assert admit(store, claim) == Remaining(limit - held)
        else:
            said = refused(store, claim)
            assert (said.code, said.retryable, said.retry_after_ms) == ("quota.concurrency", True, None)
            assert said.details == {
                "reason": "concurrency_exceeded",
                "limit": limit,
                "remaining": 0,
                "reset_at": 0,
            }


def test_the_day_counts_what_was_signed_and_what_is_being_signed() -> None:
    store = MemoryQuotaStore(FakeClock())
    claim = charge(daily=3)
    assert [admit(store, claim) for _ in range(3)] == [
        Remaining(999, daily=2),
        Remaining(998, daily=1),
        Remaining(997, daily=0),
    ]
    said = refused(store, claim)
    assert (said.code, said.retryable) == ("quota.daily", False)
    assert said.details == {"reason": "daily_exceeded", "limit": 3, "remaining": 0, "reset_at": MIDNIGHT}
    store.release_many([claim], signed=False)
    assert admit(store, claim) == Remaining(997, daily=0)
    store.release_many([claim, claim, claim], signed=True)
    assert refused(store, claim).code == "quota.daily"
    assert store.peek(claim) == Remaining(1000, daily=0)


def test_a_new_day_begins_at_midnight_utc() -> None:
    clock = FakeClock()
    store = MemoryQuotaStore(clock)
    claim = charge(daily=1)
    admit(store, claim)
    store.release_many([claim], signed=True)
    clock.wall_ms = MIDNIGHT - 1
    assert refused(store, claim).code == "quota.daily"
    clock.wall_ms = MIDNIGHT
    assert admit(store, claim) == Remaining(999, daily=0)
    assert refused(store, claim).details["reset_at"] == MIDNIGHT + DAY_MS


def test_what_is_signed_after_midnight_counts_for_the_new_day() -> None:
    clock = FakeClock()
    store = MemoryQuotaStore(clock)
    claim = charge(daily=1)
    admit(store, claim)
    clock.wall_ms = MIDNIGHT
    store.release_many([claim], signed=True)
    assert refused(store, claim).code == "quota.daily"


def test_a_restart_resets_no_day() -> None:
    store = MemoryQuotaStore(FakeClock())
    store.seed(DAY, {"acme": 2})
    assert admit(store, charge(daily=3)) == Remaining(999, daily=0)
    assert refused(store, charge(daily=3)).code == "quota.daily"
    assert admit(store, charge("other", daily=3)) == Remaining(999, daily=2)


def test_the_count_of_another_day_is_not_todays() -> None:
    store = MemoryQuotaStore(FakeClock())
    store.seed(DAY - 1, {"acme": 2})
    assert admit(store, charge(daily=3)) == Remaining(999, daily=2)


def test_a_new_sealers_count_leaves_rate_and_slots_as_they_are() -> None:
    store = MemoryQuotaStore(FakeClock())
    claim = charge(rate=1.0, burst=2, daily=10)
    admit(store, claim)
    store.seed(DAY, {"acme": 5})
    assert store.peek(claim) == Remaining(999, rate=1, daily=4)


def test_a_count_that_comes_again_lowers_nothing() -> None:
    store = MemoryQuotaStore(FakeClock())
    claim = charge(daily=10)
    store.seed(DAY, {"acme": 5})
    admit(store, claim)
    store.release_many([claim], signed=True)
    store.seed(DAY, {"acme": 5})
    assert store.peek(claim) == Remaining(1000, daily=4)


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        (charge(concurrency=0, daily=0, rate=1.0, burst=1), "quota.concurrency"),
        (charge(daily=0, rate=1.0, burst=1), "quota.daily"),
    ],
)
def test_the_rate_is_not_charged_for_what_is_refused_otherwise(claim: Charge, code: str) -> None:
    store = MemoryQuotaStore(FakeClock())
    for _ in range(3):
        assert refused(store, claim).code == code
    assert isinstance(admit(store, charge(rate=1.0, burst=1)), Remaining)


def test_each_charge_of_an_array_stands_alone() -> None:
    store = MemoryQuotaStore(FakeClock())
    outcomes = store.admit_many([charge(concurrency=1), charge(concurrency=1), charge("other", concurrency=1)])
    assert outcomes[0] == outcomes[2] == Remaining(0)
    assert isinstance(outcomes[1], Refusal)


def test_without_limits_nothing_is_refused() -> None:
    store = MemoryQuotaStore(FakeClock())
    assert [admit(store, charge()) for _ in range(1000)][-1] == Remaining(0)


def _by_itself(settings: dict[str, object]) -> MemoryQuotaStore:
    if settings:
        raise ValueError("no settings")
    return MemoryQuotaStore(SystemClock())


class TestContract(QuotaStoreContract):
    """The contract of quota stores, which anybody's must keep to."""

    plugin = plugin("signerd_quota_stores", _by_itself)
