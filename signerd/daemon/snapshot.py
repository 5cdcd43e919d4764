"""What the front end knows of the sealer: the ring, the backends. It decides by these copies; the sealer checks
again."""

from collections.abc import Sequence

from signerd.wire.links import BackendChanged, BackendState, Opened, RingEntry

__all__ = ["Snapshot"]


class Snapshot:
    """The last ring and backend states that the sealer has told. Stays as it was while there is no sealer."""

    def __init__(self) -> None:
        self._ring: dict[tuple[str, str], RingEntry] = {}
        self._by_tenant: dict[str, list[RingEntry]] = {}
        self.backends: dict[str, BackendState] = {}
        self.separation = "process"

    def opened(self, opened: Opened) -> None:
        """Take everything anew."""
        self.take_ring(opened.ring)
        self.backends = {backend.name: backend for backend in opened.backends}
        self.separation = opened.separation

    def take_ring(self, ring: Sequence[RingEntry]) -> None:
        """Take the whole ring as it is now."""
        self._ring = {(entry.tenant, entry.key): entry for entry in ring}
        self._by_tenant = {}
        for entry in ring:
            self._by_tenant.setdefault(entry.tenant, []).append(entry)

    def take_backend(self, changed: BackendChanged) -> None:
        """Take one backend's new state."""
        self.backends[changed.backend.name] = changed.backend

    def find(self, tenant: str, key: str) -> RingEntry | None:
        """Return the tenant's key by its reference; another tenant's does not exist (T14)."""
        return self._ring.get((tenant, key))

    def of_tenant(self, tenant: str) -> Sequence[RingEntry]:
        """Return the tenant's keys, sorted by reference."""
        return self._by_tenant.get(tenant, [])
