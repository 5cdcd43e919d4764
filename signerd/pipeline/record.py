"""The record scope: outermost in every story, so that nothing ends off the record (T3)."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from signerd.contracts.values import Peer
from signerd.errors import SignerdError
from signerd.wire.links import Close, PeerFacts, RefusedRecord, RequestFacts, SubjectFacts, outcome_of

if TYPE_CHECKING:
    from signerd.pipeline.evidence import Order
    from signerd.pipeline.request import SignRequest
    from signerd.pipeline.services import Ledger

__all__ = ["SUBJECTS_IN_RECORD", "Entry", "ending", "facts"]

SUBJECTS_IN_RECORD = 16
"""How many subjects a record names; ``subject_count`` counts all. A leaf stays small whatever is asked."""
TEXT_IN_RECORD = 256
"""How many characters of a text of the caller's a record repeats; the Statement's digest covers all of them."""


class Entry:
    """One request's record, from the front end's side.

    Until ``seal`` hands the request over, its end is one leaf. From then on the record is the sealer's:
    ``decided`` is its first leaf; it closes what it could not sign, and the session closes what was signed
    when the answer goes out. What is left here is a story that is cut short while the sealer works. The exit
    queues a message and never waits; it swallows nothing.
    """

    __slots__ = ("_handed_over", "_ledger", "_peer", "_request")

    def __init__(self, request: "SignRequest", peer: Peer, ledger: "Ledger") -> None:
        self._request = request
        self._peer = peer
        self._ledger = ledger
        self._handed_over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or self._request.settled:
            return
        outcome, code, reason = ending(error)
        if self._handed_over:
            self._ledger.close(Close(self._request.record_id, outcome, code))
        else:
            self._ledger.refuse(RefusedRecord(self._request.record_id, self.facts(), outcome, code, reason))

    def hand_over(self) -> RequestFacts:
        """Say that the sealer records from here on; returns what it is to write."""
        self._handed_over = True
        return self.facts()

    def facts(self) -> RequestFacts:
        """Return what is known of the request by now."""
        return facts(self._request, self._peer)


def ending(error: BaseException) -> tuple[str, str, str]:
    """Return (outcome, code, reason) for what ended a story."""
    if not isinstance(error, SignerdError):
        return "fault", "internal", "defect"
    if error.code == "request.cancelled":
        return "cancelled", error.code, error.reason
    return outcome_of(error.code), error.code, error.reason


def facts(request: "SignRequest", peer: Peer) -> RequestFacts:
    """Return what a leaf says of ``request``: who, from which process, for what."""
    principal = request.principal
    order = request.order
    process = PeerFacts(peer.uid, peer.pid, peer.executable or "", peer.unit or "")
    tenant = principal.tenant if principal else ""
    name = principal.name if principal else ""
    traceparent = request.traceparent[:TEXT_IN_RECORD]
    if order is None:
        return RequestFacts(
            request.method, process, tenant, name, traceparent=traceparent, purpose=request.purpose, key=request.key
        )
    subjects = order.subjects
    params = order.params
    return RequestFacts(
        request.method,
        process,
        tenant,
        name,
        subjects=tuple(
            [SubjectFacts(s.name[:TEXT_IN_RECORD], s.digest.get("sha256", "")) for s in subjects[:SUBJECTS_IN_RECORD]]
        ),
        subject_count=len(subjects),
        predicate_type=order.predicate_type.uri,
        predicate_sha256=request.predicate_sha256,
        scanner_digest=(params.scanner_image_digest or "")[:TEXT_IN_RECORD],
        poe=params.poe.format if params.poe else "none",
        mode=_mode(order),
        traceparent=traceparent,
    )


def _mode(order: "Order") -> str:
    """Return the mode that was asked for; ``auto`` of a tenant without keyless keys is ``keyful``."""
    options = order.params.options
    asked = options.mode if options and options.mode else "auto"
    return asked if asked != "auto" or order.tenant.has_keyless else "keyful"
