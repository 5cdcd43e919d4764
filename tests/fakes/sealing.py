"""Parts around the sealer's work that a test steps by hand: time, keys, a worker that answers when it is told to.

The keys sign for real and the bundles verify; the worker speaks no protocol and starts no process, so that a
test decides what comes before what.
"""

import gc
import os
import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fakes.gost import SoftGost
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.contracts.services import Leaf
from signerd.errors import Fault, SignerdError
from signerd.host.memfd import read_sealed
from signerd.sealer.aside import Aside
from signerd.sealer.backends import Backend
from signerd.sealer.job import Pinned
from signerd.sealer.macs import MacSealing
from signerd.sealer.seal import Sealing
from signerd.sealer.worker_call import Call
from signerd.verification.keys import PublicKey
from signerd.wire.links import DecisionFacts, KeyUse, PeerFacts, ReleaseFacts, RequestFacts, SealItem, SealOutcome
from signerd.wire.params import Descriptor
from signerd.wire.ring import RingEntry
from signerd.wire.worker_calls import CallError, SignParams, SignResultParams

NOW = 1_750_000_000_000
TENANT = "local"


def open_here() -> int:
    """How many descriptors this process has open, without those that only garbage holds."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


class HandClock:
    """Clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = NOW
        self.seconds = 1000.0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)
        self.seconds += seconds


