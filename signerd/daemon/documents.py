"""The front end's end of the link to the document worker: one document at a time, a short queue, else overload (T21).

The worker is started at the first large document and restarted after it died; the document that it had in hand is
lost with it (``internal``, ``document_worker``, not retryable: the same document would kill the next one).
"""

import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from signerd.contracts.services import Clock
from signerd.daemon.poller import READ, WRITE, Poller
from signerd.daemon.sealer_link import told
from signerd.daemon.story import Story
from signerd.errors import Fault, SignerdError, error_from
from signerd.host.link import Frame, Link, LinkClosed
from signerd.host.spawn import Spawned
from signerd.pipeline.waits import DocumentWait
from signerd.wire.frames import encode_frame
from signerd.wire.worker_calls import CallError, DocumentChecked

__all__ = ["QUEUE", "Documents"]

_log = logging.getLogger(__name__)
_checked: Final = msgspec.msgpack.Decoder(DocumentChecked)

QUEUE: Final = 16
"""Documents that may wait; each holds its caller's memfd, so more would be an unbounded queue of memory."""
LONGEST_S: Final = 120.0
"""Seconds that one document may take: the longest deadline. A worker that needs longer hangs."""


class Documents:
    """The worker and its queue."""

    def __init__(self, start: Callable[[], Spawned], poller: Poller, clock: Clock) -> None:
        self._start = start
        self._poller = poller
        self._clock = clock
        self._spawned: Spawned | None = None
        self._link: Link | None = None
        self._waiting: deque[tuple[Story, DocumentWait]] = deque()
        self._current: Story | None = None
        self._number = 0
        self._since = 0.0
        self._stale = False

    @property
    def pid(self) -> int | None:
        """The worker's process id while there is one."""
        return self._spawned.pid if self._spawned else None

    def check(self, story: Story, wait: DocumentWait) -> None:
        """Queue a document; ``daemon.overloaded`` at once where the queue is full."""
        if len(self._waiting) >= QUEUE:
            story.throw(Fault("daemon.overloaded", "document_queue", "too many large documents at once"))
            return
        self._waiting.append((story, wait))
        self._next()

    def forget(self, story: Story) -> None:
        """Drop a story: a queued document is not looked at; the one in hand is finished and thrown away."""
        self._waiting = deque((s, w) for s, w in self._waiting if s is not story)
        if self._current is story:
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
                self._answered(_decoded(frame, fds), fds)
        except LinkClosed as exc:
            self._lost(str(exc))
        self._next()

    def tick(self, now: float) -> None:
        """Kill a worker that hangs over a document."""
        if self._number % 2 and now - self._since > LONGEST_S:
            self._lost("hangs over a document")
            self._next()

    def renew(self) -> None:
        """Have the next document go to a new worker, with the settings of then; the one in hand is finished first."""
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
        """Hand the worker the next document if it has none in hand. ``_number`` is odd while it has one."""
        while self._waiting and not self._number % 2:
            fresh = self._link is None
            if fresh and not self._started():
                return
            assert self._link is not None
            story, wait = self._waiting.popleft()
            try:
                fds = () if wait.fd is None else (os.dup(wait.fd),)
            except OSError as exc:
                story.throw(Fault("internal", "descriptors", "the signer failed", operator=str(exc)))
                continue
            self._number += 1
            self._current = story
            self._since = self._clock.monotonic()
            call = msgspec.structs.replace(wait.call, id=self._number)
            self._link.queue(encode_frame(call), fds)
            try:
                self._flush()
            except LinkClosed as exc:
                if not fresh:
                    # The worker was dead before this document came: it is the next worker's.
                    self._current = None
                    self._waiting.appendleft((story, wait))
                self._lost(str(exc))

    def _flush(self) -> None:
        assert self._link is not None
        done = self._link.flush()
        self._poller.change(self._link.fileno(), READ if done else READ | WRITE)

    def _started(self) -> bool:
        try:
            self._spawned = self._start()
        except OSError as exc:
            _log.error("document worker: cannot start: %s", exc)
            waiting, self._waiting = self._waiting, deque()
            for story, _ in waiting:
                story.throw(Fault("internal", "document_worker", "the document cannot be checked"))
            return False
        self._link = Link(self._spawned.socket)
        self._poller.add(self._link.fileno(), self)
        return True

    def _answered(self, answer: DocumentChecked, fds: tuple[int, ...]) -> None:
        if answer.id != self._number or not self._number % 2:
            _close(fds)
            raise LinkClosed("an answer that nobody waits for")
        self._number += 1
        if self._stale:
            self.close()
        story, self._current = self._current, None
        if story is None:
            _close(fds)
        elif answer.error is not None:
            _close(fds)
            story.throw(_refusal(answer.error, answer.pointer))
        else:
            story.request.owned.extend(fds)
            story.resume(answer)

    def _lost(self, why: str) -> None:
        """Say goodbye to a worker that died or broke its link."""
        _log.error("document worker: %s", why)
        if self._link is not None:
            self._poller.remove(self._link.fileno())
            self._link.close()
        if self._spawned is not None:
            self._spawned.end(0)
        self._spawned = self._link = None
        story, self._current = self._current, None
        self._number += self._number % 2
        if story is not None:
            story.throw(Fault("internal", "document_worker", "the document cannot be checked"))


def _decoded(frame: Frame, fds: tuple[int, ...]) -> DocumentChecked:
    try:
        return _checked.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        _close(fds)
        raise LinkClosed(f"an answer out of shape: {exc}") from None


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)


def _refusal(error: CallError, pointer: str) -> SignerdError:
    if not pointer:
        return told(error)
    return error_from(error.code, error.reason, error.message, details={"pointer": pointer})
