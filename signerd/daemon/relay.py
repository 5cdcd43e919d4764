"""The admin plane's calls on their way to the sealer: unread here, for the front end may be broken (T27).

``admin.reload`` alone has a second half on this side, once the sealer has it on record.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio
from msgspec import Raw

from signerd.daemon.answers import encode
from signerd.daemon.faults import tell
from signerd.daemon.sealer_link import SealerLink
from signerd.daemon.session import Session
from signerd.errors import Refusal, SignerdError
from signerd.wire.admin import Done
from signerd.wire.messages import Request, Response

__all__ = ["AdminRelay"]

MOST_PARAMS: Final = 64 * 1024
"""Bytes of a call: the largest is an approval's signature, of 16 KiB."""
RELOAD: Final = "admin.reload"


class AdminRelay:
    """Hands calls over and answers with what the sealer says. ``reload`` reads the configuration again and returns the
    sections that wait for the next start, or raises why nothing has changed."""

    def __init__(
        self, sealer: SealerLink, reload: Callable[[], Awaitable[Sequence[str]]], nursery: trio.Nursery
    ) -> None:
        self._sealer = sealer
        self._reload = reload
        self._nursery = nursery

    def call(self, session: Session, request: Request) -> None:
        """Hand one call over; raises ``request.too_large`` for one that no method has."""
        params = bytes(request.params)
        if len(params) > MOST_PARAMS:
            raise Refusal("request.too_large", "params", "no call of the admin plane is so large")

        def ended(answer: tuple[bytes, tuple[int, ...]] | SignerdError) -> None:
            if isinstance(answer, SignerdError):
                tell(answer)
                session.refuse(request.id, answer)
            elif request.method == RELOAD:
                _close(answer[1])
                self._nursery.start_soon(self._reloaded, session, request.id)
            else:
                session.answer(Response(request.id, Raw(answer[0])), answer[1])

        self._sealer.administer(request.method, params, session.peer.uid, session.inline_max, ended)

    async def _reloaded(self, session: Session, request_id: int) -> None:
        try:
            done = Done(waiting=tuple(await self._reload()))
        except SignerdError as error:
            session.refuse(request_id, error)
        else:
            session.answer(Response(request_id, Raw(encode(done))))


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
