"""``verify.bundle`` and ``verify.batch``: each bundle is a job of the verifying worker; the loop looks into none."""

from collections.abc import Callable, Sequence
from typing import Final, cast

from msgspec import Raw

from signerd.attestation.bundle import LARGEST_BUNDLE
from signerd.contracts.services import Clock
from signerd.daemon.answers import FRAME_ROOM, encode
from signerd.daemon.descriptors import check_claims
from signerd.daemon.session import Session
from signerd.daemon.verifier import Job, Owner, Verifier, job_of
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.closing import close_foreign
from signerd.host.config_limits import Limits
from signerd.wire.messages import Request, Response
from signerd.wire.methods import (
    BatchError,
    BundleVerified,
    Descriptor,
    VerifiedBatch,
    VerifyBatch,
    VerifyBundle,
    VerifyOutcome,
    decode_bundles,
    decode_params,
)
from signerd.wire.worker_calls import JudgeBundle

__all__ = ["VERIFYING", "Verifying"]

VERIFYING: Final = frozenset({"verify.bundle", "verify.batch"})

_NO_ROOM: Final = BatchError(
    "request.too_large",
    "the answer has no room for this item: ask for fewer at once",
    {"reason": "answer_too_large"},
)

Told = Callable[[SignerdError], None]
Outcome = BundleVerified | SignerdError


class Verifying:
    """Requests that wait for the worker. ``wake`` has deadlines looked at soon."""

    def __init__(self, verifier: Verifier, limits: Limits, clock: Clock, wake: Callable[[], None]) -> None:
        self._verifier = verifier
        self._limits = limits
        self._clock = clock
        self._wake = wake
        self._running: dict[tuple[Session, int], _Running] = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(self, session: Session, request: Request, fds: tuple[int, ...], told: Told) -> None:
        """Start what ``request`` of a bound session asks for. Takes ``fds`` over; ``told`` hears each refusal."""
        seconds = self._limits.seconds_for(request.deadline_ms)
        running = _Running(session, request.id, fds, told, self._clock.monotonic() + seconds)
        self._running[session, request.id] = running
        try:
            orders = self._orders(running, request)
        except SignerdError as error:
            self._refuse(running, error)
            return
        running.results = [None] * len(orders)
        running.missing = len(orders)
        # All places are there before the first job is asked: it may end at once.
        for index, order in enumerate(orders):
            if (session, request.id) in self._running:
                self._ask(running, index, order)
        self._wake()

    def cancel(self, session: Session, request_id: int) -> None:
        """Withdraw a request."""
        running = self._running.get((session, request_id))
        if running is not None:
            self._refuse(running, Fault("request.cancelled", "cancelled", "the request was cancelled"))

    def hang_up(self, session: Session) -> None:
        """Forget what a session waits for: its peer has gone."""
        for owner, request_id in list(self._running):
            if owner is session:
                self.cancel(session, request_id)

    def tick(self, now: float) -> None:
        """Refuse what took too long."""
        for running in list(self._running.values()):
            if now >= running.until:
                self._refuse(running, Fault("request.deadline", "deadline", "the request's time is over"))

    def _orders(self, running: "_Running", request: Request) -> Sequence[VerifyBundle | Refusal]:
        params = decode_params(request.method, request.params)
        if isinstance(params, VerifyBatch):
            most = self._limits.batch_items
            if not 1 <= len(params.items) <= most:
                code = "request.malformed" if not params.items else "request.too_large"
                details = {"limit": most}
                raise Refusal(code, "batch_items", f"a batch has 1 to {most} items", details=details)
            running.batch = True
            orders = decode_bundles(params)
        else:
            orders = [cast("VerifyBundle", params)]
        check_claims([order for order in orders if isinstance(order, VerifyBundle)], running.fds, LARGEST_BUNDLE)
        return orders

    def _ask(self, running: "_Running", index: int, order: VerifyBundle | Refusal) -> None:
        if isinstance(order, Refusal):
            self._ended(running, index, order)
            return
        bundle = order.bundle
        fd: int | None = None
        if isinstance(bundle, Descriptor):
            fd = running.fds[bundle.fd]
        elif len(bundle) > self._limits.inline_bytes:
            details = {"limit": self._limits.inline_bytes}
            too_large = Refusal(
                "request.too_large", "inline_too_large", "a bundle of this size comes by descriptor", details=details
            )
            self._ended(running, index, too_large)
            return
        call = JudgeBundle(
            0,
            running.owner[0],
            Descriptor(0, bundle.size) if isinstance(bundle, Descriptor) else bundle,
            order.artifact_sha256 or None,
            order.predicate_type or None,
            order.key or None,
            order.identity or None,
            order.policy or None,
        )
        job = job_of(running.owner, call, fd, lambda outcome: self._ended(running, index, outcome))
        running.jobs.append(job)
        try:
            self._verifier.ask(job)
        except Fault as fault:
            self._ended(running, index, fault)

    def _ended(self, running: "_Running", index: int, outcome: Outcome) -> None:
        running.results[index] = outcome
        running.missing -= 1
        if isinstance(outcome, SignerdError) and running.batch:
            running.told(outcome)
        if running.missing:
            return
        if running.batch:
            self._finish(running)
            running.session.answer(Response(running.request_id, _batch(running.results)))
        elif isinstance(outcome, SignerdError):
            self._refuse(running, outcome)
        else:
            self._finish(running)
            running.session.answer(Response(running.request_id, Raw(encode(outcome))))

    def _refuse(self, running: "_Running", error: SignerdError) -> None:
        self._finish(running)
        running.told(error)
        running.session.refuse(running.request_id, error)

    def _finish(self, running: "_Running") -> None:
        """Let go of everything that belongs to a request."""
        del self._running[running.session, running.request_id]
        self._verifier.drop(running.owner, running.jobs)
        running.session.descriptors -= len(running.fds)
        close_foreign(running.session.peer.uid, running.fds)


class _Running:
    """One request that is being worked on."""

    __slots__ = ("batch", "fds", "jobs", "missing", "owner", "request_id", "results", "session", "told", "until")

    def __init__(self, session: Session, request_id: int, fds: tuple[int, ...], told: Told, until: float) -> None:
        assert session.principal is not None  # the front end has checked it
        self.session = session
        self.request_id = request_id
        self.fds = fds
        self.told = told
        self.until = until
        self.owner: Owner = (session.principal.tenant, session.principal.name)
        self.batch = False
        self.jobs: list[Job] = []
        self.missing = 0
        self.results: list[Outcome | None] = []


def _batch(results: Sequence[Outcome | None]) -> Raw:
    """Encode the outcomes; those that a frame has no room for are refused."""
    room = FRAME_ROOM
    outcomes = []
    for index, result in enumerate(results):
        assert result is not None
        if isinstance(result, SignerdError):
            outcome = VerifyOutcome(index, error=BatchError(result.code, result.public, dict(result.details)))
        else:
            outcome = VerifyOutcome(index, ok=result)
        size = len(encode(outcome))
        if size > room:
            outcome, size = VerifyOutcome(index, error=_NO_ROOM), 0
        room -= size
        outcomes.append(outcome)
    return Raw(encode(VerifiedBatch(tuple(outcomes))))
