"""The progress bar of long work, shown on a terminal only."""

import sys
import time
from types import TracebackType
from typing import Final, Self, TextIO

__all__ = ["Progress"]

_WIDTH: Final = 30
_REDRAW_S: Final = 0.1


class Progress:
    """A bar on stderr for ``total`` items, as a context manager; silent where stderr is no terminal."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._done = 0
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._draw()
            self._stream.write("\n")
            self._stream.flush()

    def advance(self, items: int) -> None:
        """Count ``items`` more as done, and redraw at most ten times a second."""
        self._done += items
        if self._shown and time.monotonic() - self._drawn_at >= _REDRAW_S:
            self._draw()

    def _draw(self) -> None:
        if not self._shown:
            return
        self._drawn_at = time.monotonic()
        filled = _WIDTH * self._done // self._total if self._total else _WIDTH
        self._stream.write(f"\r[{'#' * filled}{'.' * (_WIDTH - filled)}] {self._done}/{self._total}")
        self._stream.flush()
