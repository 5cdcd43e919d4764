"""The keys that may sign, pinned: what a backend describes is compared with what the ring has held from the first.

A key is generated at first start where the configuration says so. Its leaf is durable before the ring has it, and it
signs nothing before the ring does.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from signerd.attestation.macs import mac_for
from signerd.contracts.services import Clock
from signerd.contracts.validity import UNLOGGED, status_at
from signerd.errors import SignerdError
from signerd.sealer.backends import Backend
from signerd.sealer.descriptions import KEYLESS_ALGORITHM, Lie, read_description, read_keyless, signs_digest
from signerd.sealer.job import Pinned
from signerd.sealer.key_spec import KeySpec
from signerd.sealer.versions import Versions
from signerd.sealer.worker_call import Call, CallResult
from signerd.sealer.worker_errors import KEY
from signerd.verification.compliance import check_key
from signerd.verification.keys import PublicKey
from signerd.wire.ring import RingEntry
from signerd.wire.worker_calls import CallError, DescribeParams, DescribeResult, GenerateParams

__all__ = ["DESCRIBED_AT_ONCE", "MOST_ABSENT", "Keyring", "entry_of", "keyless_entry"]

_log = logging.getLogger(__name__)

DAY_MS: Final = 86_400_000
DESCRIBED_AT_ONCE: Final = 64
"""Descriptions that a worker is asked for at a time: with thousands of keys the last would miss their deadline."""
MOST_ABSENT: Final = 1024
"""Absent keys that the front end is told of; whoever asks for one beyond them hears that there is none."""
_DESCRIBED: Final = frozenset({"active", "retiring", "suspended", "pending"})

_NOT_DESCRIBED: Final = CallError("key.backend_unavailable", "not_described", "the key's backend is not available")
_ANOTHER: Final = CallError("key.backend_fault", "key_replaced", "the key is not the one that has been known")
_UNLOGGED: Final = CallError("key.backend_fault", "ring_unlogged", "the key ring does not agree with the log")
_OUTSIDE: Final = CallError("key.algorithm_refused", "outside_profile", "the key's algorithm is outside the profile")
_NO_HARDWARE: Final = CallError("key.forbidden", "hardware_required", "the tenant's keys must be in hardware")


class _Pins(dict[str, Pinned]):
    """Pinned versions by keyid, made at their first use: a start must not read every public key of a large ring."""

    def __init__(self, make: Callable[[str], Pinned]) -> None:
        self._make = make

    def __missing__(self, keyid: str) -> Pinned:
        pinned = self[keyid] = self._make(keyid)
        return pinned


class Keyring:
    """The configured keys of the ring. ``pins`` has what signs by keyid: KeyError for a key that is not configured.

    A keyless key is in no ring. ``pins`` has it by its reference.
    """

    def __init__(self, specs: Sequence[KeySpec], versions: Versions, clock: Clock) -> None:
        self.specs = {spec.key: spec for spec in specs}
        self.pins = _Pins(self._pin)
        self._versions = versions
        self._clock = clock
        self._open: dict[str, int] = {spec.key: 0 for spec in specs}
        self._todo: dict[str, deque[Call]] = {}
        self._prehash: dict[str, bool] = {}
        self._lost: dict[str, CallError] = {}
        self._unreached: dict[str, list[tuple[KeySpec, RingEntry | None]]] = {}
        self._told: dict[str, tuple[str, str]] = {}
        self._absent: dict[str, CallError] = {}
        self._absent_told: dict[str, CallError] = {}
        self._changed: dict[str, RingEntry] = {}

    @property
    def unreached(self) -> bool:
        """Whether :meth:`ask_again` has something to ask for."""
        return bool(self._unreached)

    def _pin(self, keyid: str) -> Pinned:
        keyless = self.specs.get(keyid)
        if keyless is not None and keyless.certificates is not None:
            standing = keyless_entry(keyless)
            unfit = self._lost.get(keyid) if keyid in self._prehash or keyid in self._lost else _NOT_DESCRIBED
            unfit = unfit or _outside(keyless, standing)
            prehash = self._prehash.get(keyid, False)
            return keyless.pinned(standing, None, prehash, unfit)
        entry = self._versions.find(keyid)
        spec = None if entry is None else self.specs.get(entry.key)
        if entry is None or spec is None:
            raise KeyError(keyid)
        public = None if entry.makes_macs else PublicKey.from_spki(entry.spki)
        prehash = self._prehash.get(keyid, False)
        return spec.pinned(self.shown(entry), public, prehash, self._unfit(entry, spec))

    def signing(self, key: str) -> Pinned | None:
        """Return the newest version of ``key`` that signs now, else the newest; None where there is none."""
        versions = [entry for entry in self._versions.of(key) if not self._versions.planted(entry)]
        if key not in self.specs or not versions:
            return None
        now = self._clock.now_ms()
        active = [entry for entry in versions if status_at(self.shown(entry), now) == "active"]
        return self.pins[(active or versions)[-1].keyid]

    def _unfit(self, entry: RingEntry, spec: KeySpec) -> CallError | None:
        if entry.tenant != spec.tenant or entry.makes_macs is not bool(spec.mac):
            return _ANOTHER
        if self._versions.unlogged(entry):
            return _UNLOGGED
        if entry.keyid in self._lost:
            return self._lost[entry.keyid]
        if entry.keyid not in self._prehash:
            return _NOT_DESCRIBED
        if spec.require_hardware and not entry.hardware:
            return _NO_HARDWARE
        return _outside(spec, entry)

    def shown(self, entry: RingEntry) -> RingEntry:
        """Return a version as it is told: with the time at which it becomes too old, which the configuration decides.

        One that no leaf backs is :data:`UNLOGGED` and has no public key: nobody is told to believe a stranger's.
        """
        if self._versions.planted(entry):
            return replace(entry, status=UNLOGGED, spki=b"")
        spec = self.specs.get(entry.key)
        if spec is None or not spec.max_age_ms:
            return entry
        oldest = entry.added_at + spec.max_age_ms
        return replace(entry, expires_at=min(oldest, entry.expires_at) if entry.expires_at else oldest)

    @property
    def settled(self) -> bool:
        """Whether every configured key was described, or cannot be."""
        return not self._open

    @property
    def changed(self) -> bool:
        """Whether there is something that the front end has not been told."""
        return bool(self._changed)

    def absent(self) -> dict[str, CallError] | None:
        """Return what is said of keys that the ring has never held, ``MOST_ABSENT`` at most; None: as told before."""
        if self._absent == self._absent_told:
            return None
        self._absent_told = dict(self._absent)
        return self._absent_told

    def changes(self) -> tuple[RingEntry, ...]:
        """Return what has changed since this was last called."""
        changed, self._changed = self._changed, {}
        return tuple(changed.values())

    def snapshot(self) -> tuple[RingEntry, ...]:
        """Return all versions of the configured keys, by reference and version."""
        self._changed = {}
        return tuple(
            [
                entry
                for key in sorted(self.specs)
                for entry in (
                    [keyless_entry(self.specs[key])]
                    if self.specs[key].certificates is not None
                    else map(self.shown, self._versions.of(key))
                )
            ]
        )

    def touched(self, entries: Iterable[RingEntry]) -> None:
        """Take note of versions that are new or have changed in the ring."""
        for entry in entries:
            self.pins.pop(entry.keyid, None)
            if entry.key in self.specs:
                self._changed[entry.keyid] = self.shown(entry)

    def described(self, keyid: str, described: DescribeResult | CallError) -> None:
        """Take what a backend says of a version: how it signs, or why it does not."""
        if isinstance(described, CallError):
            self._lost[keyid] = described
        else:
            self._lost.pop(keyid, None)
            self._told.pop(keyid, None)
            self._prehash[keyid] = signs_digest(described)
        self.pins.pop(keyid, None)

    def ageing(self, now: int) -> Iterator[tuple[RingEntry, int]]:
        """Yield each newest version that is near its end, and the whole days that it has left."""
        for spec in self.specs.values():
            versions = self._versions.of(spec.key)
            if not versions or status_at(entry := self.shown(versions[-1]), now) != "active":
                continue
            if entry.expires_at and entry.expires_at - now <= spec.warn_ms:
                yield entry, (entry.expires_at - now) // DAY_MS

    def backend_up(self, backend: Backend) -> None:
        """Have a worker that came up describe the keys that it serves."""
        calls = []
        for spec in self.specs.values():
            if spec.backend == backend.spec.name:
                wanted = self._wanted(spec)
                self._open[spec.key] = len(wanted)
                if not wanted:
                    self._settle(spec)
                calls += [self._call(backend, spec, entry) for entry in wanted]
        self._unreached.pop(backend.spec.name, None)
        self._todo[backend.spec.name] = deque(calls[DESCRIBED_AT_ONCE:])
        backend.call_many(calls[:DESCRIBED_AT_ONCE])

    def ask_again(self, backend: Backend) -> None:
        """Have the keys described that their backend could not reach: a token may have come back.

        Those alone. What was refused or is broken waits for a person and the worker's next start: asked for again and
        again, a backend that counts wrong PINs would lock its token.
        """
        missing = self._unreached.pop(backend.spec.name, [])
        calls = [self._call(backend, spec, entry) for spec, entry in missing]
        self._todo.setdefault(backend.spec.name, deque()).extend(calls[DESCRIBED_AT_ONCE:])
        backend.call_many(calls[:DESCRIBED_AT_ONCE])

    def _wanted(self, spec: KeySpec) -> list[RingEntry | None]:
        """Return the versions that may sign or come to; None for a key that the ring does not hold."""
        if spec.certificates is not None:
            return [None]
        versions = self._versions.of(spec.key)
        now = self._clock.now_ms()
        return [entry for entry in versions if status_at(self.shown(entry), now) in _DESCRIBED] if versions else [None]

    def _call(self, backend: Backend, spec: KeySpec, entry: RingEntry | None) -> Call:
        name = spec.key if entry is None else entry.name
        return Call("describe", DescribeParams(name), partial(self._answered, backend, spec, entry))

    def backend_down(self, backend: Backend) -> None:
        """Stop waiting for the keys of a worker that cannot be had; those that the ring knows stay pinned."""
        self._todo.pop(backend.spec.name, None)
        self._unreached.pop(backend.spec.name, None)
        for spec in self.specs.values():
            if spec.backend == backend.spec.name:
                self._open.pop(spec.key, None)
                if not self._versions.of(spec.key) and len(self._absent) < MOST_ABSENT:
                    self._absent[spec.key] = _NOT_DESCRIBED

    def _answered(self, backend: Backend, spec: KeySpec, entry: RingEntry | None, result: CallResult) -> None:
        if isinstance(result, CallError):
            if result is KEY.late:
                # It was not up to the key; a worker that hangs misses this one too, and is started again.
                backend.call_many([self._call(backend, spec, entry)])
                return
            if result.code == "key.not_found" and spec.generate and entry is None:
                made = partial(self._made, backend, spec, "generate")
                backend.call_many([Call("generate", GenerateParams(spec.key, spec.generate), made)])
                return
            self._gone(spec, entry, result)
        elif spec.certificates is not None:
            self._keyless(backend, spec, result)
        elif entry is None:
            self._made(backend, spec, "import", result)
            return
        else:
            self._known(backend, spec, entry, result)
        self._next(backend, spec)

    def _next(self, backend: Backend, spec: KeySpec) -> None:
        """Count an answer, and ask for the next description of this backend."""
        if spec.key in self._open:
            self._open[spec.key] -= 1
            if self._open[spec.key] <= 0:
                self._settle(spec)
        # One that has died fails each call at once, and is asked for all of them when it is back.
        todo = self._todo.get(backend.spec.name)
        if todo and backend.up:
            backend.call_many([todo.popleft()])

    def _made(
        self, backend: Backend, spec: KeySpec, change: Literal["generate", "import"], result: CallResult
    ) -> None:
        """Take the first version of a key into the ring."""
        if isinstance(result, CallError):
            self._gone(spec, None, result)
        else:
            try:
                described = read_description(result, spec.enrolled is not None, spec.mac)
                self._told.pop(spec.key, None)
                self._absent.pop(spec.key, None)
                if not self._versions.of(spec.key):  # no order has made one meanwhile
                    entry = entry_of(spec, described, self._clock.now_ms())
                    self._versions.change(change, [entry])
                    self.described(entry.keyid, described)
                    self.touched([entry])
            except Lie as lie:
                backend.condemn(f"{spec.key}: {lie}")
            except SignerdError as error:
                _log.error("key %s: %s", spec.key, error)
        self._next(backend, spec)

    def _keyless(self, backend: Backend, spec: KeySpec, result: msgspec.Raw) -> None:
        try:
            self.described(spec.key, read_keyless(result))
        except Lie as lie:
            backend.condemn(f"{spec.key}: {lie}")

    def _known(self, backend: Backend, spec: KeySpec, entry: RingEntry, result: msgspec.Raw) -> None:
        try:
            described = read_description(result, spec.enrolled is not None, spec.mac)
            if described.keyid != entry.keyid or entry.tenant != spec.tenant:
                _log.error("key %s is not the one that the ring has held (%s): it does not sign", spec.key, entry.keyid)
                self.described(entry.keyid, _ANOTHER)
                return
            self.described(entry.keyid, described)
            self._attest(entry.keyid, described.hardware)
        except Lie as lie:
            backend.condemn(f"{spec.key}: {lie}")
        except SignerdError as error:
            _log.error("key %s: %s", spec.key, error)

    def _attest(self, keyid: str, hardware: bool) -> None:
        """Record what has changed in what the backend says of a version's hardware."""
        entry = self._versions.find(keyid)
        if entry is not None and entry.hardware != hardware and not self._versions.unlogged(entry):
            changed = replace(entry, hardware=hardware)
            self._versions.change("attest", [changed])
            self.touched([changed])

    def _gone(self, spec: KeySpec, entry: RingEntry | None, error: CallError) -> None:
        """Take a backend's word that it has no such key, or cannot use it."""
        which = spec.key if entry is None else entry.keyid
        if self._told.get(which) != (error.code, error.reason):
            self._told[which] = error.code, error.reason
            _log.error("key %s: %s (%s) %s", spec.key, error.code, error.reason, error.operator)
        if error.code == "key.backend_unavailable":
            self._unreached.setdefault(spec.backend, []).append((spec, entry))
        if entry is not None:
            self.described(entry.keyid, error)
        elif spec.certificates is not None:
            self.described(spec.key, error)
        elif spec.key in self._absent or len(self._absent) < MOST_ABSENT:
            self._absent[spec.key] = error

    def _settle(self, spec: KeySpec) -> None:
        self._open.pop(spec.key, None)


def _outside(spec: KeySpec, entry: RingEntry) -> CallError | None:
    """Return why the tenant's profile does not allow the key, if it does not."""
    if entry.makes_macs:
        allowed = all([entry.algorithm in mac_for(spec.profile, purpose) for purpose in spec.purposes])
        return None if allowed else _OUTSIDE
    try:
        check_key(spec.profile, entry.algorithm, entry.spki)
    except SignerdError as error:
        return CallError(error.code, error.reason, error.public)
    return None


def keyless_entry(spec: KeySpec) -> RingEntry:
    """Return what stands for a keyless key among the versions: it has no keyid, and version 0."""
    return RingEntry(spec.key, spec.tenant, 0, "", KEYLESS_ALGORITHM, b"", spec.source, "active", 0)


def entry_of(spec: KeySpec, described: DescribeResult, now: int, handle: str = "") -> RingEntry:
    """Return a described key as the first version of its reference."""
    return RingEntry(
        spec.key,
        spec.tenant,
        1,
        described.keyid,
        described.algorithm,
        described.spki,
        spec.source,
        "active",
        now,
        handle=handle,
        hardware=described.hardware,
    )
