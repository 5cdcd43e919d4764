"""What runs on in a task of its own while no story waits for it."""

from collections.abc import Awaitable

import trio

from signerd.daemon.faults import tell
from signerd.errors import SignerdError

__all__ = ["Background"]


class Background:
    """Tasks of the front end's nursery. Its length is how many have not ended: a drain waits for them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._running = 0

    def __len__(self) -> int:
        return self._running

    def __call__(self, awaitable: Awaitable[object]) -> None:
        """Await it; the error with which it ends is told to the operator. Any but a SignerdError is a defect."""
        self._running += 1
        self._nursery.start_soon(self._run, awaitable)

    async def _run(self, awaitable: Awaitable[object]) -> None:
        try:
            await awaitable
        except SignerdError as error:
            tell(error)
        finally:
            self._running -= 1
