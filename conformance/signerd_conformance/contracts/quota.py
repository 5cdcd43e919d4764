"""Contract of quota stores."""

import inspect
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import trio

from signerd.contracts.services import Charge, QuotaStore, Remaining
from signerd.errors import Refusal, SignerdError
from signerd_conformance.contracts.plugin import PluginContract

__all__ = ["QuotaStoreContract"]

T = TypeVar("T")

DAY_S: Final = 86_400
NEVER: Final = 1e-6
"""A rate per second that brings nothing back while a test runs."""


class QuotaStoreContract(PluginContract):
    """A subclass needs nothing but ``plugin``, and settings. Every case is one event loop, and tenants of its own."""

    hook = "signerd_quota_stores"

    def store(self) -> QuotaStore:
        """Return the store that the plugin brings: another object at each call."""
        (one,) = self.providers()
        assert isinstance(one, QuotaStore), f"{type(one).__name__} is no QuotaStore"
        assert not isinstance(one, type), "a class where an instance must be"
        return one

    def test_a_charge_is_admitted_and_told_what_is_left(self) -> None:
        """Numbers where the plan has the limit, None where it has none."""

        async def case(asked: "_Asked") -> None:
            left = await asked.admitted(_charge(concurrency=3))
            assert left == Remaining(2), f"{left!r} after one of three slots"
            left = await asked.admitted(_charge(concurrency=3, rate=NEVER, burst=5, daily=10))
            assert left == Remaining(2, 4, 9), f"{left!r} after one of 3 slots, of a burst of 5 and of 10 a day"

        self._run(case)

    def test_every_charge_of_an_array_has_its_own_answer(self) -> None:
        """In the order of the charges; a refusal refuses none of the others."""

        async def case(asked: "_Asked") -> None:
            one, other = _charge(), _charge()
            answers = await asked.admit_many((one, one, other))
            assert [type(answer) for answer in answers] == [Remaining, Refusal, Remaining], f"{answers!r}"
            assert await asked.admit_many(()) == (), "an answer to no charge"

        self._run(case)

    def test_slots_are_bounded_and_come_back(self) -> None:
        """``quota.concurrency`` while all are held, whether what they were for was signed or not."""

        async def case(asked: "_Asked") -> None:
            two = _charge(concurrency=2)
            await asked.admitted(two)
            await asked.admitted(two)
            for signed in (True, False):
                await asked.refused("quota.concurrency", two)
                await asked.release(two, signed=signed)
                await asked.admitted(two)
            await asked.release(two, two, signed=True)
            assert (await asked.admitted(two)).concurrency == 1, "a slot is lost"

        self._run(case)

    def test_the_rate_is_charged(self) -> None:
        """``quota.rate`` after the burst; giving slots back brings no rate back."""

        async def case(asked: "_Asked") -> None:
            slow = _charge(concurrency=10, rate=NEVER, burst=2)
            for _ in range(2):
                await asked.admitted(slow)
                await asked.release(slow, signed=False)
            await asked.refused("quota.rate", slow)
            await asked.refused("quota.rate", slow)

        self._run(case)

    def test_the_rate_comes_back_with_time(self) -> None:
        """As many as the rate says, a moment later."""

        async def case(asked: "_Asked") -> None:
            quick = _charge(concurrency=10, rate=20.0, burst=1)
            await asked.admitted(quick)
            deadline = time.monotonic() + 10
            while isinstance((await asked.admit_many((quick,)))[0], Refusal):
                assert time.monotonic() < deadline, "refused for ten seconds at a rate of 20 a second"
                await trio.sleep(0.01)

        self._run(case)

    def test_a_refusal_takes_nothing(self) -> None:
        """Neither slot nor rate nor a count."""

        async def case(asked: "_Asked") -> None:
            tenant = _tenant()
            slow = _charge(tenant, concurrency=2, rate=NEVER, burst=1, daily=2)
            await asked.admitted(slow)
            await asked.refused("quota.rate", slow)
            await asked.admitted(_charge(tenant, concurrency=2, daily=2))  # the second slot, and the second of the day

            full = _charge(concurrency=1, rate=NEVER, burst=2)
            await asked.admitted(full)
            await asked.refused("quota.concurrency", full)
            await asked.release(full, signed=False)
            await asked.admitted(full)  # the second of the burst

        self._run(case)

    def test_the_day_counts_what_was_signed_and_what_is_being_signed(self) -> None:
        """``quota.daily``; what came to nothing is not counted."""

        async def case(asked: "_Asked") -> None:
            daily = _charge(concurrency=10, daily=2)
            for _ in range(3):
                await asked.admitted(daily)
                await asked.release(daily, signed=False)
            await asked.admitted(daily)
            await asked.admitted(daily)
            await asked.refused("quota.daily", daily)
            await asked.release(daily, daily, signed=True)
            await asked.refused("quota.daily", daily)

        self._run(case, of_a_day=True)

    def test_the_days_counts_are_taken_and_never_lowered(self) -> None:
        """Those of another day are not today's; a day that comes again counts once."""

        async def case(asked: "_Asked") -> None:
            day = int(time.time()) // DAY_S
            daily = _charge(concurrency=10, daily=4)
            await asked.seed(day - 1, {daily.tenant: 4})
            assert (await asked.admitted(daily)).daily == 3, "the count of yesterday"
            await asked.release(daily, signed=False)
            await asked.seed(day, {daily.tenant: 2, _tenant(): 9})
            await asked.admitted(daily)
            await asked.release(daily, signed=True)
            await asked.seed(day, {daily.tenant: 2})
            assert (await asked.admitted(daily)).daily == 0, "a count of 2, 1 signed, 1 being signed, of 4"
            await asked.refused("quota.daily", daily)

        self._run(case, of_a_day=True)

    def test_tenants_are_apart(self) -> None:
        """What one has used up is there for the other."""

        async def case(asked: "_Asked") -> None:
            one, other = (_charge(concurrency=1, rate=NEVER, burst=1, daily=1) for _ in range(2))
            await asked.admitted(one)
            await asked.admitted(other)
            await asked.release(one, signed=True)
            await asked.release(other, signed=True)
            await asked.refused("quota.", one)

        self._run(case, of_a_day=True)

    def test_a_plan_that_changes_takes_slots_and_count_over(self) -> None:
        """They are the tenant's: another plan is no fresh start."""

        async def case(asked: "_Asked") -> None:
            tenant = _tenant()
            await asked.admitted(_charge(tenant, concurrency=2, daily=2))
            await asked.refused("quota.concurrency", _charge(tenant, plan="other", concurrency=1))
            await asked.refused("quota.daily", _charge(tenant, plan="other", concurrency=9, daily=1))

        self._run(case, of_a_day=True)

    def test_an_admission_that_is_cancelled_holds_nothing(self) -> None:
        """The daemon cancels one that takes too long, and knows of no slot then."""

        async def case(asked: "_Asked") -> None:
            one = _charge(concurrency=1)
            # At the first wait, and at whatever comes some turns later.
            for turns in range(6):
                taken = await asked.cancelled(one, turns)
                if taken is not None:
                    await asked.release(one, signed=False)
            await asked.admitted(one)

        self._run(case)

    def _run(self, case: Callable[["_Asked"], Awaitable[None]], *, of_a_day: bool = False) -> None:
        async def run() -> None:
            while True:
                day = int(time.time()) // DAY_S
                try:
                    await case(_Asked(self.store()))
                except AssertionError:
                    if not of_a_day or day == int(time.time()) // DAY_S:
                        raise
                else:
                    return  # else midnight came in between, and another day is asked

        trio.run(run)


