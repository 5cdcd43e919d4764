from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, cast

import pytest
import trio

from fakes.services import FakeClock
from signerd.contracts.services import Charge, Remaining
from signerd.errors import Fault, PluginError, Refusal, SignerdError
from signerd.host.guard import Guard
from signerd.pipeline.charging import Charging
from signerd.pipeline.guarded import Guarded
from signerd.pipeline.quota import DAY_MS, MemoryQuotaStore
from signerd.pipeline.waits import ProviderWait

CHARGE = Charge("acme", "plan", None, 1, None, 2)
REFUSED = Refusal("quota.rate", "rate_exceeded", "too fast")


class Store:
    """A store that says what it is told to, at once or later; ``did`` is what it was asked."""

    def __init__(self, admits: object = (Remaining(1),), *, releases: object = None, seeds: object = None) -> None:
        self.admits, self.releases, self.seeds = admits, releases, seeds
        self.waits = False
        self.did: list[object] = []

    def admit_many(self, charges: Sequence[Charge]) -> Any:
        self.did.append(("admit", *charges))
        return self._said(self.admits)

    def release_many(self, charges: Sequence[Charge], *, signed: bool) -> Any:
        self.did.append(("release", *charges, signed))
        return self._said(self.releases)

    def seed(self, day: int, counts: dict[str, int]) -> Any:
        self.did.append(("seed", day, counts))
        return self._said(self.seeds)

    def _said(self, said: object) -> object:
        async def later() -> object:
            await trio.lowlevel.checkpoint()
            return now()

        def now() -> object:
            if isinstance(said, BaseException):
                raise said
            return said

        return later() if self.waits else now()


class Room:
    """A store and all that it was not waited for."""

    def __init__(self, store: Any, *, seconds: float = 10) -> None:
        self.asides: list[Awaitable[object]] = []
        self.charging = Charging(Guarded(store, Guard("quota", "made-up", seconds=seconds)), self.asides.append)

    def admit(self, charge: Charge = CHARGE) -> Remaining:
        return cast("Remaining", run(self.charging.admit(charge)))

    def failed(self) -> list[str]:
        """Run what was put aside; how it fails."""
        asides, told = self.asides[:], []
        self.asides.clear()
        for aside in asides:
            try:
                trio.run(_awaited, aside)
            except SignerdError as error:
                told.append(str(error))
        return told


