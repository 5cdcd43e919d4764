"""A worker that is asked one thing at a time, and what waits for it.

The worker is started at the first errand and restarted after it died. The errand that it had in hand is lost with
it and not repeated: it would kill the next worker.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from signerd.contracts.services import Clock
from signerd.daemon.poller import READ, WRITE, Poller
from signerd.errors import Fault, SignerdError
from signerd.host.link import Frame, Link, LinkClosed
from signerd.host.spawn import Spawned
from signerd.wire.decoding import BROKEN
from signerd.wire.frames import encode_frame

__all__ = ["LONGEST_S", "Answer", "Errand", "Errands"]

_log = logging.getLogger(__name__)

LONGEST_S: Final = 120.0
"""Seconds that one errand may take: the longest deadline. A worker that needs longer hangs."""


class Answer(Protocol):
    """What a worker says of the errand of that number."""

    @property
    def id(self) -> int:
        """The number that the errand came under."""


A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True, eq=False)
class Errand(Generic[A]):
    """One thing to ask; its ``call`` has no id yet. ``fd`` is the asker's. ``done`` is called once, unless the errand
    is dropped before; it takes the descriptors over that came with an answer.
    """

    owner: Hashable
    call: msgspec.Struct
    fd: int | None
    done: Callable[[A | SignerdError, tuple[int, ...]], None]


class Errands(Generic[A]):
    """The worker and its queue. Owners have their turns, one errand each; one owner's are served in order.

    ``name`` is the worker's in the log, ``lost`` makes the fault of what a worker had in hand when it died. ``read``
    decodes an answer; one that is out of shape (an error of msgspec, or LinkClosed) costs the worker its life.
    """

    def __init__(
        self,
        name: str,
        lost: Callable[[], Fault],
        read: Callable[[Frame], A],
        start: Callable[[], Spawned],
        poller: Poller,
        clock: Clock,
    ) -> None:
        self._name = name
        self._fault = lost
        self._decode = read
        self._start = start
        self._poller = poller
        self._clock = clock
        self._spawned: Spawned | None = None
        self._link: Link | None = None
        # The first owner's turn is next; a dict keeps the order in which they came.
        self._waiting: dict[Hashable, deque[Errand[A]]] = {}
        self._current: Errand[A] | None = None
        self._number = 0
        self._since = 0.0
        self._stale = False

    @property
    def pid(self) -> int | None:
        """The worker's process id while there is one."""
        return self._spawned.pid if self._spawned else None

    def waiting(self, owner: Hashable) -> int:
        """Return how many errands of ``owner`` wait, the one in hand not counted."""
        return len(self._waiting.get(owner, ()))

    def add(self, errand: Errand[A]) -> None:
        """Queue an errand; how many may wait is for whoever adds it to say."""
        self._waiting.setdefault(errand.owner, deque()).append(errand)
        self._next()

    def drop(self, owner: Hashable, errands: Collection[Errand[A]]) -> None:
        """Forget errands of ``owner``: what waits is not asked; what is in hand is finished and thrown away."""
        dropped = {id(errand) for errand in errands}
        queue = deque(errand for errand in self._waiting.get(owner, ()) if id(errand) not in dropped)
        if queue:
            self._waiting[owner] = queue
        else:
            self._waiting.pop(owner, None)
        if id(self._current) in dropped:
            self._current = None

    def ready(self, events: int) -> None:
        """Take what the worker has said."""
        link = self._link
        if link is None:
            return
        try:
            if events & WRITE:
                self._flush()
            for frame, fds in link.read():
                self._answered(frame, fds)
        except LinkClosed as exc:
            self._lost(str(exc))
        self._next()

    def tick(self, now: float) -> None:
        """Kill a worker that hangs over what it has in hand."""
        if self._number % 2 and now - self._since > LONGEST_S:
            self._lost("hangs over what it has in hand")
            self._next()

    def renew(self) -> None:
        """Have the next errand go to a new worker, with the settings of then; the one in hand is finished first."""
        if self._number % 2:
            self._stale = True
        else:
            self.close()

    def close(self) -> None:
        """End the worker for good."""
        self._stale = False
        if self._spawned is not None and self._link is not None:
            self._poller.remove(self._link.fileno())
            self._spawned.end(0.2)
            self._spawned = self._link = None

    def _next(self) -> None:
        """Hand the worker the next errand if it has none in hand. ``_number`` is odd while it has one."""
        while self._waiting and not self._number % 2:
            fresh = self._link is None
            if fresh and not self._started():
                return
            errand = self._take()
            try:
                fds = () if errand.fd is None else (os.dup(errand.fd),)
            except OSError as exc:
                errand.done(Fault("internal", "descriptors", "the signer failed", operator=str(exc)), ())
                continue
            self._hand_over(errand, fds, fresh=fresh)

    def _hand_over(self, errand: Errand[A], fds: tuple[int, ...], *, fresh: bool) -> None:
        assert self._link is not None
        self._number += 1
        self._current = errand
        self._since = self._clock.monotonic()
        self._link.queue(encode_frame(msgspec.structs.replace(errand.call, id=self._number)), fds)
        try:
            self._flush()
        except LinkClosed as exc:
            if not fresh:
                # The worker was dead before this errand came: it is the next worker's.
                self._current = None
                self._waiting.setdefault(errand.owner, deque()).appendleft(errand)
            self._lost(str(exc))

    def _take(self) -> Errand[A]:
        """Take the next errand of the owner whose turn it is; that owner's next turn is the last of all."""
        owner = next(iter(self._waiting))
        queue = self._waiting.pop(owner)
        errand = queue.popleft()
        if queue:
            self._waiting[owner] = queue
        return errand

    def _flush(self) -> None:
        assert self._link is not None
        done = self._link.flush()
        self._poller.change(self._link.fileno(), READ if done else READ | WRITE)

    def _started(self) -> bool:
        try:
            self._spawned = self._start()
        except OSError as exc:
            _log.error("%s: cannot start: %s", self._name, exc)
            waiting, self._waiting = self._waiting, {}
            for errand in [errand for queue in waiting.values() for errand in queue]:
                errand.done(self._fault(), ())
            return False
        self._link = Link(self._spawned.socket)
        self._poller.add(self._link.fileno(), self)
        return True

    def _answered(self, frame: Frame, fds: tuple[int, ...]) -> None:
        try:
            answer = self._decode(frame)
            if answer.id != self._number or not self._number % 2:
                raise LinkClosed("an answer that nobody waits for")
        except BROKEN as exc:
            _close(fds)
            raise LinkClosed(f"an answer out of shape: {exc}") from None
        except LinkClosed:
            _close(fds)
            raise
        self._number += 1
        if self._stale:
            self.close()
        errand, self._current = self._current, None
        if errand is None:
            _close(fds)
        else:
            errand.done(answer, fds)

    def _lost(self, why: str) -> None:
        """Say goodbye to a worker that died or broke its link."""
        _log.error("%s: %s", self._name, why)
        if self._link is not None:
            self._poller.remove(self._link.fileno())
            self._link.close()
        if self._spawned is not None:
            self._spawned.end(0)
        self._spawned = self._link = None
        errand, self._current = self._current, None
        self._number += self._number % 2
        if errand is not None:
            errand.done(self._fault(), ())


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
