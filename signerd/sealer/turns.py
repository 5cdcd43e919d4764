"""So much of each tenant's at a time, and the rest in its order: who asks for more waits for himself alone (T15)."""

from collections import Counter, deque
from collections.abc import Callable

__all__ = ["Turns"]

Start = Callable[[], bool]
"""Begins something, or says that nobody wants it any more."""


class Turns:
    """Starts ``most`` things of a tenant at a time. Whatever was started is reported by :meth:`over`, once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[Start]] = {}
        self._starting: set[str] = set()

    def take(self, tenant: str, start: Start) -> None:
        """Call ``start`` now, or when it is its turn."""
        self._waiting.setdefault(tenant, deque()).append(start)
        self._start(tenant)

    def over(self, tenant: str) -> None:
        """Take the end of one that was started; the next one begins."""
        self._running[tenant] -= 1
        self._start(tenant)

    def _start(self, tenant: str) -> None:
        if tenant in self._starting:
            return  # what is started may be over at once: the loop below goes on
        self._starting.add(tenant)
        queue = self._waiting.get(tenant)
        try:
            while queue and self._running[tenant] < self._most:
                self._running[tenant] += 1
                if not queue.popleft()():
                    self._running[tenant] -= 1
        finally:
            self._starting.discard(tenant)
        if not queue:
            self._waiting.pop(tenant, None)
        if not self._running[tenant]:
            del self._running[tenant]
