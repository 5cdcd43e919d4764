"""A provider under its guard: what the stages call instead of the plugin itself."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from signerd.contracts.providers import Maybe
from signerd.errors import PluginError
from signerd.pipeline.waits import provider

__all__ = ["Guard", "Guarded", "ask"]

P = TypeVar("P")
T = TypeVar("T")


class Guard(Protocol):
    """The host's one error boundary (``signerd.host.guard``).

    Refusals and faults pass through; a foreign exception, a result of another type and an overrun deadline
    arrive as ``PluginError kind(name)``.
    """

    def __call__(self, method: Callable[..., object], expected: type | tuple[type, ...], *args: object) -> object:
        """Call ``method``; return its answer, of ``expected``, or the awaitable that it gave instead."""
        ...

    def now(self, method: Callable[..., object], expected: type[T], *args: object) -> T:
        """Call ``method`` where the contract knows no awaitable: one left unawaited has judged nothing."""
        ...

    def broken(self, said: str) -> PluginError:
        """Return the error of an answer that is of its type and not as the contract says."""
        ...

    def awaited(self, awaitable: Awaitable[object], expected: type | tuple[type, ...]) -> Awaitable[object]:
        """Return an awaitable under the same rules, and within the provider's deadline."""


@dataclass(frozen=True, slots=True)
class Guarded(Generic[P]):
    """A provider and the guard through which it is called."""

    provider: P
    guard: Guard


async def ask(
    guarded: Guarded[P], method: Callable[..., Maybe[T]], expected: type[T] | tuple[type, ...], *args: object
) -> T:
    """Return the provider's answer: at once where it has it, else after a wait outside the story."""
    answer = guarded.guard(method, expected, *args)
    if isinstance(answer, Awaitable):
        answer = await provider(guarded.guard.awaited(answer, expected))
    return cast("T", answer)
