"""``hmac.compute`` and ``hmac.verify``: each request is a story of its own, with a record of its own."""

from functools import partial
from typing import Final

from msgspec import UNSET, Raw

from signerd.contracts.services import Clock, Sealer
from signerd.daemon.answers import encode
from signerd.daemon.audit_ids import AuditIds
from signerd.daemon.session import Session
from signerd.daemon.story import Story
from signerd.daemon.waiters import Waiters
from signerd.errors import Fault, SignerdError
from signerd.host.closing import close_foreign
from signerd.host.config_limits import Limits
from signerd.pipeline.mac import MacEnded, mac
from signerd.pipeline.request import SignRequest
from signerd.pipeline.services import Services
from signerd.wire.links import Close
from signerd.wire.messages import Request, Response
from signerd.wire.methods import MacComputed

__all__ = ["MACS", "Macs"]

MACS: Final = frozenset({"hmac.compute", "hmac.verify"})


class Macs:
    """Starts stories and answers. ``services`` are those that the next one decides by."""

    def __init__(self, services: Services, waiters: Waiters, sealer: Sealer, limits: Limits, clock: Clock) -> None:
        self.services = services
        self._waiters = waiters
        self._sealer = sealer
        self._limits = limits
        self._clock = clock
        self._audit_id = AuditIds()
        self._running: dict[tuple[Session, int], Story[MacEnded]] = {}

    def start(self, session: Session, request: Request, fds: tuple[int, ...]) -> None:
        """Start what ``request`` asks for. Takes ``fds`` over."""
        wanted = SignRequest(
            self._audit_id(),
            request.method,
            request.params,
            session.principal,
            self._clock.monotonic() + self._limits.seconds_for(request.deadline_ms),
            request.traceparent if request.traceparent is not UNSET else "",
            fds,
        )
        ended = partial(self._ended, session, request.id)
        story = Story(wanted, mac(wanted, session.peer, self.services), self._waiters, ended)
        self._running[session, request.id] = story
        self._waiters.stories[wanted.audit_id] = story
        story.start()

    def cancel(self, session: Session, request_id: int, reason: str) -> None:
        """Cut a request short: it is answered at once."""
        story = self._running.get((session, request_id))
        if story is not None:
            story.cut_short(Fault("request.cancelled", reason, "the request was cancelled"))

    def hang_up(self, session: Session) -> None:
        """Cut short all that a session waits for: its peer has gone."""
        for owner, request_id in list(self._running):
            if owner is session:
                self.cancel(session, request_id, "hung_up")

    def _ended(
        self, session: Session, request_id: int, story: Story[MacEnded], result: MacEnded | SignerdError
    ) -> None:
        fds = story.request.fds
        self._running.pop((session, request_id), None)
        session.descriptors -= len(fds)
        close_foreign(session.peer.uid, fds)
        if isinstance(result, SignerdError):
            session.refuse(request_id, result)
            return
        done = "computed" if isinstance(result.result, MacComputed) else "checked"

        def delivered(whole: bool) -> None:
            self._sealer.close(Close(result.audit_id, done if whole else f"{done}_undelivered"))

        session.answer(Response(request_id, Raw(encode(result.result))), (), delivered)
