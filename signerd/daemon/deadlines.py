"""One heap of deadlines for all that waits: cheaper than a timer per request, and it keeps no task alive."""

import heapq
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from signerd.pipeline.request import SignRequest

__all__ = ["DeadlineHeap"]


SLACK = 1024
"""Entries of ended requests that the heap may hold beyond as many as are open."""


class _Scope:
    """While open, the request's deadline counts."""

    __slots__ = ("_heap", "_request")

    def __init__(self, heap: "DeadlineHeap", request: SignRequest) -> None:
        self._heap = heap
        self._request = request

    def __enter__(self) -> None:
        self._heap.open(self._request)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._heap.close(self._request)


class DeadlineHeap:
    """Requests by deadline (monotonic seconds). ``wake`` is called when there is something to watch again."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._heap: list[tuple[float, int, SignRequest]] = []
        self._open: set[str] = set()
        self._numbers = itertools.count()
        self._wake = wake

    def __len__(self) -> int:
        return len(self._open)

    def deadline(self, request: SignRequest) -> AbstractContextManager[None]:
        """Return the scope within which ``request.deadline`` counts."""
        return _Scope(self, request)

    def open(self, request: SignRequest) -> None:
        """Watch a request."""
        if not self._open:
            self._heap.clear()
            self._wake()
        elif len(self._heap) > 2 * len(self._open) + SLACK:
            # Most requests end long before their deadline: what they left in the heap is swept out now and then.
            self._heap = [entry for entry in self._heap if entry[2].audit_id in self._open]
            heapq.heapify(self._heap)
        self._open.add(request.audit_id)
        heapq.heappush(self._heap, (request.deadline, next(self._numbers), request))

    def close(self, request: SignRequest) -> None:
        """Watch it no longer; its place in the heap is given up when it comes up."""
        self._open.discard(request.audit_id)

    def expired(self, now: float) -> list[SignRequest]:
        """Return the open requests whose time is over, each once."""
        late = []
        while self._heap and self._heap[0][0] <= now:
            request = heapq.heappop(self._heap)[2]
            if request.audit_id in self._open:
                self._open.discard(request.audit_id)
                late.append(request)
        return late
