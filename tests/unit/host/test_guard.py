import asyncio
import math
import time
from collections.abc import Awaitable

import pytest
import trio

from signerd.errors import CODES, Fault, PluginError, Refusal
from signerd.host.guard import CODE_OF_KIND, Guard, told


def failing(error: BaseException) -> object:
    raise error


async def sleeping() -> int:
    await trio.sleep_forever()


def guard(seconds: float = 5.0) -> Guard:
    return Guard("entitlement", "acme", seconds=seconds)


def test_the_code_of_each_kind_is_a_fault_so_that_a_defect_fails_closed() -> None:
    assert {CODES[code].kind for code in CODE_OF_KIND.values()} == {"fault"}


def test_a_result_of_the_contracts_type_passes() -> None:
    assert guard()(lambda a, b: a + b, int, 1, 2) == 3
    assert guard()(lambda: None, (int, type(None))) is None
    assert guard().now(str, str, 5) == "5"


@pytest.mark.parametrize(
    "refused",
    [Refusal("entitlement.denied", "no_plan", "no"), Fault("entitlement.unavailable", "down", "no")],
)
def test_refusals_and_faults_pass_untouched(refused: Exception) -> None:
    with pytest.raises(type(refused)) as caught:
        guard()(failing, int, refused)
    assert caught.value is refused


@pytest.mark.parametrize(
    "error",
    [KeyError("token=abc"), RecursionError(), MemoryError(), SystemExit(3), ExceptionGroup("g", [OSError()])],
)
def test_foreign_exceptions_become_plugin_errors_and_their_text_stays_here(error: BaseException) -> None:
    with pytest.raises(PluginError) as caught:
        guard()(failing, int, error)
    assert (caught.value.code, caught.value.reason) == ("entitlement.unavailable", "plugin_failed")
    assert caught.value.plugin == "entitlement(acme)"
    assert type(error).__name__ in str(caught.value)
    assert "token" not in caught.value.public
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), trio.Cancelled])
def test_what_is_nobodys_failure_passes(error: object) -> None:
    raised = KeyboardInterrupt() if error is trio.Cancelled else error
    assert isinstance(raised, BaseException)
    with pytest.raises(type(raised)):
        guard()(failing, int, raised)


@pytest.mark.parametrize("result", [None, True, "text", b"bytes", int])
def test_a_result_of_another_type_is_a_defect(result: object) -> None:
    with pytest.raises(PluginError) as caught:
        guard()(lambda: result, dict)
    assert caught.value.reason == "plugin_type"


def test_where_the_contract_is_synchronous_an_awaitable_is_a_defect() -> None:
    async def later() -> int:
        return 1

    with pytest.raises(PluginError) as caught:
        guard().now(later, int)  # and leaves no coroutine behind that was never awaited
    assert caught.value.reason == "plugin_type"


async def test_an_awaitable_is_awaited_under_the_same_rules() -> None:
    async def later(result: object) -> object:
        await trio.lowlevel.checkpoint()
        if isinstance(result, BaseException):
            raise result
        return result

    async def outcome(result: object) -> object:
        promised = guard()(later, int, result)
        assert isinstance(promised, Awaitable)
        return await guard().awaited(promised, int)

    assert await outcome(5) == 5
    for result, reason in (
        ("5", "plugin_type"),
        (KeyError("x"), "plugin_failed"),
        (SystemExit(1), "plugin_failed"),
    ):
        with pytest.raises(PluginError) as caught:
            await outcome(result)
        assert caught.value.reason == reason
    with pytest.raises(Refusal):
        await outcome(Refusal("entitlement.expired", "expired", "no"))


async def test_an_overrun_deadline_is_a_defect_of_the_plugin(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(PluginError) as caught:
        await guard(seconds=2).awaited(sleeping(), int)
    assert caught.value.reason == "plugin_deadline"
    assert trio.current_time() == pytest.approx(2.0, abs=0.1)


async def test_so_is_one_that_was_overrun_by_swallowing_the_cancellation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def stubborn() -> int:
        with trio.CancelScope(shield=True):
            await trio.sleep(10)
        return 1

    with pytest.raises(PluginError) as caught:
        await guard(seconds=2).awaited(stubborn(), int)
    assert caught.value.reason == "plugin_deadline"


async def test_a_cancel_from_outside_passes(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await guard(seconds=30).awaited(sleeping(), int)
    assert scope.cancelled_caught


async def test_an_awaitable_of_another_event_loop_is_a_defect() -> None:
    async def foreign() -> None:
        await asyncio.sleep(1)

    with pytest.raises(PluginError) as caught:
        await guard().awaited(foreign(), int)
    assert caught.value.reason == "plugin_failed"


def test_told_is_one_printable_short_line_whatever_the_exception_does() -> None:
    class Nasty(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert told(Nasty()) == "Nasty"
    assert told(ValueError("a\nb\x1b[31m")) == "ValueError: a\\nb\\x1b[31m"
    assert len(told(ValueError("x" * 10_000))) == 300


def test_the_overhead_on_the_hot_path_is_small() -> None:
    guarded, method, answer = guard(), math.floor, 1.5
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(2000):
            guarded(method, int, answer)
        best = min(best, (time.perf_counter() - start) / 2000)
    assert best < 5e-6, "about 0.3 µs where nothing else runs; the bound leaves room for a busy machine"


def test_an_answer_that_is_not_as_the_contract_says_names_the_plugin() -> None:
    error = Guard("quota", "redis").broken("two answers to one charge")
    assert (error.code, error.reason, error.public) == ("internal", "plugin_answer", "a component of the signer failed")
    assert str(error) == "internal (plugin_answer): quota(redis): two answers to one charge"
