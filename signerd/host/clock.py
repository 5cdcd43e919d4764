"""The system's clock, handed in at start."""

import time
from pathlib import Path

__all__ = ["SystemClock", "boot_id"]


def boot_id() -> str:
    """Return what tells this boot from others (random(4)): monotonic times of two boots are not to be compared."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class SystemClock:
    """Clock of :mod:`signerd.contracts.services` over the operating system's."""

    def now_ms(self) -> int:
        """Return wall time in Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()
