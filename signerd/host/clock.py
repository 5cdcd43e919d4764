"""The system's clock, handed in at start."""

import time

__all__ = ["SystemClock"]


class SystemClock:
    """Clock of :mod:`signerd.contracts.services` over the operating system's."""

    def now_ms(self) -> int:
        """Return wall time in Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()
