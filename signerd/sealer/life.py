"""The life of a key: what operators order, from the first version to the last.

Every change is an audit leaf before it is in the ring, and in the ring before whoever ordered it is told. What signs is
decided by the ring as it is then: a decision of before names its version, and an old handle never signs with a new key.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from signerd.attestation.algorithms import check_algorithm
from signerd.contracts.services import Clock
from signerd.errors import Refusal, SignerdError, error_from
from signerd.host.config_checks import names_pin
from signerd.sealer.backends import Backend
from signerd.sealer.descriptions import Lie, read_description, read_rotation
from signerd.sealer.key_spec import KeySpec
from signerd.sealer.keyring import Keyring, entry_of
from signerd.sealer.transitions import changed, check_new, check_order, new_version
from signerd.sealer.versions import Versions, planted_refusal
from signerd.sealer.worker_call import Call, CallResult
from signerd.verification.compliance import check_key
from signerd.wire.orders import KeyOrder
from signerd.wire.ring import RingChange, RingEntry
from signerd.wire.worker_calls import CallError, DescribeParams, DescribeResult, GenerateParams, RotateParams

__all__ = ["Life", "Then"]

_log = logging.getLogger(__name__)

Then = Callable[[tuple[RingEntry, ...] | SignerdError], None]
"""Takes the end of an order, once: the versions as they are after it (a new one first), or why nothing has changed."""

_HANDLE: Final = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]{1,1000}")


class Life:
    """Carries orders out. Who may give them, and how many must agree, is decided before they come here."""

    def __init__(self, keyring: Keyring, versions: Versions, backends: Mapping[str, Backend], clock: Clock) -> None:
        self._keyring = keyring
        self._versions = versions
        self._backends = backends
        self._clock = clock
        self._busy: set[str] = set()

    def order(self, order: KeyOrder, then: Then) -> None:
        """Carry ``order`` out and call ``then`` once: before this returns, or, where a backend makes or describes a
        key, when it has.

        ``key.not_found`` for a key or version that is not there, ``key.revoked``, ``request.conflict`` with reason
        ``wrong_status``, ``exists``, ``known_key`` (the new key is one that the ring has), ``in_progress`` (another
        new version of this key is being made) or ``ring_unlogged`` (no leaf backs any version of this key),
        ``key.forbidden`` with reason ``handle`` for one of another backend or of another key and
        ``hardware_required`` for a rotation to a key that is not in hardware where the tenant's must be,
        ``key.algorithm_refused``, ``request.unsupported`` for a backend that makes no keys, ``request.malformed``, what
        the backend refuses with, and ``audit.unavailable``.
        """
        try:
            now = self._clock.now_ms()
            check_order(order, now)
            if any(map(self._versions.planted, self._versions.of(order.key))):
                raise planted_refusal()
            if order.operation in ("generate", "rotate"):
                self._ask(order, then)
                return
            entry = changed(order, self._versions.of(order.key), now)
            self._versions.change(order.operation, [entry], order.by, order.reason)
        except SignerdError as error:
            then(error)
            return
        self._keyring.touched([entry])
        then((self._keyring.shown(entry),))

    def versions(self, key: str = "") -> tuple[RingEntry, ...]:
        """Return the versions of one key, oldest first, or of all: also of keys that are no longer configured."""
        entries = self._versions.of(key) if key else self._versions.entries()
        return tuple([self._keyring.shown(entry) for entry in entries])

    def backed(self) -> tuple[RingEntry, ...]:
        """Return the versions of all keys that the log knows and that have a public half: what may be published."""
        return tuple([e for e in self.versions() if not self._versions.planted(e) and not e.makes_macs])

    def history(self, key: str = "") -> tuple[RingChange, ...]:
        """Return the changes of one key, or of all, oldest first, from the log; ``audit.unavailable``."""
        return self._versions.history(key)

    def _ask(self, order: KeyOrder, then: Then) -> None:
        """Have a backend make or describe what becomes the next version."""
        spec = self._keyring.specs.get(order.key)
        if spec is None:
            raise Refusal("key.not_found", "no_such_key", "no such key")
        if spec.certificates is not None:
            raise Refusal("request.unsupported", "keyless", "a keyless key has no versions")
        versions = self._versions.of(order.key)
        check_new(order, versions)
        if order.key in self._busy:
            raise Refusal("request.conflict", "in_progress", "another new version of the key is being made")
        algorithm = order.algorithm or (versions[-1].algorithm if versions else spec.mac or spec.generate or "ES256")
        if spec.mac:
            _check_mac(spec, algorithm)
        else:
            check_algorithm(spec.profile, algorithm)
        backend = self._backends[spec.backend]
        params = self._params(order, spec, versions, algorithm)
        method = "describe" if order.handle else order.operation
        if backend.up and method != "describe" and method not in backend.methods:
            raise Refusal("request.unsupported", method, "the key's backend cannot do that")
        if method != "describe":
            self._versions.announce(order.operation, order.key, order.by, order.reason)
        self._busy.add(order.key)
        wanted = "" if order.handle and not order.algorithm else algorithm
        backend.call_many([Call(method, params, partial(self._made, order, spec, wanted, then))])

    def _params(
        self, order: KeyOrder, spec: KeySpec, versions: Sequence[RingEntry], algorithm: str
    ) -> GenerateParams | DescribeParams | RotateParams:
        if order.operation == "generate":
            return GenerateParams(spec.key, algorithm)
        if order.handle:
            self._check_handle(order.handle, spec)
            return DescribeParams(order.handle)
        return RotateParams(versions[-1].name, algorithm)

    def _check_handle(self, handle: str, spec: KeySpec) -> None:
        """Refuse a handle of another backend, and one that is, or will be, another key's (T14)."""
        taken = handle in self._keyring.specs or any(handle == entry.name for entry in self._versions.entries())
        foreign = _HANDLE.fullmatch(handle) is None or handle.partition(":")[0] != spec.key.partition(":")[0]
        if foreign or taken or names_pin(handle):
            raise Refusal("key.forbidden", "handle", "the new version cannot have this handle")

    def _made(self, order: KeyOrder, spec: KeySpec, algorithm: str, then: Then, result: CallResult) -> None:
        self._busy.discard(order.key)
        try:
            described, handle = self._read(order, spec, result)
            if algorithm and described.algorithm != algorithm:
                raise Lie(f"made a key of algorithm {described.algorithm} in place of {algorithm}")
            if not spec.mac:
                check_key(spec.profile, described.algorithm, described.spki)
            if order.operation == "rotate" and spec.require_hardware and not described.hardware:
                # It would end the version that signs, and not sign itself.
                raise Refusal("key.forbidden", "hardware_required", "the tenant's keys must be in hardware")
            changes = self._take(order, spec, described, handle)
        except Lie as lie:
            self._backends[spec.backend].condemn(f"{spec.key}: {lie}")
            then(error_from("key.backend_fault", "answer", "the key's backend failed", operator=str(lie)))
            return
        except SignerdError as error:
            then(error)
            return
        then(changes)

    def _read(self, order: KeyOrder, spec: KeySpec, result: CallResult) -> tuple[DescribeResult, str]:
        """Return what the backend made or described, and its handle (empty: the reference)."""
        if isinstance(result, CallError):
            raise error_from(result.code, result.reason, result.message, operator=result.operator or None)
        if order.operation == "generate":
            return read_description(result, spec.enrolled is not None, spec.mac), ""
        if order.handle:
            return read_description(result, spec.enrolled is not None, spec.mac), order.handle
        rotated = read_rotation(result, spec.mac)
        self._check_handle(rotated.key, spec)
        return rotated, rotated.key

    def _take(
        self, order: KeyOrder, spec: KeySpec, described: DescribeResult, handle: str
    ) -> tuple[RingEntry, ...]:
        versions = self._versions.of(order.key)
        check_new(order, versions)
        now = self._clock.now_ms()
        changes = new_version(order, versions, entry_of(spec, described, now, handle), now)
        try:
            self._versions.change(order.operation, changes, order.by, order.reason)
        except SignerdError:
            _log.error("key %s: %s is made, and no version of it", spec.key, handle or spec.key)
            raise
        self._keyring.described(described.keyid, described)
        self._keyring.touched(changes)
        return tuple([self._keyring.shown(entry) for entry in changes])


def _check_mac(spec: KeySpec, algorithm: str) -> None:
    if algorithm != spec.mac:
        raise Refusal("key.algorithm_refused", "other_algorithm", "the key's algorithm is configured otherwise")