_CURVES: dict[str, ec.EllipticCurve] = {"ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


class SoftKey:
    """A key pair with its place in the ring. A P-256 key signs the message's SHA-256, the others the message."""

    def __init__(self, key: str = "file:default", algorithm: str = "ES256", tenant: str = TENANT) -> None:
        private = ec.generate_private_key(_CURVES.get(algorithm, ec.SECP256R1()))
        self.private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | SoftGost = private
        if algorithm == "Ed25519":
            self.private = ed25519.Ed25519PrivateKey.generate()
        elif algorithm.startswith("GOST"):
            self.private = SoftGost(f"TC26-{algorithm[-3:]}-A")
        spki = (
            self.private.spki
            if isinstance(self.private, SoftGost)
            else self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        self.public = PublicKey.from_spki(spki)
        self.entry = RingEntry(key, tenant, 1, self.public.keyid, algorithm, spki, "file", "active", NOW - 1000)

    def sign(self, message: bytes) -> bytes:
        """Sign what a worker is handed."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey | SoftGost):
            return self.private.sign(message)
        if self.entry.algorithm in _CURVES:
            return self.private.sign(message, ec.ECDSA(SHA384() if self.entry.algorithm == "ES384" else SHA512()))
        return self.private.sign(message, ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True))

    def pinned(self, backend: str = "soft") -> Pinned:
        return Pinned(self.entry, self.public, backend, self.public.prehash)


@dataclass
class HandBackend:
    """Holds calls until :meth:`answer`. ``up`` false answers at once that nobody is there, as Backend does."""

    keys: dict[str, SoftKey]
    calls: list[Call] = field(default_factory=list)
    condemned: list[str] = field(default_factory=list)
    up: bool = True

    def call_many(self, calls: Sequence[Call]) -> None:
        for call in calls:
            if self.up:
                self.calls.append(call)
            else:
                _close(call)
                call.done(CallError("key.backend_unavailable", "worker_down", "down"))

    def flush(self) -> None:
        pass

    def condemn(self, why: str) -> None:
        self.condemned.append(why)

    def answer(self, spoil: Callable[[bytes], bytes] = bytes, *, of: str | None = None) -> None:
        """Sign all that waits (of one key), what is asked meanwhile not included."""
        calls, self.calls = self.calls, []
        for call in calls:
            params = cast("SignParams", call.params)
            if of is not None and params.key != of:
                self.calls.append(call)
                continue
            key = self.keys[params.key]
            message = params.message
            if isinstance(message, Descriptor):
                message = read_sealed(call.fds[message.fd], message.size, 1 << 30)
            _close(call)
            signed = SignResultParams(spoil(key.sign(message)), key.entry.keyid)
            call.done(msgspec.Raw(msgspec.msgpack.encode(signed)))

    def fail(self, code: str = "key.backend_unavailable", reason: str = "worker_died") -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            _close(call)
            call.done(CallError(code, reason, "the key's backend failed"))


def _close(call: Call) -> None:
    for fd in call.fds:
        os.close(fd)


class ListStore:
    """AuditStore in memory, with the log's rule: an id begins one record, which has one outcome."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.failing: SignerdError | None = None
        self._seen: set[tuple[str, bool]] = set()

    def append_many(self, leaves: Sequence[Leaf]) -> int:
        if self.failing is not None:
            raise self.failing
        keys = [(leaf.audit_id, leaf.kind == "outcome") for leaf in leaves if leaf.audit_id]
        if len(set(keys)) < len(keys) or self._seen.intersection(keys):
            raise Fault("audit.unavailable", "duplicate", "the audit log cannot be used")
        self._seen.update(keys)
        self.leaves += leaves
        return len(self.leaves) - len(leaves)

    def open_records(self) -> list[Leaf]:
        closed = {leaf.audit_id for leaf in self.leaves if leaf.kind == "outcome"}
        return [leaf for leaf in self.leaves if leaf.kind == "decided" and leaf.audit_id not in closed]

    def ring_leaves(self) -> list[tuple[int, bytes]]:
        return [(index, leaf.text) for index, leaf in enumerate(self.leaves) if leaf.kind == "ring"]

    def admin_leaves(self) -> list[bytes]:
        return [leaf.text for leaf in self.leaves if leaf.kind == "admin"]

    def presence_leaves(self) -> list[bytes]:
        return [leaf.text for leaf in self.leaves if leaf.kind == "presence"]

    def leaves_at(self, indices: Sequence[int]) -> list[bytes]:
        return [self.leaves[index].text for index in sorted(indices)]

    def leaf_of(self, audit_id: str) -> bytes | None:
        begun = (leaf.text for leaf in self.leaves if leaf.audit_id == audit_id and leaf.kind != "outcome")
        return next(begun, None)

    def daily_counts(self, day: int) -> dict[str, int]:
        del day
        return {}


class Bench:
    """A :class:`Sealing` with everything around it."""

    def __init__(self, *keys: SoftKey, store: Any = None) -> None:
        self.keys = keys or (SoftKey(),)
        self.clock = HandClock()
        self.store = ListStore() if store is None else store
        self.backend = HandBackend({key.entry.key: key for key in self.keys})
        self.aside = Aside()
        self.ring = {key.entry.keyid: key.pinned() for key in self.keys}
        backends = cast("dict[str, Backend]", {"soft": self.backend})
        self.sealing = Sealing(self.store, self.ring, backends, self.clock, self.aside)
        self.macs = MacSealing(self.store, self.ring, backends, self.clock)
        self.ids = 0

    def close(self) -> None:
        self.sealing.give_up()
        self.macs.give_up()
        self.aside.close()
        for _, fds in self.sealing.answers.ready:
            for fd in fds:
                os.close(fd)

    def item(self, payload: bytes | Descriptor = b"{}", **changes: Any) -> SealItem:
        """An item for all keys; ``changes`` are fields of the item."""
        self.ids += 1
        uses = tuple(KeyUse(k.entry.key, "tenant_default", k.entry.keyid, 1) for k in self.keys)
        decision = DecisionFacts("uid:1000", TENANT, "embedded", ReleaseFacts("asserted"), uses)
        request = RequestFacts("sign.dsse", PeerFacts(1000, 4242), TENANT, "uid:1000")
        fields: dict[str, Any] = {
            "audit_id": f"id{self.ids}",
            "request": request,
            "decision": decision,
            "payload_type": PAYLOAD_TYPE,
            "payload": payload,
            "deadline_ms": 30_000,
            **changes,
        }
        return SealItem(**fields)

    def admit(self, payload: bytes | Descriptor = b"{}", fd: int | None = None, **changes: Any) -> str:
        item = self.item(payload, **changes)
        self.sealing.admit(item, fd)
        return item.audit_id

    def settle(self) -> None:
        """Let what runs aside end, and hand it over."""
        done: list[object] = []
        self.aside.run(lambda: None, done.append)
        while not done:
            assert select.select([self.aside.fileno()], [], [], 20)[0]
            self.aside.collect()

    def turn(self) -> None:
        """One turn, and the one that is due when outcomes have waited for company."""
        self.sealing.turn()
        look = self.sealing.next_look()
        if look is not None:
            self.clock.move(max(0.0, look - self.clock.monotonic()))
            self.sealing.turn()

    def outcomes(self) -> dict[str, SealOutcome]:
        """What was answered so far, by id; each once."""
        answered = [outcome.audit_id for outcome, _ in self.sealing.answers.ready]
        assert len(set(answered)) == len(answered)
        return {outcome.audit_id: outcome for outcome, _ in self.sealing.answers.ready}

    def kinds(self, audit_id: str) -> list[str]:
        """The record of one id: the kind of each leaf, with outcome and code where there are any."""
        return [
            ":".join(part for part in (leaf.kind, leaf.outcome, leaf.code) if part)
            for leaf in self.store.leaves
            if leaf.audit_id == audit_id
        ]
