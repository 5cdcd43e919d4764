"""Names for audit records."""

import itertools
import os
import time

__all__ = ["AuditIds"]


class AuditIds:
    """Call it for a new id, 28 hex digits: 48 bits of Unix milliseconds, so that ids sort by time, then a number."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        # A random start for each: two processes never meet, and one never repeats itself.
        self._numbers = itertools.count(int.from_bytes(os.urandom(8), "big"))

    def __call__(self) -> str:
        """Return the next id."""
        return f"{time.time_ns() // 1_000_000:012x}{next(self._numbers) & 0xFFFF_FFFF_FFFF_FFFF:016x}"
