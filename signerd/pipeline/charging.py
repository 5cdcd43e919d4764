"""The quota store under its guard: every slot that is taken is given back once, whatever becomes of the story."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, cast

from signerd.contracts.services import Charge, QuotaStore, Remaining
from signerd.errors import SignerdError
from signerd.pipeline.guarded import Guarded, ask
from signerd.pipeline.quota import MemoryQuotaStore
from signerd.pipeline.waits import provider

__all__ = ["Charging"]

_ANSWERS: Final = (list, tuple)
_NOTHING: Final = type(None)
_Counts = tuple[int, dict[str, int]]


class Charging:
    """What the stages ask instead of the store itself.

    ``aside`` runs an awaitable in a task that no story waits for, and tells the operator with what error it ends.
    """

    __slots__ = ("_aside", "_guarded", "_unseeded")

    def __init__(self, guarded: Guarded[QuotaStore], aside: Callable[[Awaitable[object]], None]) -> None:
        self._guarded = guarded
        self._aside = aside
        self._unseeded: _Counts | None = None

    async def admit(self, charge: Charge) -> Remaining:
        """Take a slot and charge the rate; refuses with ``quota.*``, or the store's fault, and then holds nothing.

        A story that is cut short meanwhile leaves the store to answer: only so is it known whether there is a slot to
        be given back. A store that has not taken the day's counts yet is asked to do that first.
        """
        store, guard = self._guarded.provider, self._guarded.guard
        if self._unseeded is not None:
            await self._seed(self._unseeded)
        answer = guard(store.admit_many, _ANSWERS, (charge,))
        if not isinstance(answer, _ANSWERS):
            later = guard.awaited(cast("Awaitable[object]", answer), _ANSWERS)
            answer = await provider(later, partial(self._late, charge))
        return self._only(answer)

    def release(self, charge: Charge, *, signed: bool) -> None:
        """Give a slot back; never waits and never fails: what was signed, was signed."""
        store, guard = self._guarded.provider, self._guarded.guard
        try:
            answer = guard(partial(store.release_many, signed=signed), _NOTHING, (charge,))
        except SignerdError as error:
            self._aside(_failed(error))
            return
        if answer is not None:
            self._aside(guard.awaited(cast("Awaitable[object]", answer), _NOTHING))

    def seed(self, day: int, counts: dict[str, int]) -> None:
        """Bring the store the day's counts; until it has taken them, nobody is admitted."""
        self._unseeded = unseeded = (day, counts)
        store, guard = self._guarded.provider, self._guarded.guard
        try:
            answer = guard(store.seed, _NOTHING, day, counts)
        except SignerdError as error:
            self._aside(_failed(error))
            return
        if answer is None:
            self._unseeded = None
        else:
            self._aside(self._seeded(guard.awaited(cast("Awaitable[object]", answer), _NOTHING), unseeded))

    def peek(self, charge: Charge) -> Remaining | None:
        """Return what is left, charging nothing; None where only the store of another process knows it."""
        store = self._guarded.provider
        return store.peek(charge) if isinstance(store, MemoryQuotaStore) else None

    async def _seed(self, unseeded: _Counts) -> None:
        """Ask again in a story, which waits for it: who is admitted before would be charged too little."""
        await ask(self._guarded, self._guarded.provider.seed, _NOTHING, *unseeded)
        if self._unseeded is unseeded:
            self._unseeded = None

    async def _seeded(self, answer: Awaitable[object], unseeded: _Counts) -> None:
        await answer
        if self._unseeded is unseeded:
            self._unseeded = None

    def _only(self, answer: object) -> Remaining:
        """Return the answer to one charge, which ``answer`` holds alone."""
        if isinstance(answer, _ANSWERS) and len(answer) == 1:
            (one,) = answer
            if isinstance(one, Remaining):
                return one
            if isinstance(one, SignerdError):
                raise one
        raise self._guarded.guard.broken("answered otherwise than with one Remaining or refusal for one charge")

    def _late(self, charge: Charge, answer: object) -> None:
        try:
            self._only(answer)
        except SignerdError:
            return
        self.release(charge, signed=False)


async def _failed(error: SignerdError) -> None:
    raise error
