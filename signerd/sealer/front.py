"""The sealer's end of the link to the front end: what may come, in which order.

The front end parses callers' bytes, so the sealer takes it for possibly broken (T27): a frame that is no message of
this link, a message before ``open`` or a second one, a descriptor that no item names, and whatever :class:`Sealing`
calls a Violation end the link. A restarted front end, and a new sealer, start clean.
"""

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from signerd.errors import SignerdError
from signerd.host.link import Frame, Link
from signerd.host.memfd import sealed_memfd
from signerd.sealer.job import Violation
from signerd.sealer.macs import MacSealing
from signerd.sealer.seal import Sealing
from signerd.wire.decoding import BROKEN
from signerd.wire.frames import encode_frame
from signerd.wire.links import (
    LINK_VERSION,
    AdminCall,
    Answer,
    CloseMany,
    EntryCall,
    Open,
    Query,
    Recorded,
    RefuseMany,
    SealedMany,
    SealMany,
    SealOutcome,
)
from signerd.wire.mac_links import MacedMany, MacMany
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import PAYLOAD_INLINE, CallError

__all__ = ["OUTCOMES_PER_FRAME", "Front", "answer_of"]

_log = logging.getLogger(__name__)
_message: Final = msgspec.msgpack.Decoder(
    Open | SealMany | MacMany | CloseMany | RefuseMany | Query | AdminCall | EntryCall
)

OUTCOMES_PER_FRAME: Final = 8
"""Answers go out in groups of this size: the first callers need not wait for the last."""
OUTCOME_BYTES: Final = 384 * 1024
"""Bundles and envelope of one answer that a frame carries; above it they go by memfd, so that a group fits a frame."""


class Front:
    """Takes frames, feeds :class:`Sealing`, and sends what it leaves."""

    def __init__(
        self,
        link: Link,
        sealing: Sealing,
        macs: MacSealing,
        query: Callable[[Query], None],
        admin: Callable[[AdminCall], None],
        entry: Callable[[EntryCall], None],
    ) -> None:
        self._link = link
        self._sealing = sealing
        self._macs = macs
        self._query = query
        self._admin = admin
        self._entry = entry
        self.opened = False

    def read(self) -> None:
        """Take all that has arrived. Raises LinkClosed at the end, Violation for what no front end may send."""
        for frame, fds in self._link.read():
            left = list(fds)
            try:
                self._take(frame, left)
            finally:
                # An item that was taken has its descriptor out of the list; everything else is closed here.
                for fd in left:
                    if fd >= 0:
                        os.close(fd)

    def send(self, message: msgspec.Struct, fds: tuple[int, ...] = ()) -> None:
        """Queue one message."""
        self._link.queue(encode_frame(message), fds)

    def flush(self) -> None:
        """Send the outcomes and acknowledgements that are ready. Raises LinkClosed."""
        sealed = self._sealing.answers
        if sealed.recorded:
            recorded, sealed.recorded = sealed.recorded, []
            for ids, error in recorded:
                self.send(Recorded(ids, error))
        if sealed.ready:
            outcomes, sealed.ready = sealed.ready, []
            outcomes = [
                (outcome, fds) if fds or _size(outcome) <= OUTCOME_BYTES else _by_memfd(outcome)
                for outcome, fds in outcomes
            ]
            plain = [outcome for outcome, fds in outcomes if not fds]
            for start in range(0, len(plain), OUTCOMES_PER_FRAME):
                self.send(SealedMany(tuple(plain[start : start + OUTCOMES_PER_FRAME])))
            for outcome, fds in outcomes:
                if fds:
                    self.send(SealedMany((outcome,)), fds)
        maced = self._macs.answers
        if maced.ready:
            made, maced.ready = maced.ready, []
            self.send(MacedMany(tuple([outcome for outcome, _ in made])))
        self._link.flush()

    def progress(self) -> None:
        """Send what is ready if that is a whole group."""
        if len(self._sealing.answers.ready) >= OUTCOMES_PER_FRAME:
            self.flush()

    def _take(self, frame: Frame, fds: list[int]) -> None:
        try:
            message = _message.decode(frame)
        except BROKEN as exc:
            raise Violation("frame_shape") from exc
        if isinstance(message, Open):
            if self.opened or message.version != LINK_VERSION:
                raise Violation("open_order")
            self.opened = True
            return
        if not self.opened:
            raise Violation("open_missing")
        self._hand_over(message, fds)
        if any(fd >= 0 for fd in fds):
            raise Violation("descriptor_surplus")

    def _hand_over(self, message: msgspec.Struct, fds: list[int]) -> None:
        if isinstance(message, SealMany):
            for item in message.items:
                self._admit(item.audit_id, item.payload, fds, partial(self._sealing.admit, item))
        elif isinstance(message, MacMany):
            for each in message.items:
                self._admit(each.audit_id, each.data, fds, partial(self._macs.admit, each))
        elif isinstance(message, CloseMany):
            for close in message.items:
                (self._macs if self._macs.holds(close.audit_id) else self._sealing).close(close)
        elif isinstance(message, RefuseMany):
            for refusal in message.items:
                self._sealing.refuse(refusal)
        elif isinstance(message, Query):
            self._query(message)
        elif isinstance(message, AdminCall):
            self._admin(message)
        elif isinstance(message, EntryCall):
            self._entry(message)

    @staticmethod
    def _admit(
        audit_id: str, payload: bytes | Descriptor, fds: list[int], admit: Callable[[int | None], None]
    ) -> None:
        if not isinstance(payload, Descriptor):
            if len(payload) > PAYLOAD_INLINE:
                raise Violation("payload_inline", audit_id)
            admit(None)
            return
        if not 0 <= payload.fd < len(fds) or fds[payload.fd] < 0:
            raise Violation("descriptor_index", audit_id)
        admit(fds[payload.fd])
        fds[payload.fd] = -1


def _size(outcome: SealOutcome) -> int:
    """Return the bytes of what an answer carries inline."""
    if outcome.ok is None:
        return 0
    values = [outcome.ok.envelope, *[signature.bundle for signature in outcome.ok.signatures]]
    return sum([len(value) for value in values if isinstance(value, bytes)])


def _by_memfd(outcome: SealOutcome) -> tuple[SealOutcome, tuple[int, ...]]:
    """Return the answer with its bundles and envelope in memfds, and those."""
    sealed, fds = outcome.ok, list[int]()
    assert sealed is not None

    def moved(value: bytes | Descriptor) -> Descriptor:
        assert isinstance(value, bytes)
        fds.append(sealed_memfd("bundle", value))
        return Descriptor(len(fds) - 1, len(value))

    replace = msgspec.structs.replace
    signatures = tuple([replace(signature, bundle=moved(signature.bundle)) for signature in sealed.signatures])
    envelope = None if sealed.envelope is None else moved(sealed.envelope)
    return replace(outcome, ok=replace(sealed, signatures=signatures, envelope=envelope)), tuple(fds)


def answer_of(query: Query, read: Callable[[], Answer]) -> Answer:
    """Return the answer to ``query``, an error included."""
    try:
        return read()
    except SignerdError as error:
        return Answer(query.id, error=CallError(error.code, error.reason, error.public))
