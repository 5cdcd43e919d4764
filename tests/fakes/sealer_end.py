"""The sealer's end of the front end's link, in the test's hand: real frames, real signatures, no process."""

import os
import socket
from typing import Any

import msgspec

from fakes.services import FakeClock, World
from signerd.daemon.sealer_link import SealerLink
from signerd.host.link import Link
from signerd.pipeline.waits import MacWait, SealWait
from signerd.wire.backends import BackendState
from signerd.wire.frames import encode_frame
from signerd.wire.links import (
    AdminCall,
    Close,
    CloseMany,
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
)
from signerd.wire.mac_links import MacedMany, MacItem, MacMany, MacOutcome

__all__ = ["SealerEnd"]

_decode = msgspec.msgpack.Decoder(Open | SealMany | MacMany | CloseMany | RefuseMany | Query | AdminCall)


class SealerEnd:
    """``link`` is the front end's side; what it sent is in ``items``, ``closes``, ``refusals``, ``queries``
    and ``calls``."""

    def __init__(self, given: World, clock: FakeClock) -> None:
        ours, theirs = socket.socketpair()
        self._given = given
        self._peer = Link(theirs)
        self.link = SealerLink(clock, 5.0, self._news)
        self.news: list[msgspec.Struct] = []
        self.items: list[SealItem] = []
        self.macs: list[MacItem] = []
        self.closes: list[Close] = []
        self.refusals: list[RefusedRecord] = []
        self.queries: list[Query] = []
        self.calls: list[AdminCall] = []
        self._fds: dict[str, int] = {}
        self.link.connect(Link(ours))
        ring = tuple(held.entry for held in given.sealer.keys.values())
        self.say(Opened(ring, 1, {}, (BackendState("soft", "file", up=True),), "process"))

    def _news(self, message: msgspec.Struct) -> None:
        self.news.append(message)

    def say(self, message: msgspec.Struct, fds: tuple[int, ...] = ()) -> None:
        """Send one message and have it taken."""
        self._peer.queue(encode_frame(message), fds)
        self._peer.flush()
        self.link.read()

    def hear(self) -> None:
        """Take what the front end has queued by now."""
        self.link.flush()
        while found := self._peer.read():
            for frame, fds in found:
                self._sort(_decode.decode(frame), fds)

    def _sort(self, message: Any, fds: tuple[int, ...]) -> None:
        if isinstance(message, SealMany):
            self.items += message.items
            if fds:
                self._fds[message.items[0].audit_id] = fds[0]
        elif isinstance(message, MacMany):
            self.macs += message.items
            if fds:
                self._fds[message.items[0].audit_id] = fds[0]
        elif isinstance(message, CloseMany):
            self.closes += message.items
        elif isinstance(message, RefuseMany):
            self.refusals += message.items
        elif isinstance(message, Query):
            self.queries.append(message)
        elif isinstance(message, AdminCall):
            self.calls.append(message)

    def serve(self) -> None:
        """Seal and record all that is asked for, as the sealer does."""
        self.hear()
        items, self.items = self.items, []
        for item in items:
            sealed, _ = self._given.sealer.seal(SealWait(item, self._fds.get(item.audit_id)))
            self.say(SealedMany((SealOutcome(item.audit_id, ok=sealed),)))
        macs, self.macs = self.macs, []
        for each in macs:
            fd = self._fds.pop(each.audit_id, None)
            made = self._given.sealer.mac(MacWait(each, fd))
            if fd is not None:
                os.close(fd)
            self.say(MacedMany((MacOutcome(each.audit_id, ok=made),)))
        if self.refusals:
            self.say(Recorded(tuple(refusal.audit_id for refusal in self.refusals)))
        self.hear()

    def close(self) -> None:
        """Be gone."""
        self.link.lost()
        self._peer.close()
