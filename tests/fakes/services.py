"""In-memory services of the pipeline, and a hand that steps its coroutines.

Each fake keeps its contract's promises: the clock moves when it is told to, the ledger keeps what it is
given, the sealer writes real leaves and makes real signatures and bundles, only that nothing of it touches a
disk. Guards, quota store, the check of descriptors and the document worker's own work are the real ones.
"""

import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar, cast

import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.contracts.values import (
    Caller,
    Entitlement,
    Peer,
    PlanLimits,
    Principal,
    ProofOfEntitlement,
    Release,
)
from signerd.daemon.audit_ids import AuditIds
from signerd.daemon.descriptors import check_claims, check_files
from signerd.daemon.snapshot import Snapshot
from signerd.daemon.story import Story
from signerd.errors import Detail, Refusal, SignerdError, error_from
from signerd.host.guard import Guard
from signerd.host.load import Provided
from signerd.pipeline.admit import admit
from signerd.pipeline.authenticate import authenticate
from signerd.pipeline.build_statement import build_statement
from signerd.pipeline.catalogue import Catalogue
from signerd.pipeline.charging import Charging
from signerd.pipeline.check_release import check_release
from signerd.pipeline.entitle import entitle
from signerd.pipeline.evidence import Admission, BuiltStatement, Cleared, Entitled, Order, Signed
from signerd.pipeline.guarded import Guarded
from signerd.pipeline.quota import MemoryQuotaStore
from signerd.pipeline.request import SignRequest
from signerd.pipeline.services import Bounds, Services
from signerd.pipeline.sign import sign
from signerd.pipeline.tenants import Tenant
from signerd.pipeline.understand import understand
from signerd.pipeline.waits import HashWait, MacWait, ProviderWait, SealWait, Wait
from signerd.sealer.cose import assemble_cose
from signerd.sealer.job import Job, Made, Pinned
from signerd.sealer.leaves import decided_leaf
from signerd.sealer.mac_leaves import decided_mac_leaf
from signerd.sealer.signatures import assemble
from signerd.sealer.tree import leaf_hash
from signerd.verification.keys import PublicKey
from signerd.wire.links import Close, RefusedRecord, Sealed
from signerd.wire.mac_links import Maced
from signerd.wire.methods import SignDsse, SignPayload, Subject
from signerd.wire.ring import RingEntry
from signerd.worker.document import check as check_document

T = TypeVar("T")
NOON = 1_767_268_800_000
"""2026-01-01T12:00:00Z, in Unix milliseconds: when the fake clock starts."""
PEER = Peer(1000, 1000, 4242, 1)
PRINCIPAL = Principal("uid:1000", "acme", frozenset({"signer.sign"}), "fake")
LIMITS = PlanLimits(concurrency=4, size=1 << 20)
NEEDS_RELEASE = "https://example.org/sbom/v1"
EXEMPT = "https://example.org/note/v1"
REPORT = "https://example.org/report/v1"
HEAVY = "https://example.org/heavy/v1"
RECORD = "https://example.org/record/v1"
RECORD_TYPE = "application/vnd.example.record+json"
"""The payload type under which a document of ``RECORD`` is signed bare."""
TOOL = "sha256:" + "ab" * 32
SECRET = bytes(range(32))
"""Of every key that makes MACs here."""
DIGEST = hashlib.sha256(b"artefact").hexdigest()


@dataclass(slots=True)
class FakeClock:
    """A clock that stands still until it is moved."""

    wall_ms: int = NOON
    seconds: float = 1000.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall_ms += int(seconds * 1000)


@dataclass(slots=True)
class MemoryLedger:
    """Keeps the messages that the sealer would get, in their order."""

    closes: list[Close] = field(default_factory=list)
    refusals: list[RefusedRecord] = field(default_factory=list)

    def close(self, close: Close) -> None:
        self.closes.append(close)

    def refuse(self, refusal: RefusedRecord) -> None:
        self.refusals.append(refusal)

    @property
    def written(self) -> list[Close | RefusedRecord]:
        return [*self.closes, *self.refusals]


