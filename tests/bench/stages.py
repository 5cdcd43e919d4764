"""``scripts/bench --profile``: µs of each stage of one signature, by the functions that the processes call.

In one process and one thread, nothing else in between: what links, wake-ups and the scheduler add is the
difference to the rows. Each stage works on a document of its own turn, so that no cache of one input helps.
"""

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.peers import RELEASE
from bench.templates import COUNTER_DIGITS, Template, sign_dsse
from signerd.attestation.bundle import keyful_bundle
from signerd.attestation.canonical import Canonical, canonicalise
from signerd.attestation.dsse import encode_base64, pae
from signerd.attestation.statement import Subject, build_statement, check_subjects
from signerd.contracts.services import Leaf
from signerd.sealer.audit import SqliteAuditStore
from signerd.sealer.leaves import decided_leaf, outcome_leaf
from signerd.sealer.tree import Frontier, leaf_hash
from signerd.verification.keys import PublicKey
from signerd.wire.connection import Connection, Role
from signerd.wire.frames import encode_frame
from signerd.wire.links import DecisionFacts, KeyUse, PeerFacts, ReleaseFacts, RequestFacts, SubjectFacts
from signerd.wire.messages import Hello, Request, Response
from signerd.wire.methods import (
    Decision,
    DecisionKey,
    EntitlementSummary,
    Receipt,
    ReleaseDecision,
    Remaining,
    SignDsse,
    SigningIdentity,
    SignResult,
    VerifyCommand,
    decode_params,
)
from signerd_predicates_intoto.cyclonedx import check_cyclonedx

__all__ = ["Stage", "measure_stages", "print_stages"]

