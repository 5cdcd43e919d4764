"""A key worker alone, driven as the sealer drives it: its link, its batches, its supervision, and nothing else."""

import hashlib
import select
import time
from collections import deque
from typing import Any

import msgspec

from bench.peers import PeerFailed
from signerd.host.clock import SystemClock
from signerd.host.spawn import Spawned, spawn
from signerd.sealer.backends import Backend, BackendSpec
from signerd.sealer.worker_call import Call, CallResult
from signerd.wire.worker_calls import CallError, DescribeParams, GenerateParams, SignParams

__all__ = ["LoneWorker"]

_PATIENCE_S = 20.0


class LoneWorker:
    """One backend's worker. Calls that fail raise PeerFailed."""

    def __init__(self, scheme: str, settings: dict[str, Any]) -> None:
        def start() -> Spawned:
            told = {"scheme": scheme, "name": "bench", "settings": settings}
            return spawn("signerd.worker.key", settings=msgspec.json.encode(told))

        self._clock = SystemClock()
        self._backend = Backend(BackendSpec("bench", scheme, _PATIENCE_S, start), self._clock, lambda _: None)
        self._failed: CallError | None = None
        self._waiting = 0
        self._backend.tick(self._clock.monotonic())
        self._until(lambda: self._backend.up)

    def close(self) -> None:
        """End the worker."""
        self._backend.close(1.0)

    def make(self, key: str, algorithm: str = "ES256") -> None:
        """Have the key made unless it is there."""
        self._ask([Call("describe", DescribeParams(key), self._done)], tolerate=True)
        if self._failed is not None:
            self._failed = None
            self._ask([Call("generate", GenerateParams(key, algorithm), self._done)])

    def rate(self, key: str, in_flight: int, seconds: float) -> float:
        """Signatures a second with so many calls always in flight, each over 32 bytes of its own."""
        digests = deque(hashlib.sha256(str(n).encode()).digest() for n in range(256))
        made, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < seconds:
            room = in_flight - self._waiting
            if room:
                calls = []
                for _ in range(room):
                    digests.rotate(1)
                    calls.append(Call("sign", SignParams(key, digests[0]), self._done))
                self._waiting += room
                made += room
                self._backend.call_many(calls)
            self._turn()
        self._until(lambda: self._waiting == 0)
        return made / spent

    def _ask(self, calls: list[Call], *, tolerate: bool = False) -> None:
        self._waiting += len(calls)
        self._backend.call_many(calls)
        self._until(lambda: self._waiting == 0, tolerate=tolerate)

    def _done(self, result: CallResult) -> None:
        self._waiting -= 1
        if isinstance(result, CallError):
            self._failed = result

    def _turn(self, *, tolerate: bool = False) -> None:
        link, pidfd = self._backend.descriptors()
        poller = select.poll()
        poller.register(link, select.POLLIN | (select.POLLOUT if self._backend.wants_write() else 0))
        poller.register(pidfd, select.POLLIN)
        ready = dict(poller.poll(100))
        if ready.get(link, 0) & select.POLLIN:
            self._backend.readable(lambda: None)
        if pidfd in ready:
            self._backend.reap()
        self._backend.tick(self._clock.monotonic())
        self._backend.flush()
        if self._failed is not None and not tolerate:
            raise PeerFailed(f"the worker refused: {self._failed.code} ({self._failed.reason}) {self._failed.operator}")

    def _until(self, true: Any, *, tolerate: bool = False) -> None:
        end = time.monotonic() + _PATIENCE_S
        while not true():
            if time.monotonic() > end or not self._backend.descriptors():
                raise PeerFailed("the worker did not answer")
            self._turn(tolerate=tolerate)
