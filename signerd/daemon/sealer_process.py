"""The sealer as the front end's child: started, restarted (the first time at once), told to end."""

import logging
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from signerd.contracts.services import Clock
from signerd.daemon.poller import READ, WRITE, Poller
from signerd.daemon.sealer_link import SealerLink, told
from signerd.daemon.snapshot import Snapshot
from signerd.errors import Fault, SignerdError
from signerd.host.config import encode
from signerd.host.config_model import Config
from signerd.host.link import Link, LinkClosed
from signerd.host.spawn import Spawned, identity_environment, spawn
from signerd.host.supervision import Supervision
from signerd.pipeline.charging import Charging
from signerd.wire.backends import BackendChanged
from signerd.wire.links import Failed, Opened
from signerd.wire.ring import AbsentKeys, GrantsChanged, RingChanged

__all__ = ["SealerProcess"]

_log = logging.getLogger(__name__)

START_S: Final = 15.0
"""Seconds for the first ``opened``: a lock is waited for 2 s, a slow backend 5 s."""
END_S: Final = 3.0
"""Seconds that the sealer may take to close its records when the link ends."""


class SealerProcess:
    """One sealer at a time, and its link. ``wake`` is called where :meth:`tick` has something to do."""

    def __init__(
        self, config: Config, link: SealerLink, poller: Poller, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self._config = config
        self._sealer = link
        self._poller = poller
        self._clock = clock
        self._wake = wake
        limits = config.limits
        self._supervision = Supervision(
            first_retry_at_once=True, first_s=limits.worker_backoff_first_s, longest_s=limits.worker_backoff_longest_s
        )
        self._spawned: Spawned | None = None
        self._leaving: list[tuple[Spawned, float]] = []
        self._fd = -1
        self._events = READ
        self._opened = trio.Event()
        self._failure: SignerdError | None = None

    @property
    def pid(self) -> int | None:
        """The sealer's process id while there is one."""
        return self._spawned.pid if self._spawned else None

    def start(self) -> None:
        """Start a sealer; its configuration goes by standard input, or it reads the file itself."""
        source = self._config.source
        args = ["--config", source] if source else []
        keyless = any(key.keyless is not None for key in self._config.keys)
        environment = identity_environment() if keyless else None
        self._spawned = spawn("signerd.sealer.main", args, settings=encode(self._config), environment=environment)
        link = Link(self._spawned.socket)
        self._supervision.started(self._clock.monotonic())
        self._fd, self._events = link.fileno(), READ
        self._poller.add(self._fd, self)
        self._sealer.connect(link)

    async def opened(self) -> None:
        """Wait until the sealer has opened for the first time; raises what it could not start for."""
        with trio.move_on_after(START_S):
            await self._opened.wait()
        if self._failure is not None:
            raise self._failure
        if not self._opened.is_set():
            raise Fault("audit.unavailable", "sealer_start", "the sealer did not start in time")

    def ready(self, events: int) -> None:
        """Take what the sealer has said."""
        try:
            self._sealer.read()
        except LinkClosed as closed:
            self._lost(str(closed))

    def flush(self) -> None:
        """Send what is queued for it."""
        try:
            self._sealer.flush()
        except LinkClosed as closed:
            self._lost(str(closed))
            return
        link = self._sealer.link
        if link is None:
            return
        events = READ | WRITE if link.wants_write else READ
        if events != self._events:
            self._events = events
            self._poller.change(self._fd, events)

    def news(self, message: msgspec.Struct, snapshot: Snapshot, quotas: Charging) -> None:
        """Take what the sealer tells without being asked."""
        if isinstance(message, Opened):
            self._supervision.answered()
            snapshot.opened(message)
            quotas.seed(message.day, message.daily)
            self._opened.set()
        elif isinstance(message, RingChanged):
            (snapshot.take_ring if self._sealer.open else snapshot.take_early)(message.ring)
        elif isinstance(message, GrantsChanged):
            snapshot.grants = message.grants
        elif isinstance(message, AbsentKeys):
            snapshot.absent = message.errors
        elif isinstance(message, BackendChanged):
            snapshot.take_backend(message)
        elif isinstance(message, Failed):
            self._failure = self._failure or (None if self._opened.is_set() else told(message.error))
            self._opened.set()

    def tick(self, now: float) -> None:
        """Kill a sealer that hangs, start one that is due."""
        for leaving, limit in list(self._leaving):
            if now > limit:
                leaving.kill()
            if leaving.reap():
                self._leaving.remove((leaving, limit))
        if self._sealer.connected and self._sealer.silent(now):
            self._lost("does not answer", hung=True)
        elif self._supervision.look(now):
            self._lost("did not open in time", hung=True)
        if self._supervision.start_due(now) and self._failure is None:
            _log.warning("sealer: starting again")
            try:
                self.start()
            except OSError as exc:
                _log.error("sealer: cannot start: %s", exc)
                self._supervision.started(now)
                self._supervision.died(now)

    async def end(self) -> None:
        """Close the link and wait for the sealer to close its records."""
        self._drop_link()
        spawned = self._spawned
        if spawned is not None:
            with trio.move_on_after(END_S):
                await trio.lowlevel.wait_readable(spawned.pidfd)
            self.kill()

    def kill(self) -> None:
        """Make sure that it is gone."""
        for leaving, _ in self._leaving:
            leaving.end(END_S)
        self._leaving.clear()
        if self._spawned is not None:
            self._spawned.end(END_S)
            self._spawned = None

    def _drop_link(self) -> None:
        if self._fd >= 0:
            self._poller.remove(self._fd)
            self._fd = -1
        self._sealer.lost()

    def _lost(self, why: str, *, hung: bool = False) -> None:
        """Take the sealer for gone: everybody who waits is answered, and the next one closes what was open.

        One whose link has ended may still be writing its last leaves, and the next one waits for its lock; one that
        hangs is killed.
        """
        if self._failure is None:  # else it has said what for
            _log.error("sealer: %s", why)
        self._drop_link()
        if self._spawned is not None:
            if hung:
                self._spawned.kill()
            self._leaving.append((self._spawned, self._clock.monotonic() + END_S))
            self._spawned = None
        self._supervision.died(self._clock.monotonic())
        self._wake()  # the next one is started by the tick
        if not self._opened.is_set():
            self._failure = self._failure or Fault("audit.unavailable", "sealer_start", "the sealer ended at its start")
            self._opened.set()