def _charge(
    tenant: str | None = None,
    *,
    plan: str = "plan",
    concurrency: int = 1,
    rate: float | None = None,
    burst: int = 1,
    daily: int | None = None,
) -> Charge:
    """Return a charge, of a tenant that nobody has named before unless one is given."""
    return Charge(tenant or _tenant(), plan, rate, burst, daily, concurrency)


def _tenant() -> str:
    return f"conformance-{secrets.token_hex(8)}"


class _Asked:
    """A store that is waited for where it has to wait, and whose answers have the types of the contract."""

    def __init__(self, store: QuotaStore) -> None:
        self._store = store

    async def admit_many(self, charges: Sequence[Charge]) -> tuple[Remaining | SignerdError, ...]:
        answers = await _answer(self._store.admit_many(charges))
        assert isinstance(answers, list | tuple), f"{answers!r} where a list of answers must be"
        assert len(answers) == len(charges), f"{len(answers)} answers to {len(charges)} charges"
        for answer in answers:
            assert isinstance(answer, Remaining | Refusal), f"{answer!r} is neither Remaining nor a refusal"
            if isinstance(answer, Refusal):
                assert answer.code.startswith("quota."), f"{answer.code} and not quota.*"
                numbers = [answer.details.get(name) for name in ("limit", "remaining", "reset_at")]
                assert all(isinstance(number, int) for number in numbers), "not limit, remaining and reset_at"
        return tuple(answers)

    async def admitted(self, one: Charge) -> Remaining:
        (answer,) = await self.admit_many((one,))
        assert isinstance(answer, Remaining), f"{answer} where there is room"
        for has, left in ((True, answer.concurrency), (one.rate, answer.rate), (one.daily, answer.daily)):
            assert (left is None) == (has is None), f"{answer!r} for {one!r}"
            assert left is None or left >= 0, f"{answer!r}"
        return answer

    async def refused(self, code: str, one: Charge) -> None:
        (answer,) = await self.admit_many((one,))
        assert isinstance(answer, Refusal), f"{answer!r} where {code} must be"
        assert answer.code.startswith(code), f"{answer.code} where {code} must be"

    async def release(self, *charges: Charge, signed: bool) -> None:
        call: Any = self._store.release_many
        said = await _answer(call(charges, signed=signed))
        assert said is None, f"release_many returned {said!r}"

    async def seed(self, day: int, counts: dict[str, int]) -> None:
        call: Any = self._store.seed
        said = await _answer(call(day, counts))
        assert said is None, f"seed returned {said!r}"

    async def cancelled(self, one: Charge, turns: int) -> Remaining | None:
        """Ask, and cancel after so many turns of the loop; return the slot that came nevertheless."""
        taken: list[Remaining] = []

        async def ask() -> None:
            (answer,) = await self.admit_many((one,))
            assert isinstance(answer, Remaining), f"{answer} after an admission that was cancelled"
            taken.append(answer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        return taken[0] if taken else None


async def _answer(said: T | Awaitable[T]) -> T:
    if inspect.isawaitable(said):
        awaited: T = await said
        return awaited
    return said
