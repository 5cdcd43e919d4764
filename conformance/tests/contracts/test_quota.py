import pytest

from fakes.contracts import failing, plugin
from fakes.flawed_quota import FlawedStore
from signerd_conformance.contracts import QuotaStoreContract

LEFT, ARRAY, SLOTS, RATE, TIME, REFUSAL, DAILY, SEEDED, APART, PLAN, CANCELLED = ALL = (
    "a_charge_is_admitted_and_told_what_is_left",
    "every_charge_of_an_array_has_its_own_answer",
    "slots_are_bounded_and_come_back",
    "the_rate_is_charged",
    "the_rate_comes_back_with_time",
    "a_refusal_takes_nothing",
    "the_day_counts_what_was_signed_and_what_is_being_signed",
    "the_days_counts_are_taken_and_never_lowered",
    "tenants_are_apart",
    "a_plan_that_changes_takes_slots_and_count_over",
    "an_admission_that_is_cancelled_holds_nothing",
)
UNREFUSED = {LEFT, CANCELLED}
"""Cases in which nothing is refused."""


def judged(flaw: str) -> set[str]:
    def introduce(settings: dict[str, object]) -> object:
        if settings:
            raise ValueError("no settings")
        return FlawedStore(flaw)

    return failing(QuotaStoreContract, plugin("signerd_quota_stores", introduce))


@pytest.mark.parametrize(
    ("flaw", "failed"),
    [
        ("none", set()),
        ("waits", set()),
        ("says_nothing_left", {LEFT, SLOTS, RATE, REFUSAL, DAILY, SEEDED, PLAN, CANCELLED}),
        ("first_only", {ARRAY}),
        ("raises", set(ALL) - UNREFUSED),
        ("bool", set(ALL)),
        ("fault", set(ALL) - UNREFUSED),
        ("other_code", set(ALL) - UNREFUSED),
        ("no_details", set(ALL) - UNREFUSED),
        ("no_slots", {LEFT, ARRAY, SLOTS, REFUSAL, PLAN}),
        ("keeps_unsigned", {SLOTS, REFUSAL, DAILY, SEEDED, CANCELLED}),
        ("keeps_signed", {SLOTS}),
        ("release_says", {SLOTS, RATE, REFUSAL, DAILY, SEEDED, APART, CANCELLED}),
        ("no_rate", {LEFT, RATE, REFUSAL}),
        ("rate_back", {RATE}),
        ("refusal_takes_slot", {SLOTS, REFUSAL}),
        ("no_daily", {LEFT, DAILY, SEEDED, PLAN}),
        ("counts_unsigned", {DAILY}),
        ("any_day", {SEEDED}),
        ("seed_adds", {SEEDED}),
        ("seed_lowers", {SEEDED}),
        ("seed_ignored", {SEEDED}),
        ("seed_says", {SEEDED}),
        ("one_tenant", {LEFT, ARRAY, REFUSAL, SEEDED, APART}),
        ("per_plan", {SEEDED, PLAN}),
        ("leaks_on_cancel", {CANCELLED}),
    ],
)
def test_quota_stores(flaw: str, failed: set[str]) -> None:
    # Whether anything is refused while the rate comes back is a matter of the machine's speed.
    assert judged(flaw) - {TIME} == failed - {TIME}


@pytest.mark.parametrize("made", [object(), FlawedStore])
def test_what_is_no_store_fails_everything(made: object) -> None:
    def introduce(settings: dict[str, object]) -> object:
        if settings:
            raise ValueError("no settings")
        return made

    assert failing(QuotaStoreContract, plugin("signerd_quota_stores", introduce)) == set(ALL)


def test_a_rate_that_never_comes_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The case gives it ten seconds of the clock: here they pass at once."""
    ticks = iter(range(0, 10_000, 5))
    monkeypatch.setattr("signerd_conformance.contracts.quota.time.monotonic", lambda: float(next(ticks)))
    assert TIME in judged("slow_rate")
