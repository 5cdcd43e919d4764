"""A thread for what would stop the sealer's loop: hashing and assembling large payloads, reading the log.

Work runs in order, one at a time; what it brings back is handed over in the loop, so nothing else needs a lock.
"""

import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from signerd.errors import Fault, SignerdError

__all__ = ["Aside"]

T = TypeVar("T")


class Aside:
    """The thread. Poll ``fileno()``; when it is readable, call :meth:`collect` in the loop.

    ``nice`` is for work that holds the interpreter's lock hardly at all: a thread that is preempted while it holds it
    holds up the loop too.
    """

    def __init__(self, nice: int = 0) -> None:
        self._nice = nice
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._signal = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Return the event's number, for poll."""
        return self._signal

    def run(self, work: Callable[[], T], done: Callable[[T | SignerdError], None]) -> None:
        """Run ``work`` in the thread, then ``done`` in the loop with its result, or with what went wrong as a Fault."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="aside", daemon=True)
            self._thread.start()
        self._work.put(lambda: self._finish(work, done))

    def collect(self) -> None:
        """Hand over what is finished."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._signal)
        while self._done:
            self._done.popleft()()

    def close(self) -> None:
        """Let the thread finish what it has and end."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()
            self._thread = None
        os.close(self._signal)

    def _serve(self) -> None:
        # Linux has a priority per thread.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
        while (work := self._work.get()) is not None:
            work()

    def _finish(self, work: Callable[[], T], done: Callable[[T | SignerdError], None]) -> None:
        result: T | SignerdError
        try:
            result = work()
        except SignerdError as error:
            result = error
        except Exception as exc:  # noqa: BLE001  # one boundary per piece of work: the thread outlives a defect
            result = Fault("internal", "aside", "the signer failed", operator=f"{type(exc).__name__}: {exc}")
        self._done.append(lambda: done(result))
        os.eventfd_write(self._signal, 1)
