"""The front end's end of the link to the sealer: what waits goes over in arrays, once a turn.

Pending seals and refusals are answered by the sealer, or by :meth:`SealerLink.lost` when it is gone: with
``audit.unavailable``, for nobody then knows whether they were recorded. The next sealer closes what was open.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import msgspec

from signerd.contracts.services import Clock, WhenMaced, WhenSealed
from signerd.errors import Detail, Fault, SignerdError, error_from
from signerd.host.closing import close_foreign
from signerd.host.link import Frame, Link, LinkClosed
from signerd.wire.backends import BackendChanged
from signerd.wire.frames import encode_frame
from signerd.wire.links import (
    LINK_VERSION,
    AdminAnswer,
    AdminCall,
    Answer,
    Close,
    CloseMany,
    EntryCall,
    Failed,
    Open,
    Opened,
    Query,
    Recorded,
    RefusedRecord,
    RefuseMany,
    SealedMany,
    SealItem,
    SealMany,
    SealOutcome,
    StillVerifying,
)
from signerd.wire.mac_links import MacedMany, MacItem, MacMany, MacOutcome
from signerd.wire.params import Descriptor
from signerd.wire.ring import AbsentKeys, GrantsChanged, RingChanged
from signerd.wire.worker_calls import CallError

__all__ = ["Administered", "SealerLink", "told"]

_message: Final = msgspec.msgpack.Decoder(
    Opened
    | SealedMany
    | MacedMany
    | Recorded
    | Answer
    | AdminAnswer
    | StillVerifying
    | RingChanged
    | GrantsChanged
    | BackendChanged
    | AbsentKeys
    | Failed
)

ITEMS_PER_FRAME: Final = 64
BYTES_PER_FRAME: Final = 2 * 1024 * 1024
"""Of payloads in a frame; with the facts beside them a frame stays below the link's limit."""

T = TypeVar("T")
A = TypeVar("A")
Item = TypeVar("Item", SealItem, MacItem)
Administered = Callable[[tuple[bytes, tuple[int, ...]] | SignerdError], None]
"""Takes the end of a call of the admin plane: the result's msgpack with the descriptors in it, or why there is none."""


