"""The methods that use keys: each item of a request is a story of its own, with a record of its own."""

import os
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final, cast

import msgspec
from msgspec import UNSET, Raw

from signerd.contracts.services import Clock, Sealer
from signerd.daemon.answers import batch_answer, close_all, sign_answer
from signerd.daemon.audit_ids import AuditIds
from signerd.daemon.macs import MACS, Macs
from signerd.daemon.session import Session
from signerd.daemon.story import Story
from signerd.daemon.waiters import Waiters
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.closing import close_foreign
from signerd.host.config_limits import Limits
from signerd.pipeline.evidence import Signed
from signerd.pipeline.request import SignRequest
from signerd.pipeline.services import Services
from signerd.pipeline.sign import sign
from signerd.wire.links import Close
from signerd.wire.messages import Request, Response
from signerd.wire.methods import SignBatch, SignDsse, decode_items, decode_params

__all__ = ["Signing", "answers_unread"]

CANCELLED: Final = "request.cancelled"
SLICE_BYTES: Final = 128 * 1024
"""Bytes of a batch's items that are handled in one turn: a frame of them would hold up other callers for a second."""
_NO_OUTCOME: Final = Fault("internal", "no_outcome", "the signer failed")
"""Stands in the place of an item until its story has ended."""


class Signing:
    """Starts stories, collects their ends, and answers."""

    def __init__(self, services: Services, waiters: Waiters, sealer: Sealer, limits: Limits, clock: Clock) -> None:
        self._services = services
        self._waiters = waiters
        self._sealer = sealer
        self._limits = limits
        self._clock = clock
        self._audit_id = AuditIds()
        self._running: dict[tuple[Session, int], _Running] = {}
        self._macs = Macs(services, waiters, sealer, limits, clock)

    def __len__(self) -> int:
        return len(self._running)

    def renew(self, services: Services) -> None:
        """Decide by these from the next request on."""
        self._services = self._macs.services = services

    def start(self, session: Session, request: Request, fds: tuple[int, ...]) -> None:
        """Start what ``request`` asks for. Takes ``fds`` over."""
        if request.method in MACS:
            self._macs.start(session, request, fds)
            return
        running = _Running(self, session, request.id, fds)
        self._running[session, request.id] = running
        if request.method == "sign.batch":
            self._start_batch(running, request)
        else:
            running.expect(1)
            self._begin(running, 0, self._sign_request(session, request, request.params, fds))

    def cancel(self, session: Session, request_id: int, reason: str) -> None:
        """Cut a request short: its stories end at once, and it is answered."""
        self._macs.cancel(session, request_id, reason)
        running = self._running.get((session, request_id))
        if running is not None:
            running.cut = Fault(CANCELLED, reason, "the request was cancelled")
            for story in list(running.place):
                story.cut_short(running.cut)

    def hang_up(self, session: Session) -> None:
        """Cut short all that a session waits for: its peer has gone."""
        self._macs.hang_up(session)
        for owner, request_id in list(self._running):
            if owner is session:
                self.cancel(session, request_id, "hung_up")

    def expire(self, requests: Sequence[SignRequest]) -> None:
        """Throw the deadline into the stories whose time is over."""
        for request in requests:
            story = self._waiters.stories.get(request.audit_id)
            if story is not None:
                story.cut_short(Fault("request.deadline", "deadline", "the request's time is over"))

    def finished(self, running: "_Running") -> None:
        """Answer a request all of whose stories have ended."""
        self._running.pop((running.session, running.request_id), None)
        running.session.descriptors -= len(running.fds)
        close_foreign(running.session.peer.uid, running.fds)
        session, results = running.session, running.results
        signed = [result for result in results if isinstance(result, Signed)]
        if not session.alive:
            close_all(results)
            self._close(signed, delivered=False)
        elif not running.batch and not signed:
            session.refuse(running.request_id, cast("SignerdError", results[0]))
        else:
            self._answer(running, signed)

    def _answer(self, running: "_Running", signed: list[Signed]) -> None:
        session = running.session
        left_out: list[Signed] = []
        try:
            if running.batch:
                raw, fds, left_out = batch_answer(running.results, session.inline_max)
            else:
                raw, fds = sign_answer(signed[0], session.inline_max)
        except OSError as exc:
            self._close(signed, delivered=False)
            fault = Fault("internal", "descriptors", "the signer failed", operator=str(exc))
            session.refuse(running.request_id, fault)
            return
        if fds and session.overfull:
            for fd in fds:
                os.close(fd)
            self._close(signed, delivered=False)
            session.refuse(running.request_id, answers_unread())
            return
        if left_out:
            self._close(left_out, delivered=False)
            gone = {one.audit_id for one in left_out}
            signed = [one for one in signed if one.audit_id not in gone]
        session.answer(Response(running.request_id, raw), fds, lambda done: self._close(signed, delivered=done))

    def _close(self, signed: Sequence[Signed], *, delivered: bool) -> None:
        outcome = "signed" if delivered else "signed_undelivered"
        for one in signed:
            self._sealer.close(Close(one.audit_id, outcome))

    def _start_batch(self, running: "_Running", request: Request) -> None:
        session = running.session
        running.batch = True
        try:
            batch = cast("SignBatch", decode_params("sign.batch", request.params))
            if not 1 <= len(batch.items) <= self._limits.batch_items:
                raise Refusal(
                    "request.malformed" if not batch.items else "request.too_large",
                    "batch_items",
                    f"a batch has 1 to {self._limits.batch_items} items",
                    details={"limit": self._limits.batch_items},
                )
            items = [_with_defaults(batch, item) for item in decode_items(batch)]
            self._services.check_claims([i for i in items if isinstance(i, SignDsse)], running.fds)
        except Refusal as refusal:
            running.batch = False
            running.expect(1)
            self._begin(running, 0, self._sign_request(session, request, refusal, ()))
            return
        running.expect(len(items))
        asked = [self._sign_request(session, request, item, running.fds) for item in items]
        sizes = [len(memoryview(item)) for item in batch.items]
        self._begin_some(running, deque(zip(range(len(items)), asked, sizes, strict=True)))

    def _begin_some(self, running: "_Running", left: deque[tuple[int, SignRequest, int]]) -> None:
        """Begin items of a batch, the rest in later turns; one that was cancelled meanwhile ends as it begins."""
        spent = 0
        while left and spent < SLICE_BYTES:
            index, asked, size = left.popleft()
            spent += size
            story = self._begin(running, index, asked)
            if running.cut is not None:
                story.cut_short(running.cut)
        if left:
            self._waiters.soon(partial(self._begin_some, running, left))

    def _begin(self, running: "_Running", index: int, request: SignRequest) -> Story[Signed]:
        story = Story(request, sign(request, running.session.peer, self._services), self._waiters, running.ended)
        running.place[story] = index
        self._waiters.stories[request.audit_id] = story
        story.start()
        return story

    def _sign_request(
        self, session: Session, request: Request, params: Raw | SignDsse | Refusal, fds: tuple[int, ...]
    ) -> SignRequest:
        return SignRequest(
            self._audit_id(),
            request.method,
            params,
            session.principal,
            self._clock.monotonic() + self._limits.seconds_for(request.deadline_ms),
            request.traceparent if request.traceparent is not UNSET else "",
            fds,
        )


