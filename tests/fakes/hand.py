"""The sealer's side of one worker without the sealer: a test runs the loop by hand until something holds."""

import select
from collections.abc import Callable

import msgspec

from signerd.host.clock import SystemClock
from signerd.host.spawn import Spawned
from signerd.host.worker_socket import Connected
from signerd.sealer.backends import Backend, BackendSpec
from signerd.sealer.worker_call import Call, CallResult

__all__ = ["Hand"]

SECONDS = 20.0


class Hand:
    """A backend with its worker, and a loop that the test runs until something holds."""

    def __init__(self, start: Callable[[], Spawned | Connected], deadline_s: float = 5.0) -> None:
        self.clock = SystemClock()
        self.changes: list[bool] = []
        self.started: list[Spawned | Connected] = []

        def begin() -> Spawned | Connected:
            self.started.append(start())
            return self.started[-1]

        spec = BackendSpec("b", "b", deadline_s, begin)
        self.backend = Backend(spec, self.clock, lambda backend: self.changes.append(backend.up))
        self.progressed = 0

    def until(self, true: Callable[[], object]) -> None:
        """Run the loop until ``true``."""
        limit = self.clock.monotonic() + SECONDS
        while not true():
            now = self.clock.monotonic()
            assert now < limit
            self.backend.tick(now)
            self.backend.flush()
            fds = self.backend.descriptors()
            poll = select.poll()
            for fd in fds:
                poll.register(fd, select.POLLIN)
            look = self.backend.next_look()
            wait = 0.05 if look is None else min(0.05, max(0.0, look - now))
            ready = dict(poll.poll(wait * 1000 + 1))
            if fds and fds[0] in ready:
                self.backend.readable(self._progress)
            if len(fds) > 1 and fds[1] in ready:
                self.backend.reap()

    def _progress(self) -> None:
        self.progressed += 1

    def up(self) -> "Hand":
        """Wait until calls may be sent."""
        self.until(lambda: self.backend.up)
        return self

    def ask(self, *calls: tuple[str, msgspec.Struct]) -> list[CallResult]:
        """Make calls in one go, and wait for all."""
        results: dict[int, CallResult] = {}
        self.backend.call_many(
            [Call(method, params, lambda r, n=n: results.update({n: r})) for n, (method, params) in enumerate(calls)]  # type: ignore[misc]
        )
        self.until(lambda: len(results) == len(calls))
        return [results[n] for n in range(len(calls))]