class SealerLink:
    """Queues and pending answers. ``news`` gets what is not an answer: opened, ring, backends, failed."""

    def __init__(self, clock: Clock, silent_after: float, news: Callable[[msgspec.Struct], None]) -> None:
        self._clock = clock
        self._silent_after = silent_after
        self._news = news
        self._link: Link | None = None
        self._open = False
        self._seals: dict[str, tuple[WhenSealed | None, float]] = {}
        self._released: set[str] = set()
        self._records: dict[str, tuple[Callable[[SignerdError | None], None] | None, float]] = {}
        self._queries: dict[int, Callable[[Answer | SignerdError], None]] = {}
        self._administered: dict[int, Administered] = {}
        self._items: list[tuple[SealItem, int | None]] = []
        self._macs: list[tuple[MacItem, int | None]] = []
        self._maced: dict[str, tuple[WhenMaced | None, float]] = {}
        self._closes: list[Close] = []
        self._refusals: list[RefusedRecord] = []
        self._next_query = 1

    @property
    def connected(self) -> bool:
        """Whether there is a sealer's process behind the link, be it at its start."""
        return self._link is not None

    @property
    def open(self) -> bool:
        """Whether the sealer has opened: nothing is asked of it before, for it may not know its keys yet."""
        return self._open

    @property
    def link(self) -> Link | None:
        """The framed socket, for the poller."""
        return self._link

    def connect(self, link: Link) -> None:
        """Talk to a new sealer."""
        self._link = link
        link.queue(encode_frame(Open(LINK_VERSION, "signerd")))
        # One that is dead already shows at the next read, as any other death does.
        with contextlib.suppress(LinkClosed):
            link.flush()

    # What stories ask for.

    def seal(self, item: SealItem, fd: int | None, then: WhenSealed) -> None:
        """Queue an item; ``then`` takes its end."""
        if self._add(self._items, item, fd, then):
            self._seals[item.audit_id] = (then, self._clock.monotonic())

    def mac(self, item: MacItem, fd: int | None, then: WhenMaced) -> None:
        """Queue an item; ``then`` takes its end. Its time counts as silence only once the request's own is over."""
        if self._add(self._macs, item, fd, then):
            self._maced[item.audit_id] = (then, self._clock.monotonic() + item.deadline_ms / 1000)

    def forget(self, audit_id: str) -> None:
        """Drop the outcome of an item when it comes: its story was cut short. A sealer that hangs still shows by it."""
        pending = self._seals.get(audit_id)
        if pending is not None:
            self._seals[audit_id] = (None, pending[1])
        elif audit_id in self._maced:
            self._maced[audit_id] = (None, min(self._maced[audit_id][1], self._clock.monotonic()))

    def close(self, close: Close) -> None:
        """Queue how a sealed record ended. One that an earlier sealer had was closed by the next one's start."""
        if close.audit_id in self._released or close.audit_id in self._seals or close.audit_id in self._maced:
            self._released.discard(close.audit_id)
            self._closes.append(close)

    def refuse(self, refusal: RefusedRecord) -> None:
        """Queue the one leaf of what ended before it was sealed."""
        self._records[refusal.audit_id] = (None, self._clock.monotonic())
        if self._open:
            self._refusals.append(refusal)

    def when_recorded(self, audit_id: str, then: Callable[[SignerdError | None], None]) -> bool:
        """Call ``then`` once the refusal is durable, or with why it is not; False where none is pending."""
        pending = self._records.get(audit_id)
        if pending is None:
            return False
        if not self._open:
            del self._records[audit_id]
            then(_unavailable("sealer_down"))
        else:
            self._records[audit_id] = (then, pending[1])
        return True

    def query(
        self,
        tenant: str | None,
        filters: dict[str, str],
        cursor: int,
        limit: int,
        then: Callable[[Answer | SignerdError], None],
    ) -> None:
        """Read the log of ``tenant`` (None: of all); ``then`` gets the page or why there is none."""
        self._ask(self._queries, then, lambda number: Query(number, tenant, filters, cursor, limit))

    def administer(self, method: str, params: bytes, uid: int, inline_max: int, then: Administered) -> None:
        """Hand over a call of the admin plane, unread; ``then`` gets its end, and takes the descriptors over."""
        self._ask(self._administered, then, lambda number: AdminCall(number, method, params, uid, inline_max))

    def entries(self, tenant: str, audit_id: str, inline_max: int, then: Administered) -> None:
        """Ask what came of a record of ``tenant`` that is published later; ``then`` as of :meth:`administer`."""
        self._ask(self._administered, then, lambda number: EntryCall(number, tenant, audit_id, inline_max))

    def _add(
        self, queue: list[tuple[Item, int | None]], item: Item, fd: int | None, then: Callable[[SignerdError], None]
    ) -> bool:
        """Queue an item with a descriptor of its own, as the request may be over before the frame leaves; False where
        ``then`` was told why not."""
        if not self._open:
            then(_unavailable("sealer_down"))
            return False
        try:
            own = None if fd is None else os.dup(fd)
        except OSError as exc:
            self.refuse(RefusedRecord(item.audit_id, item.request, "fault", "internal", "descriptors"))
            then(Fault("internal", "descriptors", "the signer failed", operator=str(exc)))
            return False
        queue.append((item, own))
        return True

    def _ask(
        self,
        waiting: dict[int, Callable[[A | SignerdError], None]],
        then: Callable[[A | SignerdError], None],
        question: Callable[[int], msgspec.Struct],
    ) -> None:
        """Send a question of the next number; ``then`` waits for its answer."""
        if self._link is None or not self._open:
            then(_unavailable("sealer_down"))
            return
        number = self._next_query
        self._next_query += 1
        waiting[number] = then
        self._link.queue(encode_frame(question(number)))

    # The link itself.

    def flush(self) -> None:
        """Send what has been queued since the last turn. Raises LinkClosed."""
        link = self._link
        if link is None:
            return
        if self._items:
            items, self._items = self._items, []
            for group, fds in _groups(items):
                link.queue(encode_frame(SealMany(group)), fds)
        if self._macs:
            macs, self._macs = self._macs, []
            for item, fd in macs:
                owner = (item.decision.tenant, item.decision.principal)
                closing = partial(close_foreign, owner)
                link.queue(encode_frame(MacMany((item,))), () if fd is None else (fd,), closing)
        if self._closes:
            closes, self._closes = self._closes, []
            for part in _parts(closes):
                link.queue(encode_frame(CloseMany(tuple(part))))
        if self._refusals:
            refusals, self._refusals = self._refusals, []
            for refused in _parts(refusals):
                link.queue(encode_frame(RefuseMany(tuple(refused))))
        if link.wants_write:
            link.flush()

    def read(self) -> None:
        """Take what the sealer has said. Raises LinkClosed."""
        assert self._link is not None
        for frame, fds in self._link.read():
            self._take(frame, fds)

    def lost(self) -> None:
        """Answer everybody who waits: the sealer is gone."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._open = False
        self._released.clear()
        for _, fd in self._items:
            if fd is not None:
                os.close(fd)
        for item, fd in self._macs:
            close_foreign((item.decision.tenant, item.decision.principal), () if fd is None else (fd,))
        self._items, self._macs, self._closes, self._refusals = [], [], [], []
        maced, self._maced = self._maced, {}
        seals, self._seals = self._seals, {}
        records, self._records = self._records, {}
        queries, self._queries = self._queries, {}
        administered, self._administered = self._administered, {}
        for sealed, _ in seals.values():
            # Whether it was decided stands in the log, and whoever opens that next closes it as unknown.
            if sealed is not None:
                sealed(_unavailable("sealer_lost"))
        for made, _ in maced.values():
            if made is not None:
                made(_unavailable("sealer_lost"))
        for then, _ in records.values():
            if then is not None:
                then(_unavailable("sealer_lost"))
        for answer in [*queries.values(), *administered.values()]:
            answer(_unavailable("sealer_lost"))

    def silent(self, now: float) -> bool:
        """Whether somebody has waited so long that the sealer must be taken for hung (a write that never returns)."""
        limit = now - self._silent_after
        waiting = (*self._seals.values(), *self._maced.values(), *self._records.values())
        return any(since < limit for _, since in waiting)

    def _take(self, frame: Frame, fds: tuple[int, ...]) -> None:
        try:
            message = _message.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise LinkClosed(f"the sealer sent a frame out of shape: {exc}") from None
        if isinstance(message, SealedMany | MacedMany):
            self._ended(message, fds)
        elif isinstance(message, Recorded):
            for audit_id in message.audit_ids:
                then, _ = self._records.pop(audit_id, (None, 0.0))
                if then is not None:
                    then(None if message.error is None else told(message.error))
        elif isinstance(message, Answer):
            answered = self._queries.pop(message.id, None)
            if answered is not None:
                answered(message if message.error is None else told(message.error))
        elif isinstance(message, AdminAnswer):
            self._administer_ended(message, fds)
        elif isinstance(message, StillVerifying):
            self._heard_of(message.audit_ids)
        else:
            self._open = self._open or isinstance(message, Opened)
            self._news(message)

    def _ended(self, message: SealedMany | MacedMany, fds: tuple[int, ...]) -> None:
        if isinstance(message, MacedMany):
            for made in message.outcomes:
                self._mac_ended(made)
            return
        for outcome in message.outcomes:
            self._sealed(outcome, fds)

    def _heard_of(self, audit_ids: tuple[str, ...]) -> None:
        """Begin to wait anew for items that take their time."""
        now = self._clock.monotonic()
        for audit_id in audit_ids:
            if audit_id in self._seals:
                self._seals[audit_id] = self._seals[audit_id][0], now

    def _administer_ended(self, answer: AdminAnswer, fds: tuple[int, ...]) -> None:
        then = self._administered.pop(answer.id, None)
        if then is not None and answer.error is None:
            then((answer.result, fds))
            return
        for fd in fds:
            os.close(fd)
        if then is not None and answer.error is not None:
            then(told(answer.error, answer.details))

    def _mac_ended(self, outcome: MacOutcome) -> None:
        then, _ = self._maced.pop(outcome.audit_id, (None, 0.0))
        if then is None:
            return
        if outcome.ok is not None:
            self._released.add(outcome.audit_id)
            then(outcome.ok)
            return
        error = outcome.error or CallError("audit.unavailable", "sealer_answer", "the audit log cannot be written now")
        self._closes.append(Close(outcome.audit_id, "fault", error.code))
        then(told(error))

    def _sealed(self, outcome: SealOutcome, fds: tuple[int, ...]) -> None:
        audit_id, ok, error = outcome.audit_id, outcome.ok, outcome.error
        then, _ = self._seals.pop(audit_id, (None, 0.0))
        if then is None:
            for fd in fds:
                os.close(fd)
        elif ok is not None:
            self._released.add(audit_id)
            then((ok, fds))
        else:
            # Every item is closed once by this side: the sealer then knows that no close of it is still to come.
            self._closes.append(Close(audit_id, "fault", "internal" if error is None else error.code))
            failure = _unavailable("sealer_answer") if error is None else told(error, outcome.details)
            failure.retry_after_ms = outcome.retry_after_ms or None
            then(failure)


def told(error: CallError, details: Mapping[str, Detail] | None = None) -> SignerdError:
    """Return a link's error as the exception that it was."""
    return error_from(error.code, error.reason, error.message, operator=error.operator or None, details=details)


def _groups(
    items: Sequence[tuple[SealItem, int | None]],
) -> Iterator[tuple[tuple[SealItem, ...], tuple[int, ...]]]:
    """Cut what waits into frames; a descriptor is named by its index in its frame, so its item goes alone."""
    group: list[SealItem] = []
    size = 0
    for item, fd in items:
        if fd is not None:
            yield (item,), (fd,)
            continue
        length = 0 if isinstance(item.payload, Descriptor) else len(item.payload)
        if group and (len(group) >= ITEMS_PER_FRAME or size + length > BYTES_PER_FRAME):
            yield tuple(group), ()
            group, size = [], 0
        group.append(item)
        size += length
    if group:
        yield tuple(group), ()


def _parts(sequence: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(sequence), ITEMS_PER_FRAME):
        yield sequence[start : start + ITEMS_PER_FRAME]


def _unavailable(reason: str) -> Fault:
    return Fault("audit.unavailable", reason, "the audit log cannot be written now")