def answers_unread() -> Fault:
    """Return the fault of a caller that has too much of what it was answered still to read."""
    return Fault("daemon.overloaded", "answers_unread", "too many large answers wait to be read")


class _Running:
    """One request that is being worked on: a story per item."""

    __slots__ = (
        "_missing",
        "_signing",
        "batch",
        "cut",
        "fds",
        "place",
        "request_id",
        "results",
        "session",
    )

    def __init__(self, signing: Signing, session: Session, request_id: int, fds: tuple[int, ...]) -> None:
        self._signing = signing
        self._missing = 0
        self.session = session
        self.request_id = request_id
        self.fds = fds
        self.batch = False
        self.cut: Fault | None = None
        self.place: dict[Story[Signed], int] = {}
        self.results: list[Signed | SignerdError] = []

    def expect(self, count: int) -> None:
        """Wait for so many stories."""
        self._missing = count
        self.results = [_NO_OUTCOME] * count

    def ended(self, story: Story[Signed], result: Signed | SignerdError) -> None:
        """Take one story's end."""
        self.results[self.place.pop(story)] = result
        self._missing -= 1
        if not self._missing:
            self._signing.finished(self)


def _with_defaults(batch: SignBatch, item: SignDsse | Refusal) -> SignDsse | Refusal:
    """Return the item with the batch's options where its own are absent."""
    if isinstance(item, Refusal) or batch.options is UNSET:
        return item
    options = batch.options if item.options is UNSET else item.options.over(batch.options)
    return msgspec.structs.replace(item, options=options)
