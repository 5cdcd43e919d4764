"""Steps the coroutine of one request from wait to wait.

The coroutine never runs in a task of its own: whoever brings what it waits for steps it, and a cancel, a deadline or a
hang-up is thrown into it where it stands. So every ``await`` of ``pipeline/sign.py`` is a place where it may end.
"""

import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar, cast

from signerd.daemon.faults import tell
from signerd.errors import Fault, SignerdError
from signerd.pipeline.request import SignRequest
from signerd.pipeline.waits import DocumentWait, HashWait, MacWait, ProviderWait, SealWait, Wait

__all__ = ["Done", "Story", "Waiter", "run_in_task"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
Done = Callable[["Story[R]", R | SignerdError], None]


class Waiter(Protocol):
    """What the daemon does for a story that waits."""

    def seal(self, story: "Story[Any]", wait: SealWait) -> None:
        """Give the item to the sealer."""

    def mac(self, story: "Story[Any]", wait: MacWait) -> None:
        """Give the item to the sealer, and the descriptor."""

    def provide(self, story: "Story[Any]", wait: ProviderWait) -> None:
        """Run a provider's awaitable in a task."""

    def check(self, story: "Story[Any]", wait: DocumentWait) -> None:
        """Give the document to its worker."""

    def hash(self, story: "Story[Any]", wait: HashWait) -> None:
        """Hash files in the pool."""

    def forget(self, story: "Story[Any]", wait: Wait) -> None:
        """Stop waiting: the story was cut short; what still comes for it is dropped."""

    def ended(self, story: "Story[R]", result: R | SignerdError) -> None:
        """Answer, once the record that the answer must not precede is durable."""


async def run_in_task(coroutine: Coroutine[Wait, object, T]) -> T:
    """Run, in a trio task, a coroutine of the pipeline that waits for providers only."""
    value: object = None
    while True:
        try:
            wait = coroutine.send(value)
        except StopIteration as stop:
            return cast("T", stop.value)
        assert isinstance(wait, ProviderWait)
        value = await wait.awaitable


class Story(Generic[R]):
    """One request in progress. ``done`` is called exactly once, by the waiter."""

    __slots__ = ("_coroutine", "_waiter", "_waiting", "done", "request")

    def __init__(
        self, request: SignRequest, coroutine: Coroutine[Wait, object, R], waiter: Waiter, done: Done[R]
    ) -> None:
        self.request = request
        self.done = done
        self._coroutine = coroutine
        self._waiter = waiter
        self._waiting: Wait | None = None

    def start(self) -> None:
        """Run to the first wait."""
        self._step(None, None)

    def resume(self, value: object) -> None:
        """Hand over what the story waits for."""
        self._step(value, None)

    def throw(self, error: SignerdError) -> None:
        """Throw ``error`` in where the story stands: what it waits for has failed."""
        self._step(None, error)

    def cut_short(self, error: SignerdError) -> None:
        """End the story from outside: cancel, deadline, hang-up. A story that has ended stays as it is."""
        if self._waiting is not None:
            self._waiter.forget(self, self._waiting)
            self._step(None, error)

    def _step(self, value: object, error: SignerdError | None) -> None:
        self._waiting = None
        try:
            wait = self._coroutine.send(value) if error is None else self._coroutine.throw(error)
        except StopIteration as stop:
            self._end(stop.value)
        except SignerdError as exc:
            tell(exc)
            self._end(exc)
        except Exception as exc:  # noqa: BLE001  # one boundary per story: a defect fails this request alone
            _log.exception("request %s: defect", self.request.audit_id)
            self._end(Fault("internal", "defect", "the signer failed", operator=f"{type(exc).__name__}: {exc}"))
        else:
            self._waiting = wait
            try:
                self._begin(wait)
            except OSError as exc:  # no descriptor is left: this request fails alone
                self._step(None, Fault("internal", "descriptors", "the signer failed", operator=str(exc)))

    def _begin(self, wait: Wait) -> None:
        # A provider's own waits never come here: guard and ``ask`` hand its awaitable over unawaited.
        if isinstance(wait, SealWait):
            self._waiter.seal(self, wait)
        elif isinstance(wait, MacWait):
            self._waiter.mac(self, wait)
        elif isinstance(wait, ProviderWait):
            self._waiter.provide(self, wait)
        elif isinstance(wait, DocumentWait):
            self._waiter.check(self, wait)
        else:
            self._waiter.hash(self, wait)

    def _end(self, result: R | SignerdError) -> None:
        for fd in self.request.owned:
            os.close(fd)
        self.request.owned.clear()
        # Order and request know each other; a story that leaves no cycle behind costs the collector nothing.
        self.request.order = None
        self._waiter.ended(self, result)
