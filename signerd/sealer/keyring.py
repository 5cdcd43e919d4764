"""The keys that may sign, pinned: what a backend describes is compared with what the ring has held from the first.

A key is generated at first start where the configuration says so. Its leaf is durable before the ring has it, and it
signs nothing before the ring does.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

import msgspec

from signerd.contracts.services import AuditStore, Clock
from signerd.errors import SignerdError
from signerd.sealer.backends import Backend, Call, CallResult
from signerd.sealer.job import Pinned
from signerd.sealer.leaves import ring_leaf
from signerd.sealer.ring import RingStore
from signerd.verification.keys import PublicKey
from signerd.wire.decoding import BROKEN
from signerd.wire.links import RingEntry
from signerd.wire.worker_calls import CallError, DescribeParams, DescribeResult, GenerateParams

__all__ = ["KeySpec", "Keyring"]

_log = logging.getLogger(__name__)
_describe_result: Final = msgspec.msgpack.Decoder(DescribeResult)

_NOT_DESCRIBED: Final = CallError("key.backend_unavailable", "not_described", "the key's backend is not available")
_ANOTHER: Final = CallError("key.backend_fault", "key_replaced", "the key is not the one that has been known")


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What the configuration says of a key. ``generate`` is an algorithm, empty for a key that must be there."""

    key: str
    tenant: str
    backend: str
    source: str
    generate: str = ""


class Keyring(Mapping[str, Pinned]):
    """The live ring by key reference. ``changed`` is true after a change until :meth:`snapshot` was taken."""

    def __init__(self, specs: Sequence[KeySpec], store: RingStore, audit: AuditStore, clock: Clock) -> None:
        self._specs = specs
        self._store = store
        self._audit = audit
        self._clock = clock
        self._held = {entry.key: entry for entry in store.load()}
        self._open: set[str] = {spec.key for spec in specs}
        self._pinned = {spec.key: self._known(self._held[spec.key], spec) for spec in specs if spec.key in self._held}
        self.changed = False

    @staticmethod
    def _known(entry: RingEntry, spec: KeySpec) -> Pinned:
        """Return a key as the ring has held it: it is there, and signs once its backend has described it."""
        unfit = _ANOTHER if entry.tenant != spec.tenant else _NOT_DESCRIBED
        return Pinned(entry, PublicKey.from_spki(entry.spki), spec.backend, prehash=False, unfit=unfit)

    def __getitem__(self, key: str) -> Pinned:
        return self._pinned[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pinned)

    def __len__(self) -> int:
        return len(self._pinned)

    @property
    def settled(self) -> bool:
        """Whether every configured key was described, or cannot be."""
        return not self._open

    def snapshot(self) -> tuple[RingEntry, ...]:
        """Return the entries as the front end gets them, sorted by reference."""
        self.changed = False
        return tuple(self._pinned[key].entry for key in sorted(self._pinned))

    def backend_up(self, backend: Backend) -> None:
        """Have a worker that came up describe the keys that it serves."""
        specs = [spec for spec in self._specs if spec.backend == backend.spec.name]
        calls = [Call("describe", DescribeParams(s.key), partial(self._described, backend, s)) for s in specs]
        backend.call_many(calls)

    def backend_down(self, backend: Backend) -> None:
        """Stop waiting for the keys of a worker that cannot be had; those that the ring knows stay pinned."""
        for spec in self._specs:
            if spec.backend == backend.spec.name:
                self._open.discard(spec.key)

    def _described(self, backend: Backend, spec: KeySpec, result: CallResult) -> None:
        if isinstance(result, CallError):
            if result.reason == "call_deadline":
                # It was not up to the key; a worker that hangs misses this one too, and is started again.
                backend.call_many([Call("describe", DescribeParams(spec.key), partial(self._described, backend, spec))])
                return
            if result.code == "key.not_found" and spec.generate and spec.key not in self._held:
                call = Call(
                    "generate", GenerateParams(spec.key, spec.generate), partial(self._pin, backend, spec, "generate")
                )
                backend.call_many([call])
                return
            self._lost(spec, result)
            self._settle(spec)
        else:
            self._pin(backend, spec, "import", result)

    def _pin(
        self, backend: Backend, spec: KeySpec, change: Literal["generate", "import"], result: CallResult
    ) -> None:
        if isinstance(result, CallError):
            self._lost(spec, result)
        else:
            try:
                self._take(backend, spec, change, _describe_result.decode(result))
            except BROKEN as exc:
                backend.condemn(f"a description of {spec.key} out of shape: {exc}")
            except SignerdError as error:
                _log.error("key %s: %s", spec.key, error)
        self._settle(spec)

    def _take(
        self, backend: Backend, spec: KeySpec, change: Literal["generate", "import"], described: DescribeResult
    ) -> None:
        public = PublicKey.from_spki(described.spki)
        if public.keyid != described.keyid or public.algorithm != described.algorithm:
            backend.condemn(f"described {spec.key} with an id or algorithm that is not its key's")
            return
        entry = self._held.get(spec.key)
        if entry is None:
            now = self._clock.now_ms()
            entry = RingEntry(
                spec.key, spec.tenant, 1, public.keyid, public.algorithm, public.spki, spec.source, "active", now
            )
            self._audit.append_many([ring_leaf(change, entry, now)])
            self._store.add(entry)
            self._held[spec.key] = entry
        elif entry.keyid != public.keyid or entry.tenant != spec.tenant:
            _log.error("key %s is not the one that the ring has held (%s): it does not sign", spec.key, entry.keyid)
            self._unfit(spec, _ANOTHER)
            return
        prehash = described.prehash == "sha256" and public.prehash
        known = self._pinned.get(spec.key)
        self._pinned[spec.key] = Pinned(entry, public, spec.backend, prehash)
        self.changed = self.changed or known is None or known.entry != entry

    def _lost(self, spec: KeySpec, error: CallError) -> None:
        """Take a backend's word that it has no such key, or cannot use it."""
        _log.error("key %s: %s (%s) %s", spec.key, error.code, error.reason, error.operator)
        self._unfit(spec, error)

    def _unfit(self, spec: KeySpec, why: CallError) -> None:
        known = self._pinned.get(spec.key)
        if known is not None:
            self._pinned[spec.key] = replace(known, unfit=why)

    def _settle(self, spec: KeySpec) -> None:
        self._open.discard(spec.key)