_DOCUMENTS = 64
_CALLS = 256
_ROUNDS = 9
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_GROUP = 32
_TIME = 1_767_225_600_000


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage and what one signature costs in it: µs, the median of rounds."""

    name: str
    process: str
    us: float


def measure_stages() -> list[Stage]:
    """Measure all stages, in the order in which a request meets them."""
    with tempfile.TemporaryDirectory(prefix="signerd-bench-") as directory:
        store = SqliteAuditStore(Path(directory) / "audit.sqlite")
        try:
            return _Signing(store).stages()
        finally:
            store.close()


def print_stages() -> int:
    """Print them as a table and return the exit status."""
    stages = measure_stages()
    width = max(len(stage.name) for stage in stages)
    lines = [f"{stage.name:<{width}}  {stage.process:<10}  {stage.us:8.1f} µs" for stage in stages]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


class _Signing:
    """All that the stages work on, made once: as many requests as there are documents, and one key."""

    def __init__(self, store: SqliteAuditStore) -> None:
        self._store = store
        self._appended = 0
        self._frontier = Frontier()
        self._frames = list(_request_frames(sign_dsse(2048, RELEASE)))
        self._connection = Connection(Role.SERVER)
        self._connection.receive_data(_hello_frame())
        self._connection.next_event()
        self._connection.send(Hello((1,), "signerd-bench", version=1, nonce=bytes(16)))
        self._requests = [self._decode(frame) for frame in self._frames]
        self._canonical = [canonicalise(_inline(params)) for params in self._requests]
        self._statements = [self._statement(turn) for turn in range(_DOCUMENTS)]
        self._key = ec.generate_private_key(ec.SECP256R1())
        spki = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._public = PublicKey.from_spki(spki)
        self._signatures = [self._sign(turn) for turn in range(_DOCUMENTS)]
        self._payloads = [encode_base64(statement) for statement in self._statements]
        self._leaves = [self._decided(turn)[0] for turn in range(_DOCUMENTS)]
        self._results = [self._result(turn) for turn in range(_DOCUMENTS)]

    def stages(self) -> list[Stage]:
        return [
            Stage("decode frame, request and params", "front end", _time(self._decode_turn)),
            Stage(
                "check subjects",
                "front end",
                _time(lambda turn: check_subjects(_subjects(self._requests[turn]))),
            ),
            Stage("parse, guard, RFC 8785", "front end", _time(self._canonicalise)),
            Stage(
                "CycloneDX schema",
                "front end",
                _time(lambda turn: check_cyclonedx(self._canonical[turn].value)),
            ),
            Stage("hash predicate, join Statement", "front end", _time(self._statement)),
            Stage("PAE and SHA-256", "sealer", _time(self._digest)),
            Stage("decided leaf and its digest", "sealer", _time(self._decided)),
            Stage("outcome leaf", "sealer", _time(self._outcome)),
            Stage("tree: hash and append two leaves", "sealer", _time(self._grow)),
            Stage("sign, ES256 RFC 6979", "key worker", _time(self._sign)),
            Stage("verify before release", "sealer", _time(self._verify)),
            Stage("bundle and its digest", "sealer", _time(self._bundle)),
            Stage("encode result and frame", "front end", _time(self._answer)),
            Stage(
                f"audit commit of {_GROUP}, a leaf's share", "sealer", _time(self._commit, calls=8) / _GROUP
            ),
            Stage("audit commit of 1", "sealer", _time(self._commit_one, calls=32)),
        ]

    def _decode_turn(self, turn: int) -> object:
        return self._decode(self._frames[turn])

    def _decode(self, frame: bytes) -> SignDsse:
        self._connection.receive_data(frame)
        request = self._connection.next_event()
        assert isinstance(request, Request)
        # Answered at once as far as the connection is concerned: ids must not pile up in it.
        self._connection.in_flight.discard(request.id)
        params = decode_params(request.method, request.params)
        assert isinstance(params, SignDsse)
        return params

    def _canonicalise(self, turn: int) -> Canonical:
        return canonicalise(_inline(self._requests[turn]))

    def _statement(self, turn: int) -> bytes:
        params = self._requests[turn]
        hashlib.sha256(_inline(params)).hexdigest()
        return build_statement(_subjects(params), params.predicate_type, self._canonical[turn].text)

    def _digest(self, turn: int) -> bytes:
        return hashlib.sha256(pae(_PAYLOAD_TYPE, self._statements[turn])).digest()

    def _sign(self, turn: int) -> bytes:
        algorithm = ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True)
        return self._key.sign(self._digest(turn), algorithm)

    def _verify(self, turn: int) -> None:
        self._public.verify_prehashed(self._signatures[turn], self._digest(turn))

    def _bundle(self, turn: int) -> str:
        payload = encode_base64(self._statements[turn])
        bundle = keyful_bundle(payload, _PAYLOAD_TYPE, self._signatures[turn], self._public.hint)
        return hashlib.sha256(bundle).hexdigest()

    def _decided(self, turn: int) -> tuple[Leaf, str]:
        params = self._requests[turn]
        digest = hashlib.sha256(self._statements[turn]).hexdigest()
        subject = _subjects(params)[0]
        facts = RequestFacts(
            method="sign.dsse",
            peer=PeerFacts(uid=1000, pid=1, exe="/usr/bin/python3", unit="caller.service"),
            tenant="local",
            principal="uid:1000",
            subjects=(SubjectFacts(subject.name, subject.digest["sha256"]),),
            subject_count=1,
            predicate_type=params.predicate_type,
            predicate_sha256=digest,
            scanner_digest=RELEASE,
        )
        decision = DecisionFacts(
            principal="uid:1000",
            tenant="local",
            plan="embedded",
            release=ReleaseFacts("asserted", "allowlist", "trusted"),
            keys=(KeyUse("file:default", "tenant", self._public.keyid, 1),),
        )
        return decided_leaf(facts, decision, f"{turn:032x}", digest, _PAYLOAD_TYPE, _TIME)

    def _outcome(self, turn: int) -> Leaf:
        return outcome_leaf(f"{turn:032x}", "local", _TIME, "signed", bundle_sha256=("0" * 64,))

    def _grow(self, turn: int) -> None:
        for leaf in (self._leaves[turn], self._leaves[turn - 1]):
            self._frontier.append(leaf_hash(leaf.text))

    def _commit(self, _turn: int, size: int = _GROUP) -> int:
        # The store refuses an audit id twice: each leaf gets one that was not there before.
        leaves = []
        for leaf in self._leaves[:size]:
            self._appended += 1
            leaves.append(msgspec.structs.replace(leaf, audit_id=f"{self._appended:032x}"))
        return self._store.append_many(leaves)

    def _commit_one(self, turn: int) -> int:
        return self._commit(turn, size=1)

    def _answer(self, turn: int) -> bytes:
        result = msgspec.Raw(msgspec.msgpack.encode(self._results[turn]))
        return encode_frame(Response(0x01000000 + turn, result))

    def _result(self, turn: int) -> SignResult:
        bundle = keyful_bundle(self._payloads[turn], _PAYLOAD_TYPE, self._signatures[turn], self._public.hint)
        digest = hashlib.sha256(bundle).hexdigest()
        decision = Decision(
            principal="uid:1000",
            tenant="local",
            plan="embedded",
            release=ReleaseDecision("trusted", "allowlist", "asserted"),
            keys=(DecisionKey("file:default", "tenant", self._public.keyid, 1),),
            degraded=(),
        )
        argv = ("cosign", "verify-blob-attestation", "--key", "key.pub", "--bundle", "bundle.sigstore.json")
        return SignResult(
            bundles=(bundle,),
            statement_sha256=digest,
            predicate_sha256=digest,
            bundle_sha256=(digest,),
            envelope_sha256=digest,
            signing_identity=(SigningIdentity("keyful", self._public.keyid, self._public.spki, "ES256", 1),),
            cosign_verifiable=True,
            warnings=(),
            verify_command=(VerifyCommand(argv, " ".join(argv)),),
            entitlement=EntitlementSummary("embedded", Remaining()),
            receipt=Receipt(f"{turn:032x}", turn, digest, decision, digest),
        )


def _time(stage: Callable[[int], object], calls: int = _CALLS) -> float:
    """µs of one call: the median over rounds of the mean over `calls`, turn by turn through the documents."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter_ns()
        for call in range(calls):
            stage(call % _DOCUMENTS)
        rounds.append((time.perf_counter_ns() - began) / calls / 1000)
    return median(rounds)


def _request_frames(template: Template) -> list[bytes]:
    """The template's frame once per document, patched as the load generator patches it."""
    frames = []
    for turn in range(_DOCUMENTS):
        patched = bytearray(template.request)
        for offset in template.counters:
            patched[offset : offset + COUNTER_DIGITS] = f"{turn:0{COUNTER_DIGITS}x}".encode()
        frames.append(bytes(patched))
    return frames


def _hello_frame() -> bytes:
    return encode_frame(Hello((1,), "signerd-bench"))


def _inline(params: SignDsse) -> bytes:
    assert isinstance(params.predicate, bytes)
    return params.predicate


def _subjects(params: SignDsse) -> tuple[Subject, ...]:
    return tuple([Subject(s.name, s.digest) for s in params.subject if isinstance(s.digest, dict)])
