"""What the front end is told of the sealer's state: all of it once, and then what has changed."""

from collections.abc import Callable, Iterable

import msgspec

from signerd.contracts.services import AuditStore
from signerd.sealer.backends import Backend
from signerd.sealer.grants import Grants
from signerd.sealer.keyring import Keyring
from signerd.wire.backends import BackendChanged, BackendState
from signerd.wire.links import Opened
from signerd.wire.ring import AbsentKeys, GrantsChanged, RingChanged, RingEntry

__all__ = ["ENTRIES_PER_FRAME", "News"]

ENTRIES_PER_FRAME = 2048
"""Versions of keys that a frame tells of: with an SPKI of RSA-4096 and a long PKCS#11 URI each, still within 4 MiB."""


class News:
    """Tells the front end. ``told``: ``opened`` is out, so that changes follow it."""

    def __init__(self, send: Callable[[msgspec.Struct], None], ring: Keyring, grants: Grants) -> None:
        self._send = send
        self._ring = ring
        self._grants = grants
        self.told = False

    def open(self, store: AuditStore, backends: Iterable[Backend], day: int) -> None:
        """Answer ``open``; ``day`` (days since 1970, UTC) is the one whose counts the front end goes on from."""
        self.told = True
        states = tuple(_state_of(backend) for backend in backends)
        ring = self._tell_ring(self._ring.snapshot(), keep=ENTRIES_PER_FRAME)
        self._send(Opened(ring, day, store.daily_counts(day), states, "process", self._grants.snapshot()))
        self.tell()

    def tell(self) -> None:
        """Tell what has changed since."""
        if self._ring.changed:
            self._tell_ring(self._ring.changes())
        if (absent := self._ring.absent()) is not None:
            self._send(AbsentKeys(absent))
        if self._grants.changed:
            self._send(GrantsChanged(self._grants.snapshot()))

    def backend(self, backend: Backend) -> None:
        """Tell that a backend has come or gone; before ``opened``, that will tell."""
        if self.told:
            self._send(BackendChanged(_state_of(backend)))

    def _tell_ring(self, entries: tuple[RingEntry, ...], keep: int = 0) -> tuple[RingEntry, ...]:
        """Send the ring's news in as many frames as they take, but for the last ``keep``, which are returned."""
        end = max(0, len(entries) - keep)
        for start in range(0, end, ENTRIES_PER_FRAME):
            self._send(RingChanged(entries[start : min(end, start + ENTRIES_PER_FRAME)]))
        return entries[end:]


def _state_of(backend: Backend) -> BackendState:
    """Return whether the backend works, as the front end shows it."""
    return BackendState(backend.spec.name, backend.spec.scheme, backend.up)
