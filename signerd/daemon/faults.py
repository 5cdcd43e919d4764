"""What a fault says to the operator alone, on stderr: the caller has the public text, the record code and reason."""

import logging
import time
from collections.abc import Callable
from typing import Final

from signerd.errors import Fault, SignerdError

__all__ = ["Sparing", "tell"]

_log = logging.getLogger(__name__)

PERIOD_S: Final = 60.0
MOST_LINES: Final = 32
"""Different lines of one period: callers can bring faults about, and must not fill a disk with them (T13)."""
LONGEST_LINE: Final = 1000


class Sparing(logging.Filter):
    """Lets a line through once in a period, and :data:`MOST_LINES` different ones at the most."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._since = float("-inf")
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is to be written."""
        now = self._monotonic()
        if now - self._since >= PERIOD_S:
            self._since = now
            self._seen.clear()
        line = record.getMessage()
        if line in self._seen or len(self._seen) >= MOST_LINES:
            return False
        self._seen.add(line)
        return True


_log.addFilter(Sparing())


def tell(error: SignerdError) -> None:
    """Log a fault that says more to the operator than to the peer; a refusal never: the record has all of it.

    What does not print is escaped: the text may hold what somebody else sent, and must not forge a line.
    """
    if isinstance(error, Fault) and error.args != (error.public,):
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error)[:LONGEST_LINE])
        _log.error("%s", line)
