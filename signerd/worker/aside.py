"""Threads for the calls that take long, so that a worker's other calls are answered meanwhile.

Each call has a thread of its own: it may wait for a disk that hangs, and nothing but its process can end it then. So
there is a most, and whoever asks bounds how many are one tenant's.
"""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Raw

from signerd.errors import Fault, SignerdError
from signerd.host.guard import told

__all__ = ["MOST_THREADS", "Aside", "Work"]

MOST_THREADS: Final = 32
"""Calls at once: what each holds is a descriptor and a buffer of 1 MiB."""
Work = Callable[[Callable[[], bool]], Raw]
"""One call: gets a question to be asked now and then, whether nobody waits any more; raises SignerdError."""


class Aside:
    """The threads of one session. Poll ``fileno()``; when it is readable, :meth:`collect` has something."""

    def __init__(self) -> None:
        self._signal = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._done: deque[tuple[int, Raw | SignerdError]] = deque()
        self._running: dict[int, threading.Event] = {}
        self._closed = False

    def fileno(self) -> int:
        """Return the event's number, for poll."""
        return self._signal

    @property
    def full(self) -> bool:
        """Whether there is no thread left for another call."""
        with self._lock:
            return len(self._running) >= MOST_THREADS

    def run(self, number: int, work: Work, seconds: float) -> None:
        """Run ``work`` in a thread; it has ``seconds``, and ends sooner when its ``number`` is cancelled."""
        cancelled = threading.Event()
        until = time.monotonic() + seconds
        with self._lock:
            self._running[number] = cancelled

        def serve() -> None:
            result: Raw | SignerdError
            try:
                result = work(lambda: cancelled.is_set() or time.monotonic() >= until)
            except SignerdError as error:
                result = error
            except Exception as exc:  # noqa: BLE001  # the boundary of a thread: the call is answered
                result = Fault("key.backend_fault", "defect", "a component of the signer failed", operator=told(exc))
            with self._lock:
                del self._running[number]
                if not self._closed:
                    self._done.append((number, result))
                    os.eventfd_write(self._signal, 1)

        threading.Thread(target=serve, name="aside", daemon=True).start()

    def cancel(self, number: int) -> None:
        """Have the work of that number end soon; it is answered all the same. A number that is not known is ignored."""
        with self._lock:
            if number in self._running:
                self._running[number].set()

    def collect(self) -> list[tuple[int, Raw | SignerdError]]:
        """Return what is finished, each once."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._signal)
        with self._lock:
            finished = list(self._done)
            self._done.clear()
        return finished

    def close(self) -> None:
        """Have all end soon; what they bring is dropped."""
        with self._lock:
            self._closed = True
            for cancelled in self._running.values():
                cancelled.set()
        os.close(self._signal)
