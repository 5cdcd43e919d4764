"""All versions of all keys, as log and ring agree on them.

The log is the authority. A change is a leaf first and a row after it, so that a ring which lags behind is rolled
forward at start; a row that no leaf backs was put there by somebody else, and does not sign (T22).
"""

import logging
from collections.abc import Iterable, Sequence

from msgspec.structs import astuple

from signerd.contracts.services import AuditStore, Clock
from signerd.errors import Refusal, SignerdError
from signerd.sealer.admin_leaves import AdminFacts, Change, admin_leaf, ring_change, ring_leaf
from signerd.sealer.ring import RingStore, entry_of_row
from signerd.wire.ring import RingChange, RingEntry

__all__ = ["Versions", "planted_refusal"]

_log = logging.getLogger(__name__)


class Versions:
    """Every version, in memory, by reference and by keyid; :meth:`change` alone changes them."""

    def __init__(self, store: RingStore, audit: AuditStore, clock: Clock) -> None:
        """Load the ring, compare it with the log, and roll it forward. Raises as the two stores do."""
        self._store = store
        self._audit = audit
        self._clock = clock
        self._by_key: dict[str, list[RingEntry]] = {}
        self._by_keyid: dict[str, RingEntry] = {}
        self._places: dict[str, list[int]] = {}
        self._unlogged: set[tuple[str, int]] = set()
        self._planted: set[tuple[str, int]] = set()
        self._compare()

    def of(self, key: str) -> Sequence[RingEntry]:
        """Return the versions of a reference, oldest first; one that no leaf backs stands there only if all do so."""
        return self._by_key.get(key, ())

    def find(self, keyid: str) -> RingEntry | None:
        """Return the version that has this keyid, whatever its reference."""
        return self._by_keyid.get(keyid)

    def entries(self) -> Iterable[RingEntry]:
        """Return all versions, key by key."""
        return [entry for versions in self._by_key.values() for entry in versions]

    def unlogged(self, entry: RingEntry) -> bool:
        """Whether the ring's row for this version was put there past the log."""
        return (entry.key, entry.version) in self._unlogged

    def planted(self, entry: RingEntry) -> bool:
        """Whether all that is known of this version is such a row: its very public key may be a stranger's."""
        return (entry.key, entry.version) in self._planted

    def announce(self, change: Change, key: str, by: str, reason: str) -> None:
        """Put on record that a backend is about to be asked to make a key for ``key``; ``audit.unavailable``.

        Where the log takes no leaf, a disk that is full for instance, no key is made that nothing tells of.
        """
        facts = AdminFacts(f"keys.{change}", by, reason, key=key)
        self._audit.append_many([admin_leaf(facts, self._clock.now_ms())])

    def change(self, change: Change, entries: Sequence[RingEntry], by: str = "", reason: str = "") -> None:
        """Make a change: its leaves are durable, then its rows, then memory has it.

        Refuses ``request.conflict``, reason ``known_key``, for a new version with the key of another one, and reason
        ``ring_unlogged`` for one that is :meth:`planted`: a leaf would make a stranger's key ours. Raises
        ``audit.unavailable`` where nothing could be recorded: nothing has changed then. A ring that cannot be written
        is rolled forward from the log at the next start, so the change stands.
        """
        for entry in entries:
            if self.planted(entry):
                raise planted_refusal()
            held = self._by_keyid.get(entry.keyid)
            if held is not None and (held.key, held.version) != (entry.key, entry.version):
                raise Refusal("request.conflict", "known_key", "this very key is in the ring already")
        now = self._clock.now_ms()
        first = self._audit.append_many([ring_leaf(change, entry, now, by, reason) for entry in entries])
        try:
            self._store.put(entries)
        except SignerdError as error:
            _log.error("%s; the change is in the log, from which the ring is restored at the next start", error)
        for index, entry in enumerate(entries, first):
            self._places.setdefault(entry.key, []).append(index)
            self._unlogged.discard((entry.key, entry.version))
            self._hold(entry)

    def history(self, key: str = "") -> tuple[RingChange, ...]:
        """Return the changes of one key, or of all, oldest first, as their leaves tell them."""
        if key:
            return tuple([ring_change(text) for text in self._audit.leaves_at(self._places.get(key, ()))])
        return tuple([ring_change(text) for _, text in self._audit.ring_leaves()])

    def _hold(self, entry: RingEntry) -> None:
        versions = self._by_key.get(entry.key)
        self._by_keyid[entry.keyid] = entry
        if versions is None:
            self._by_key[entry.key] = [entry]
            return
        for place, held in enumerate(versions):
            if held.version == entry.version:
                versions[place] = entry
                break
        else:
            versions.append(entry)
            versions.sort(key=lambda each: each.version)

    def _compare(self) -> None:
        told: dict[tuple[str, int], RingEntry] = {}
        earlier: dict[tuple[str, int], list[RingEntry]] = {}
        for index, text in self._audit.ring_leaves():
            entry = ring_change(text).entry
            version = (entry.key, entry.version)
            before = told.get(version)
            if before is None:
                self._places.setdefault(entry.key, []).append(index)
            else:
                self._places[entry.key].append(index)
                earlier.setdefault(version, []).append(before)
            told[version] = entry
        for entry in told.values():
            self._hold(entry)
        behind = dict(told)
        for row in self._store.rows():
            version = (row[0], row[2])
            known = told.get(version)
            if known is not None and astuple(known) == row:
                del behind[version]
            elif known is None or all(astuple(each) != row for each in earlier.get(version, ())):
                behind.pop(version, None)
                self._foreign(entry_of_row(row), known)
        if behind:
            self._roll_forward(tuple(behind.values()))

    def _foreign(self, row: RingEntry, entry: RingEntry | None) -> None:
        """Take note of a row that no leaf backs; what the log knows of its version stays as the log has it."""
        _log.error("key %s, version %d: the ring has what the log does not; it does not sign", row.key, row.version)
        self._unlogged.add((row.key, row.version))
        known = self._by_key.get(row.key, ())
        if entry is None and row.keyid not in self._by_keyid and all(self.unlogged(each) for each in known):
            self._planted.add((row.key, row.version))
            self._hold(row)

    def _roll_forward(self, behind: Sequence[RingEntry]) -> None:
        _log.warning("the ring is older than the log: %d versions are restored from it", len(behind))
        self.change("restore", behind, reason="the ring was older than the log")


def planted_refusal() -> Refusal:
    """Return what an order on a version that no leaf backs is refused with."""
    return Refusal("request.conflict", "ring_unlogged", "the key ring has a version that the log does not know")
