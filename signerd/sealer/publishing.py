"""What is published of a signature: when, by whom, and what comes back.

Nothing here runs before the job's ``decided`` leaf is durable (T4). What an answer waits for (``required``, stamps) is
asked side by side, once the signatures have verified; what it does not wait for goes into the outbox, which is durable
before the answer leaves. A publisher checks what its log or authority says; that the proof is about this signature is
checked here again, as for every worker (T17, T24).
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from signerd.attestation.log_entry import LogEntry
from signerd.contracts.services import AuditStore, Clock
from signerd.errors import Refusal, SignerdError
from signerd.host.config_model import Config
from signerd.host.config_model import Publisher as ConfiguredPublisher
from signerd.host.spawn import spawn
from signerd.sealer.backends import Backend, BackendSpec
from signerd.sealer.job import Job
from signerd.sealer.kept import LARGEST_KEPT, Kept
from signerd.sealer.lookups import Find, Lookup, Lookups
from signerd.sealer.outbox import FILE_NAME, Outbox, Row
from signerd.sealer.proofs import proof_of
from signerd.sealer.signatures import signed_of
from signerd.sealer.worker_call import Call, CallResult
from signerd.sealer.worker_errors import TRANSPARENCY
from signerd.verification.certificates import SigningCertificate
from signerd.verification.keys import PublicKey
from signerd.verification.signed import Signed
from signerd.wire.decoding import BROKEN
from signerd.wire.links import DecisionFacts, Sealed
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import CallError, FindParams, FindResult, SubmitParams, SubmitResult

__all__ = ["Publisher", "Publishing", "publisher_spec", "publishing_of", "said"]

_log = logging.getLogger(__name__)
_result: Final = msgspec.msgpack.Decoder(SubmitResult)
_found: Final = msgspec.msgpack.Decoder(FindResult)
_REFUTED: Final = CallError("transparency.unavailable", "proof_refused", "the publisher failed")


@dataclass(frozen=True, slots=True)
class Publisher:
    """A log or an authority. ``needed``: an answer that needs its ``kind`` waits for this one."""

    name: str
    kind: str
    needed: bool
    backend: Backend


class Publishing:
    """Asks the publishers of ``publishers``; without an outbox there is none, and nothing is published. ``lookups``
    are what earlier processes have left to be looked for."""

    def __init__(
        self, publishers: Sequence[Publisher] = (), outbox: Outbox | None = None, lookups: Lookups | None = None
    ) -> None:
        self._logs = [publisher for publisher in publishers if publisher.kind == "log"]
        self._stamps = [publisher for publisher in publishers if publisher.kind == "stamp"]
        self._kinds = {publisher.kind for publisher in publishers if publisher.needed}
        self._outbox = outbox
        self._lookups = lookups
        self._held: list[tuple[Job, list[Row], list[Kept], Callable[[CallError | None], None]]] = []

    def serves(self, decision: DecisionFacts) -> bool:
        """Whether what the decision says is to be published can be."""
        wanted = set()
        if decision.transparency is not msgspec.UNSET:
            wanted.add("log")
        if decision.timestamp is not msgspec.UNSET:
            wanted.add("stamp")
        return wanted <= self._kinds

    def publish(self, job: Job, settle: Callable[[Job], None]) -> None:
        """Ask for every proof that the answer to ``job`` waits for; ``settle`` is called as each comes, or fails."""
        decision = job.item.decision
        asked = [p for p in self._logs if p.needed] if decision.transparency == "required" else []
        asked = [*asked, *(self._stamps if decision.timestamp is not msgspec.UNSET else ())]
        signed = signed_of(job)
        job.proofs = [[None] * len(asked) for _ in job.keys]
        job.missing = len(signed) * len(asked)
        for at, publisher in enumerate(asked):
            calls = []
            for place, one in signed.items():
                done = partial(self._proved, job, publisher, (place, at), one, settle)
                calls.append(Call("submit", _params(publisher, one), done))
            publisher.backend.call_many(calls)
            publisher.backend.flush()

    def _proved(
        self,
        job: Job,
        publisher: Publisher,
        where: tuple[int, int],
        signed: Signed,
        settle: Callable[[Job], None],
        result: CallResult,
    ) -> None:
        if job.answered:
            return
        proof = _checked(publisher, signed, result)
        if isinstance(proof, CallError):
            job.error = job.error or proof
        else:
            assert job.proofs is not None
            job.proofs[where[0]][where[1]] = proof
        job.missing -= 1
        settle(job)

    def later(
        self, job: Job, sealed: Sealed, fds: Sequence[int], then: Callable[[CallError | None], None]
    ) -> bool:
        """Have the outbox publish what the answer does not wait for, and keep the bundles for it; ``then`` is called
        once that is durable, or with why it is not. False where there is nothing. ``fds`` hold large bundles."""
        decision = job.item.decision
        logs = [p for p in self._logs if decision.transparency == "async" or not p.needed]
        if decision.transparency is msgspec.UNSET or not logs:
            return False
        rows = [
            Row(
                job.item.audit_id, decision.tenant, log.name, made.keyid, made.bundle_sha256, one.digest or b"",
                one.signature, one.certificate or one.key.spki,
            )
            for made, one in [(sealed.signatures[place], one) for place, one in signed_of(job).items()]
            for log in logs
        ]  # fmt: skip
        kept = [
            Kept(job.item.audit_id, decision.tenant, made.keyid, made.bundle_sha256, made.envelope_sha256, copy)
            for made in sealed.signatures
            if made.bundle
            for copy in [_copied(made.bundle, fds)]
        ]
        self._held.append((job, rows, kept, then))
        return True

    def unknown(self, job: Job) -> None:
        """Note, for the next process, to look for the entries of a job whose answer waits for a log and will not be
        given: they may be there. Where that cannot be noted, the operator is told."""
        decision = job.item.decision
        if self._lookups is None or decision.transparency != "required" or job.proofs is None:
            return
        keyids = tuple([key.keyid for key in decision.keys]) if all([key.keyid for key in decision.keys]) else ()
        wanted = [
            Lookup(job.item.audit_id, decision.tenant, log, bytes.fromhex(digest), keyids)
            for log in self._lookups.logs
            for digest in job.log_digests
        ]
        try:
            self._lookups.put_many(wanted)
        except SignerdError as error:
            _log.error("lookups: %s", error)

    def turn(self) -> None:
        """Make durable what waits for it, all in one commit, and let the outbox and the lookups do what is due."""
        up = [log for log in self._logs if log.backend.up]
        if self._lookups is not None:
            self._lookups.turn({log.name: _finder(log) for log in up})
        if self._outbox is None:
            return
        held, self._held = self._held, []
        wanted = [(rows, kept) for job, rows, kept, _ in held if not job.answered]
        error = None
        if wanted:
            try:
                self._outbox.put_many(
                    [row for rows, _ in wanted for row in rows], [one for _, kept in wanted for one in kept]
                )
            except SignerdError as exc:
                error = CallError(exc.code, exc.reason, exc.public, str(exc.args[0]))
        for _, _, _, then in held:
            then(error)
        self._outbox.turn({log.name: partial(_send, log) for log in up})

    def next_look(self) -> float | None:
        """Return when :meth:`turn` has something to do although nothing comes, in monotonic seconds."""
        if self._held:
            return float("-inf")
        looks = [part.next_look() for part in (self._outbox, self._lookups) if part is not None]
        return min([look for look in looks if look is not None], default=None)


def _copied(bundle: bytes | Descriptor, fds: Sequence[int]) -> bytes | None:
    """Return the bytes of a bundle, or None for one that is too large to be kept."""
    if isinstance(bundle, bytes):
        return bundle
    return os.pread(fds[bundle.fd], bundle.size, 0) if bundle.size <= LARGEST_KEPT else None


def _checked(publisher: Publisher, signed: Signed, result: CallResult) -> LogEntry | bytes | CallError:
    """Return the proof, or why there is none; a publisher that lies is taken down."""
    if isinstance(result, CallError):
        return result
    try:
        return proof_of(publisher.kind, signed, _result.decode(result).proof)
    except BROKEN:
        publisher.backend.condemn("a proof out of shape")
    except SignerdError as error:
        publisher.backend.condemn(f"a proof that proves nothing ({error.reason})")
    return _REFUTED


def _params(publisher: Publisher, signed: Signed) -> SubmitParams:
    # An authority stamps bytes; whose they are is not its affair.
    if publisher.kind == "stamp":
        return SubmitParams(b"", signed.signature, b"")
    return SubmitParams(signed.digest or b"", signed.signature, signed.certificate or signed.key.spki)


def _send(log: Publisher, row: Row, done: Callable[[LogEntry | CallError], None]) -> None:
    """Publish one row of the outbox."""
    key, certificate = _read_verifier(row.verifier)
    signed = Signed.of_digest(row.signature, key, certificate, row.payload_digest)

    def told(result: CallResult) -> None:
        entry = _checked(log, signed, result)
        assert not isinstance(entry, bytes)
        done(entry)

    log.backend.call_many([Call("submit", _params(log, signed), told)])


def _finder(log: Publisher) -> Find | None:
    """Return how a log is asked what it has; None where its plugin cannot look."""
    if "find" not in log.backend.methods:
        return None

    def find(one: Lookup, done: Callable[[FindResult | CallError], None]) -> None:
        def told(result: CallResult) -> None:
            if isinstance(result, CallError):
                done(result)
                return
            try:
                done(_found.decode(result))
            except BROKEN:
                log.backend.condemn("an answer out of shape")
                done(_REFUTED)

        log.backend.call_many([Call("find", FindParams(one.digest), told)])

    return find


def _read_verifier(verifier: bytes) -> tuple[PublicKey, bytes | None]:
    """Return the key of a row, and its certificate where a keyless key signed."""
    try:
        return PublicKey.from_spki(verifier), None
    except Refusal:
        return SigningCertificate.read(verifier).key, verifier


def publisher_spec(config: Config, configured: ConfiguredPublisher) -> BackendSpec:
    """Return how the publisher's process is started, and how long its calls may take."""
    limits = config.limits
    deadline_s = configured.deadline_s(limits)
    settings = {
        "plugin": configured.plugin,
        "name": configured.name,
        "kind": configured.kind,
        "call_s": deadline_s,
        "settings": configured.settings,
        "development": config.daemon.development,
        "version": configured.version,
        "record": configured.record,
        "certificate": configured.certificate,
        "certifiers": config.conformance.certifiers,
    }
    return BackendSpec(
        configured.name,
        configured.plugin,
        # The publisher ends a call first, and says why; only one that hangs misses this.
        deadline_s + 1.0,
        lambda: spawn("signerd.worker.publisher", settings=msgspec.json.encode(settings)),
        (limits.worker_backoff_first_s, limits.worker_backoff_longest_s),
        TRANSPARENCY,
        1,  # what is slow must not hold up what is not
    )


def publishing_of(
    config: Config,
    backends: Mapping[str, Backend],
    state: Path,
    store: AuditStore,
    clock: Clock,
    lookups: Lookups | None = None,
) -> Publishing:
    """Return what is published by the configuration, and the outbox beside it; without publishers there is none."""
    if not config.publishers:
        return Publishing(lookups=lookups)
    made = [Publisher(p.name, p.kind, p.needed, backends[p.name]) for p in config.publishers]
    logs = [p.name for p in made if p.kind == "log"]
    limits = config.limits
    outbox = Outbox(state / FILE_NAME, logs, store, clock, limits.outbox_bytes, limits.outbox_days)
    return Publishing(made, outbox, lookups)


def said(publisher: Backend) -> None:
    """Tell the operator that a publisher came up or went down."""
    _log.info("publisher %s is %s", publisher.spec.name, "up" if publisher.up else "down")
