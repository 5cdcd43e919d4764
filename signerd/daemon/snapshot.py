"""What the front end knows of the sealer: the ring, the exceptions that admins have made, the backends. It decides by
these copies; the sealer checks again."""

from collections.abc import Callable, Mapping, Sequence

from signerd.contracts.validity import UNLOGGED, in_force
from signerd.errors import SignerdError, error_from
from signerd.host.clock import boot_id
from signerd.wire.backends import BackendChanged, BackendState
from signerd.wire.links import Opened
from signerd.wire.ring import Grant, RingEntry
from signerd.wire.worker_calls import CallError

__all__ = ["Snapshot"]


class Snapshot:
    """The last ring and backend states that the sealer has told. Stays as it was while there is no sealer."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], RingEntry] = {}
        self._held: dict[str, dict[str, dict[int, RingEntry]]] = {}
        self._sorted: dict[str, tuple[RingEntry, ...]] = {}
        self._early: list[RingEntry] = []
        self.backends: dict[str, BackendState] = {}
        self.absent: Mapping[str, CallError] = {}
        """By reference: what the backend of a configured key that the ring has never held says of it."""
        self.separation = "process"
        self.grants: Sequence[Grant] = ()
        self._boot = boot_id()

    def opened(self, opened: Opened) -> None:
        """Take everything anew."""
        self._newest, self._held, self._sorted = {}, {}, {}
        early, self._early = self._early, []
        self.take_ring([*early, *opened.ring])
        self.grants = opened.grants
        self.backends = {backend.name: backend for backend in opened.backends}
        self.absent = {}
        self.separation = opened.separation

    def take_early(self, ring: Sequence[RingEntry]) -> None:
        """Take a part of the ring that came before ``opened``, which replaces what was known before."""
        self._early += ring

    def take_ring(self, ring: Sequence[RingEntry]) -> None:
        """Take versions that are new or have changed."""
        for entry in ring:
            versions = self._held.setdefault(entry.tenant, {}).setdefault(entry.key, {})
            versions[entry.version] = entry
            self._sorted.pop(entry.tenant, None)
            self._newest[entry.tenant, entry.key] = _signing(versions)

    def take_backend(self, changed: BackendChanged) -> None:
        """Take one backend's new state."""
        self.backends[changed.backend.name] = changed.backend

    def find(self, tenant: str, key: str) -> RingEntry | None:
        """Return the version that signs what is asked of the tenant's key now; where none is active, the newest.

        Another tenant's key does not exist (T14).
        """
        return self._newest.get((tenant, key))

    def find_version(self, tenant: str, keyid: str) -> RingEntry | None:
        """Return the version of one of the tenant's keys that has this id; never one that no leaf backs."""
        return next((e for e in self.of_tenant(tenant) if e.keyid == keyid and e.status != UNLOGGED), None)

    def why_absent(self, key: str) -> SignerdError | None:
        """Return what keeps a configured key from being known at all; None where its backend was not asked yet."""
        error = self.absent.get(key)
        if error is None:
            return None
        return error_from(error.code, error.reason, error.message, operator=error.operator or None)

    def of_tenant(self, tenant: str) -> Sequence[RingEntry]:
        """Return all versions of the tenant's keys, by reference and version."""
        known = self._sorted.get(tenant)
        if known is None:
            held = self._held.get(tenant, {})
            known = tuple([versions[number] for _, versions in sorted(held.items()) for number in sorted(versions)])
            self._sorted[tenant] = known
        return known

    def bypass(self, tenant: str, now_ms: int, monotonic: float) -> Grant | None:
        """Return the bypass of the entitlement source that is in force for ``tenant``."""
        return self._found("bypass", lambda grant: grant.tenant == tenant, now_ms, monotonic)

    def approved_release(self, digest: str, tenant: str, now_ms: int, monotonic: float) -> Grant | None:
        """Return the approval that is in force for a tool's digest, for ``tenant`` or for all."""

        def covers(grant: Grant) -> bool:
            return grant.subject == digest and grant.tenant in ("", tenant)

        return self._found("release", covers, now_ms, monotonic)

    def _found(self, kind: str, wanted: Callable[[Grant], bool], now_ms: int, monotonic: float) -> Grant | None:
        for grant in self.grants:
            if grant.kind == kind and wanted(grant) and in_force(grant, now_ms, monotonic, self._boot):
                return grant
        return None


def _signing(versions: Mapping[int, RingEntry]) -> RingEntry:
    active = [version for version, entry in versions.items() if entry.status == "active"]
    return versions[max(active or versions)]
