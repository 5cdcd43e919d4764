"""When a worker is started, given up and started again: one worker's state, without I/O and without a clock.

::

    DOWN ──started──► STARTING ──answered──► UP
      ▲                  │                    │
      └──────died────────┴────────────────────┘

The owner of the worker's socket feeds events in and asks two questions: is a start due, and must the process
be killed? All times are seconds of one monotonic clock.
"""

import enum
from typing import Final

__all__ = ["BACKOFF_FIRST", "BACKOFF_LONGEST", "MISSED_IN_A_ROW", "START_LIMIT", "State", "Supervision"]

BACKOFF_FIRST: Final = 0.1
"""Seconds before the first restart: a crash by bad luck costs callers no more than this."""
BACKOFF_LONGEST: Final = 30.0
"""Seconds between starts of what keeps failing: cheap for the host, and a repaired backend is back within a
minute."""
MISSED_IN_A_ROW: Final = 2
"""One missed deadline may be the host's fault; two in a row are a worker that hangs."""
START_LIMIT: Final = 10.0
"""Seconds from the start to the first answer. A software key takes a quarter of one; a vendor's library may
take some; what needs longer is hung."""


class State(enum.Enum):
    """Whether calls may be sent: only when UP."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"


class Supervision:
    """One worker. ``first_retry_at_once`` starts it without delay after a death that followed good service.

    The delay in seconds doubles with each death that follows no answer, from ``first_s`` to ``longest_s``. An answer in
    time forgets earlier deaths, unless the worker was condemned after it: a backend that describes its key well and
    then lies must not come back ten times a second.
    """

    __slots__ = (
        "_condemned",
        "_failures",
        "_first_retry_at_once",
        "_first_s",
        "_longest_s",
        "_missed",
        "_retry_at",
        "_since",
        "_state",
    )

    def __init__(
        self, *, first_retry_at_once: bool = False, first_s: float = BACKOFF_FIRST, longest_s: float = BACKOFF_LONGEST
    ) -> None:
        self._first_retry_at_once = first_retry_at_once
        self._first_s = first_s
        self._longest_s = longest_s
        self._state = State.DOWN
        self._retry_at = float("-inf")
        self._since = 0.0
        self._failures = 0
        self._missed = 0
        self._condemned = False

    @property
    def state(self) -> State:
        """The state now."""
        return self._state

    @property
    def up(self) -> bool:
        """Whether calls may be sent; else they are ``key.backend_unavailable`` at once."""
        return self._state is State.UP

    @property
    def must_die(self) -> bool:
        """Whether the process has to be killed: it stays true until :meth:`died`."""
        return self._condemned

    def start_due(self, now: float) -> bool:
        """Whether the worker is to be started now."""
        return self._state is State.DOWN and now >= self._retry_at

    def next_look(self) -> float | None:
        """When to call :meth:`start_due` or :meth:`look` again if nothing else happens; None is never."""
        if self._state is State.DOWN:
            return self._retry_at
        if self._state is State.STARTING and not self._condemned:
            return self._since + START_LIMIT
        return None

    def started(self, now: float) -> None:
        """Say that a process runs; ValueError where one runs already."""
        if self._state is not State.DOWN:
            raise ValueError("a worker runs already")
        self._state = State.STARTING
        self._since = now
        self._missed = 0
        self._condemned = False

    def look(self, now: float) -> bool:
        """Condemn a worker that is too slow to start; whether it must die."""
        if self._state is State.STARTING and now >= self._since + START_LIMIT:
            self._condemned = True
        return self._condemned

    def answered(self) -> None:
        """Say that an answer came in time. One that comes after its deadline is no answer."""
        if self._state is State.DOWN or self._condemned:
            return
        self._state = State.UP
        self._missed = 0

    def missed(self) -> bool:
        """Say that a call's deadline passed without an answer; whether the worker must die."""
        if self._state is not State.DOWN:
            self._missed += 1
            if self._missed >= MISSED_IN_A_ROW:
                self._condemned = True
        return self._condemned

    def condemn(self) -> None:
        """Say that the worker lied or broke the protocol: it must die, and the next start is put off
        further."""
        if self._state is not State.DOWN:
            self._condemned = True

    def died(self, now: float) -> None:
        """Say that the process is gone, or could not be started at all; sets the time of the next start."""
        served_well = self._state is State.UP and not self._condemned
        if served_well:
            self._failures = 0
        self._state = State.DOWN
        self._condemned = False
        self._missed = 0
        self._retry_at = now + self._delay(at_once=served_well and self._first_retry_at_once)
        self._failures += 1

    def _delay(self, *, at_once: bool) -> float:
        if at_once:
            return 0.0
        # 2**20 is far above the longest delay: the exponent stays small however long a worker has been
        # failing.
        return min(self._longest_s, self._first_s * float(2 ** min(self._failures, 20)))