@dataclass(slots=True)
class OpenDeadlines:
    """Knows which requests' deadlines are being watched."""

    open: set[str] = field(default_factory=set)

    @contextmanager
    def _scope(self, request: SignRequest) -> Any:
        self.open.add(request.audit_id)
        try:
            yield
        finally:
            self.open.discard(request.audit_id)

    def deadline(self, request: SignRequest) -> AbstractContextManager[None]:
        scope: AbstractContextManager[None] = self._scope(request)
        return scope


class Later(Generic[T]):
    """What a provider promises: an awaitable that brings ``value``, or raises it, after a turn of trio."""

    def __init__(self, value: T | Exception) -> None:
        self._value = value

    async def _passed(self) -> None:
        await trio.lowlevel.checkpoint()

    def __await__(self) -> Any:
        yield from self._passed().__await__()
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


def _given(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


@dataclass(slots=True)
class Authenticators:
    """Answers with what it was made with; ``asked`` counts."""

    answer: Any = None
    asked: int = 0

    def authenticate(self, caller: Caller) -> Any:
        self.asked += 1
        return _given(self.answer)


@dataclass(slots=True)
class Plans:
    """An EntitlementSource with one answer for all, or why there is none; keeps the proofs that it saw."""

    answer: Any = field(default_factory=lambda: Entitlement("default", LIMITS, "fake"))
    proofs: list[ProofOfEntitlement] = field(default_factory=list)

    def entitle(self, principal: Principal, proof: ProofOfEntitlement) -> Any:
        self.proofs.append(proof)
        return _given(self.answer)


@dataclass(slots=True)
class Releases:
    """A ReleaseCheck with one answer, or why there is none; keeps the digests that it saw."""

    answer: Any = field(default_factory=lambda: Release(TOOL, "allowlist"))
    asked: list[str] = field(default_factory=list)

    def check(self, digest: str, principal: Principal) -> Any:
        self.asked.append(digest)
        return _given(self.answer)


@dataclass(slots=True)
class PredicateTypeFake:
    """Any object with ``"ok": true`` is of this type."""

    uri: str
    names: tuple[str, ...] = ()
    needs_release: bool = False
    needs_policy: bool = False
    heavy: bool = False
    defect: Any = None

    def check(self, document: dict[str, object]) -> Any:
        if document.get("ok") is not True:
            pointer = {"pointer": "/ok"}
            raise error_from("predicate.invalid", "schema", "this must be true", details=pointer)
        return _given(self.defect)

    def policy(self, document: dict[str, object]) -> tuple[str, str] | None:
        own = document.get("policy")
        return (str(own["digest"]), str(own["viewSet"])) if isinstance(own, dict) else None


@dataclass(slots=True)
class BareTypeFake(PredicateTypeFake):
    """The same, and its objects may be signed bare."""

    payload_type: str = RECORD_TYPE


TYPES = (
    PredicateTypeFake(NEEDS_RELEASE, ("sbom",), needs_release=True),
    PredicateTypeFake(EXEMPT, ("note",)),
    PredicateTypeFake(REPORT, ("report",), needs_policy=True),
    PredicateTypeFake(HEAVY, ("heavy",), heavy=True),
    BareTypeFake(RECORD, ("record",), needs_release=True),
)


@dataclass(slots=True)
class HeldKey:
    """A key with its private half, as ring and worker together would have it."""

    entry: RingEntry
    _private: Any

    @classmethod
    def make(cls, key: str, tenant: str = "acme", kind: str = "ES256", **changes: Any) -> "HeldKey":
        """A new key; ``changes`` are fields of its ring entry."""
        made: dict[str, Callable[[], Any]] = {
            "ES256": partial(ec.generate_private_key, ec.SECP256R1()),
            "ES384": partial(ec.generate_private_key, ec.SECP384R1()),
            "Ed25519": ed25519.Ed25519PrivateKey.generate,
            "RSA-PKCS1-SHA256": partial(rsa.generate_private_key, 65537, 2048),
        }
        private = made[kind]()
        public = PublicKey.from_spki(private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        entry = RingEntry(key, tenant, 1, public.keyid, public.algorithm, public.spki, "file", "active", NOON - 1000)
        return cls(msgspec.structs.replace(entry, **changes), private)

    @classmethod
    def secret(cls, key: str, tenant: str = "acme", **changes: Any) -> "HeldKey":
        """A key that makes MACs."""
        keyid = f"sha256:{hashlib.sha256(f'{tenant} {key}'.encode()).hexdigest()}"
        entry = RingEntry(key, tenant, 1, keyid, "HMAC-SHA256", b"", "hmac", "active", NOON - 1000)
        return cls(msgspec.structs.replace(entry, **changes), None)

    def sign(self, message: bytes) -> bytes:
        algorithms: Mapping[str, tuple[Any, ...]] = {
            "ES256": (ec.ECDSA(SHA256()),),
            "ES384": (ec.ECDSA(SHA384()),),
            "Ed25519": (),
            "RSA-PKCS1-SHA256": (padding.PKCS1v15(), SHA256()),
        }
        signature: bytes = self._private.sign(message, *algorithms[self.entry.algorithm])
        return signature


@dataclass(slots=True)
class MemorySealer:
    """The ring, and the sealer's answers: real leaves, signatures and bundles, in memory."""

    keys: dict[tuple[str, str], HeldKey]
    leaves: list[bytes] = field(default_factory=list)
    absent: dict[str, SignerdError] = field(default_factory=dict)

    @classmethod
    def of(cls, keys: Iterable[HeldKey]) -> "MemorySealer":
        return cls({(held.entry.tenant, held.entry.key): held for held in keys})

    def find(self, tenant: str, key: str) -> RingEntry | None:
        held = self.keys.get((tenant, key))
        return None if held is None else held.entry

    def find_version(self, tenant: str, keyid: str) -> RingEntry | None:
        held = [held.entry for (owner, _), held in self.keys.items() if owner == tenant]
        return next((entry for entry in held if entry.keyid == keyid), None)

    def why_absent(self, key: str) -> SignerdError | None:
        return self.absent.get(key)

    def mac(self, wait: MacWait) -> Maced:
        """What the sealer answers once the ``decided`` leaf is durable: a MAC by the secret :data:`SECRET`."""
        item, data = wait.item, wait.item.data
        if not isinstance(data, bytes):
            assert wait.fd is not None
            data = os.pread(wait.fd, data.size, 0)
        self.leaves.append(decided_mac_leaf(item, NOON).text)
        made = hmac.digest(SECRET, data, "sha256")
        return Maced(mac=made) if item.mac is None else Maced(valid=item.mac == made)

    def seal(self, wait: SealWait) -> tuple[Sealed, tuple[int, ...]]:
        """What the sealer answers once the ``decided`` leaf is durable and every signature has verified."""
        item = wait.item
        payload = item.payload
        if not isinstance(payload, bytes):
            assert wait.fd is not None
            payload = os.pread(wait.fd, payload.size, 0)
        held = [self.keys[item.decision.tenant, use.key] for use in item.decision.keys]
        pinned = tuple(Pinned(h.entry, PublicKey.from_spki(h.entry.spki), "fake", prehash=False) for h in held)
        job = Job(item, pinned, 0.0)
        job.hash_inline(payload)
        leaf, job.decision_digest = decided_leaf(
            item.request, item.decision, item.audit_id, job.statement_sha256, item.payload_type, NOON
        )
        job.index, job.leaf_hash = len(self.leaves), leaf_hash(leaf.text).hex()
        self.leaves.append(leaf.text)
        job.signatures = [
            Made(h.sign(bytes(job.to_sign(place).message)), PublicKey.from_spki(h.entry.spki))
            for place, h in enumerate(held)
        ]
        return (assemble_cose if job.output.form == "messages" else assemble)(job, payload), ()


@dataclass(slots=True)
class World:
    """All that a story works with, and its parts by name."""

    services: Services
    clock: FakeClock
    ledger: MemoryLedger
    deadlines: OpenDeadlines
    sealer: MemorySealer
    quotas: MemoryQuotaStore
    plans: Plans
    releases: Releases
    types: Sequence[PredicateTypeFake]
    asides: list[Awaitable[object]]

    def serve(self, wait: Wait, asked: SignRequest) -> Any:
        """Return what a story waits for, as the daemon would bring it, or raise what has gone wrong."""
        if isinstance(wait, SealWait):
            return self.sealer.seal(wait)
        if isinstance(wait, MacWait):
            return self.sealer.mac(wait)
        if isinstance(wait, HashWait):
            return check_files(wait.files)
        if isinstance(wait, ProviderWait):
            return trio.run(_awaited, wait.awaitable)
        fds = () if wait.fd is None else (wait.fd,)
        answer, fd = check_document(
            msgspec.structs.replace(wait.call, id=1), fds, {t.uri: Provided("fake", t) for t in self.types}
        )
        if answer.error is not None:
            error = answer.error
            details = {"pointer": answer.pointer} if answer.pointer else None
            raise error_from(error.code, error.reason, error.message, details=details)
        asked.owned.extend(() if fd is None else (fd,))
        return answer


async def _awaited(awaitable: Awaitable[object]) -> object:
    return await awaitable


def world(
    *,
    tenants: Iterable[Tenant] = (Tenant("acme", "file:acme"),),
    keys: Iterable[HeldKey] | None = None,
    plan: Any = None,
    release: Any = None,
    checks: Sequence[Releases] | None = None,
    types: Sequence[PredicateTypeFake] = TYPES,
    store: Any = None,
    exceptions: Snapshot | None = None,
    **bounds: int,
) -> World:
    """A daemon's worth of services; ``bounds`` replace the usual limits."""
    clock = FakeClock()
    ledger, deadlines = MemoryLedger(), OpenDeadlines()
    quotas = MemoryQuotaStore(clock)
    asides: list[Awaitable[object]] = []
    sealer = MemorySealer.of([HeldKey.make("file:acme")] if keys is None else keys)
    plans = Plans() if plan is None else Plans(plan)
    releases = Releases() if release is None else Releases(release)
    limits = {
        "inline_bytes": 1 << 20,
        "payload_bytes": 128 << 20,
        "subjects": 1024,
        "digests": 32,
        "front_document_bytes": 256 << 10,
    }
    limits.update(bounds)
    services = Services(
        audience="signerd",
        authenticators=(),
        entitlements=Guarded(plans, Guard("entitlement", "fake")),
        release_checks=tuple(
            Guarded(check, Guard("release", "fake")) for check in ([releases] if checks is None else checks)
        ),
        catalogue=Catalogue([Guarded(kind, Guard("predicate", "fake")) for kind in types]),
        tenants={tenant.name: tenant for tenant in tenants},
        ring=sealer,
        exceptions=exceptions or Snapshot(),
        quotas=Charging(Guarded(quotas if store is None else store, Guard("quota", "fake")), asides.append),
        ledger=ledger,
        deadlines=deadlines,
        clock=clock,
        bounds=Bounds(**limits),
        new_id=AuditIds(),
        published=frozenset({"log", "stamp"}),
        check_claims=partial(check_claims, payload_bytes=limits["payload_bytes"]),
    )
    return World(services, clock, ledger, deadlines, sealer, quotas, plans, releases, types, asides)


def order(**changes: Any) -> SignDsse:
    """A request that everybody says yes to, with ``changes`` to its fields."""
    asked: dict[str, Any] = {
        "subject": (Subject("artefact", digest={"sha256": DIGEST}),),
        "predicate_type": NEEDS_RELEASE,
        "predicate": b'{"ok": true}',
        "scanner_image_digest": TOOL,
    }
    asked.update(changes)
    return SignDsse(**asked)


def payload(**changes: Any) -> SignPayload:
    """A request for a bare document that everybody says yes to, with ``changes`` to its fields."""
    asked: dict[str, Any] = {"payload_type": RECORD_TYPE, "payload": b'{"ok": true}', "scanner_image_digest": TOOL}
    asked.update(changes)
    return SignPayload(**asked)


def request(params: Any = None, *, bound: Principal | None = PRINCIPAL, **fields: Any) -> SignRequest:
    """``params`` as a connection brings them: packed, unless they are a refusal already."""
    if isinstance(params, Refusal):
        return SignRequest("id", "sign.dsse", params, bound, 1030.0, **fields)
    method = "sign.payload" if isinstance(params, SignPayload) else "sign.dsse"
    packed = msgspec.Raw(msgspec.msgpack.encode(order() if params is None else params))
    return SignRequest("id", method, packed, bound, 1030.0, **fields)


class Hand:
    """The daemon's side of every wait, by hand: stories stand where they wait until the test moves them."""

    def __init__(self) -> None:
        self.wait: Wait | None = None
        self.forgotten: list[Wait] = []
        self.ends: list[Any] = []

    def _stand(self, story: Story[Any], wait: Wait) -> None:
        self.wait = wait

    seal = mac = provide = check = hash = _stand

    def forget(self, story: Story[Any], wait: Wait) -> None:
        self.forgotten.append(wait)
        self.wait = None
        if isinstance(wait, ProviderWait) and isinstance(wait.awaitable, Coroutine):
            wait.awaitable.close()

    def ended(self, story: Story[Any], result: object) -> None:
        self.ends.append(result)

    def move(self, story: Story[Any], services: World) -> None:
        """Bring what the story waits for now."""
        wait, self.wait = self.wait, None
        assert wait is not None
        try:
            value = services.serve(wait, story.request)
        except SignerdError as error:
            story.throw(error)
        else:
            story.resume(value)


def begin(asked: SignRequest, services: World) -> tuple[Story[Signed], Hand]:
    """Start the whole story of a request, and give the hand that moves it."""
    hand = Hand()
    made = Story(asked, sign(asked, PEER, services.services), hand, lambda _story, _result: None)
    made.start()
    return made, hand


def complete(coroutine: Coroutine[Wait, Any, T], services: World, asked: SignRequest | None = None) -> T:
    """Run one stage to its end, bringing what it waits for; returns its evidence or raises its refusal."""
    step: Callable[[], Wait] = partial(coroutine.send, None)
    while True:
        try:
            wait = step()
        except StopIteration as stop:
            return cast("T", stop.value)
        try:
            step = partial(coroutine.send, services.serve(wait, asked or request()))
        except SignerdError as error:
            step = partial(coroutine.throw, error)


def refusal(coroutine: Coroutine[Wait, Any, object], services: World) -> tuple[str, str, dict[str, Detail]]:
    """Run one stage that says no; returns code, reason and the other details."""
    with pytest.raises(SignerdError) as caught:
        complete(coroutine, services)
    error = caught.value
    return error.code, error.reason, {name: v for name, v in error.details.items() if name != "reason"}


def understood(services: World, asked: SignRequest) -> Order:
    """The real stages' evidence, up to ``understand``."""
    principal = complete(authenticate(asked, services.services), services)
    return complete(understand(principal, asked, services.services), services)


def entitled(services: World, asked: SignRequest) -> Entitled:
    """The real stages' evidence, up to ``entitle``."""
    return complete(entitle(understood(services, asked), services.services), services)


def cleared(services: World, asked: SignRequest) -> Cleared:
    """The real stages' evidence, up to ``check_release``."""
    return complete(check_release(entitled(services, asked), services.services), services)


def admitted(services: World, asked: SignRequest) -> Admission:
    """The real stages' evidence, up to ``admit``; the slot stays taken."""
    return complete(admit(cleared(services, asked), services.services).__aenter__(), services)


def built(services: World, asked: SignRequest) -> BuiltStatement:
    """The real stages' evidence, up to ``build_statement``; the slot stays taken."""
    return complete(build_statement(admitted(services, asked), services.services), services, asked)