async def _awaited(awaitable: Awaitable[object]) -> object:
    return await awaitable


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a stage to its end; what it waits for is awaited under trio."""
    step: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731  # replaced below
    while True:
        try:
            wait = step()
        except StopIteration as stop:
            return stop.value
        assert isinstance(wait, ProviderWait)
        try:
            value = trio.run(_awaited, wait.awaitable)
        except SignerdError as error:
            step = lambda error=error: coroutine.throw(error)  # type: ignore[misc]  # noqa: E731
        else:
            step = lambda value=value: coroutine.send(value)  # type: ignore[misc]  # noqa: E731


def test_a_store_in_memory_is_no_wait_at_all() -> None:
    here = Room(MemoryQuotaStore(FakeClock()))
    with pytest.raises(StopIteration) as ended:
        here.charging.admit(CHARGE).send(None)
    assert ended.value.value == Remaining(1)
    here.charging.release(CHARGE, signed=True)
    assert here.charging.peek(CHARGE) == Remaining(2)
    assert here.asides == []


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("answer", [(Remaining(5, 4, 3),), [Remaining(5, 4, 3)]])
def test_a_store_may_answer_at_once_or_later(waits: bool, answer: object) -> None:
    store = Store(answer)
    store.waits = waits
    here = Room(store)
    assert here.admit() == Remaining(5, 4, 3)
    here.charging.release(CHARGE, signed=True)
    assert here.failed() == []
    assert store.did == [("admit", CHARGE), ("release", CHARGE, True)]
    assert here.charging.peek(CHARGE) is None


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("admits", "code", "reason"),
    [
        ([REFUSED], "quota.rate", "rate_exceeded"),
        (REFUSED, "quota.rate", "rate_exceeded"),
        (Fault("internal", "redis_down", "no"), "internal", "redis_down"),
        (KeyError("x"), "internal", "plugin_failed"),
        (SystemExit(1), "internal", "plugin_failed"),
        (None, "internal", "plugin_type"),
        (True, "internal", "plugin_type"),
        ({}, "internal", "plugin_type"),
        (Remaining(1), "internal", "plugin_type"),
        ([], "internal", "plugin_answer"),
        ([True], "internal", "plugin_answer"),
        ([None], "internal", "plugin_answer"),
        ([ValueError("x")], "internal", "plugin_answer"),
        ([Remaining(1), Remaining(1)], "internal", "plugin_answer"),
    ],
)
def test_who_is_not_admitted_is_told_a_typed_error(admits: object, code: str, reason: str, waits: bool) -> None:
    store = Store(admits)
    store.waits = waits
    here = Room(store)
    with pytest.raises(SignerdError) as caught:
        here.admit()
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert isinstance(caught.value, PluginError) == reason.startswith("plugin_")
    assert store.did == [("admit", CHARGE)], "nothing is given back that was not taken"
    assert here.asides == []


def test_a_store_that_hangs_has_the_guards_time() -> None:
    class Hangs(Store):
        async def admit_many(self, charges: Sequence[Charge]) -> Any:
            await trio.sleep_forever()

    with pytest.raises(PluginError) as caught:
        Room(Hangs(), seconds=0.01).admit()
    assert (caught.value.code, caught.value.reason) == ("internal", "plugin_deadline")


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("releases", "told"),
    [
        (KeyError("x"), "internal (plugin_failed): quota(made-up): KeyError: 'x'"),
        (5, "internal (plugin_type): quota(made-up): returned int where the contract says NoneType"),
        (Fault("internal", "redis_down", "no", operator="port 6379"), "internal (redis_down): port 6379"),
    ],
)
def test_a_release_that_fails_is_the_operators_alone(releases: object, told: str, waits: bool) -> None:
    store = Store(releases=releases)
    store.waits = waits
    here = Room(store)
    here.admit()
    here.charging.release(CHARGE, signed=True)
    assert here.failed() == [told]


def test_an_answer_that_comes_late_is_given_back() -> None:
    for answer, given_back in ((Remaining(1), True), (REFUSED, False), (True, False)):
        store = Store()
        store.waits = True
        here = Room(store)
        admission = here.charging.admit(CHARGE)
        wait = admission.send(None)
        assert isinstance(wait, ProviderWait)
        assert wait.late is not None
        trio.run(_awaited, wait.awaitable)
        with pytest.raises(Fault):
            admission.throw(Fault("request.deadline", "deadline", "over"))
        store.waits = False
        wait.late([answer])
        assert store.did[1:] == ([("release", CHARGE, False)] if given_back else [])


def test_a_late_fault_gives_nothing_back() -> None:
    store = Store()
    store.waits = True
    admission = Room(store).charging.admit(CHARGE)
    wait = admission.send(None)
    assert wait.late is not None
    trio.run(_awaited, wait.awaitable)
    admission.close()
    wait.late(Fault("internal", "plugin_failed", "no"))
    assert store.did == [("admit", CHARGE)]


def test_the_days_counts_are_there_before_anybody_is_admitted() -> None:
    store = Store(seeds=Fault("internal", "redis_down", "no", operator="port 6379"))
    here = Room(store)
    here.charging.seed(5, {"acme": 3})
    assert here.failed() == ["internal (redis_down): port 6379"]
    with pytest.raises(Fault, match="redis_down"):
        here.admit()
    store.seeds = None
    assert here.admit() == Remaining(1)
    assert here.admit() == Remaining(1)
    seed = ("seed", 5, {"acme": 3})
    assert store.did == [seed, seed, seed, ("admit", CHARGE), ("admit", CHARGE)]


def test_a_store_that_waits_is_seeded_aside_and_those_who_are_earlier_wait_with_it() -> None:
    store = Store()
    store.waits = True
    here = Room(store)
    here.charging.seed(5, {"acme": 3})
    assert here.admit() == Remaining(1)
    seed = ("seed", 5, {"acme": 3})
    assert store.did == [seed, seed, ("admit", CHARGE)]
    assert here.failed() == []
    here.charging.seed(5, {"acme": 4})
    assert here.failed() == []
    assert here.admit() == Remaining(1)
    assert store.did[3:] == [("seed", 5, {"acme": 4}), ("admit", CHARGE)]


def test_the_day_goes_to_the_store_in_memory_at_once() -> None:
    clock = FakeClock()
    here = Room(MemoryQuotaStore(clock))
    here.charging.seed(clock.now_ms() // DAY_MS, {"acme": 3})
    assert here.charging.peek(Charge("acme", "plan", None, 1, 5, 2)) == Remaining(2, daily=2)
