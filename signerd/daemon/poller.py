"""One epoll for all raw sockets, served by one trio task.

A trio wait arms and disarms the kernel each time, which costs more than reading a request; here one wait serves
whatever is ready at once, and what it brought goes to the sealer as an array. Measured in ``docs/adr/0002``.
"""

import logging
import select
from collections.abc import Callable
from typing import Final, Protocol

import trio

__all__ = ["GONE", "READ", "WRITE", "Handler", "Poller"]

_log = logging.getLogger(__name__)

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
GONE: Final = select.EPOLLHUP | select.EPOLLERR
"""Reported whether it is waited for or not: the peer has closed, or the socket is broken."""

GROUP: Final = 4
"""Sockets after which the links are flushed: the sealer works on the first requests while the rest are read."""
TURNS: Final = 16
"""Times that what is ready is served before trio's other tasks have theirs: all is drained before the next wait."""
LINGER_S: Final = 0.001
"""Seconds that a turn waits for the next one itself. Under load something comes much sooner, and the way through trio's
scheduler is saved; trio's tasks, which look at deadlines every 50 ms, are held up by TURNS times this at most."""


class Handler(Protocol):
    """Something with a socket. ``ready`` must not block, and handles its own peer's failures."""

    def ready(self, events: int) -> None:
        """Do what can be done now."""


class Poller:
    """Sockets and who handles them. ``after`` runs at the end of each turn: links are flushed there, once for all."""

    def __init__(self, after: Callable[[], None]) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._after = after

    def add(self, fd: int, handler: Handler, events: int = READ) -> None:
        """Serve ``fd`` from now on."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events on ``fd``; 0 waits for its end alone."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Serve ``fd`` no longer; harmless for one that is not served."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Serve until cancelled."""
        epoll, handlers = self._epoll, self._handlers
        try:
            while True:
                await trio.lowlevel.wait_readable(epoll.fileno())
                for _ in range(TURNS):
                    found = epoll.poll(LINGER_S)
                    if not found:
                        break
                    for turn, (fd, events) in enumerate(found, 1):
                        handler = handlers.get(fd)
                        if handler is not None:
                            handler.ready(events)
                        if not turn % GROUP:
                            self._after()
                    self._after()
        finally:
            epoll.close()
