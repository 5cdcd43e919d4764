"""One call to a worker, and how it ends for whoever asked."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from signerd.host.link import Closing
from signerd.wire.worker_calls import CallError

__all__ = ["Call", "CallResult", "fail", "let_go"]

CallResult = msgspec.Raw | CallError


class Call(NamedTuple):
    """A method of the worker protocol, its params, and who takes the outcome. ``fds`` is at most one, closed by
    ``closing`` where it is no memfd.

    ``deadline_s`` is for a call that waits for a person: it replaces the backend's own, and whatever is asked meanwhile
    has its time after it, for a worker answers in order. 0 is the backend's own.

    One that is ``alone`` is in no batch, and answered when it is done. ``seconds`` is a deadline of its own: to miss it
    says nothing of the worker, as a caller's file may be why. ``over`` is called once when the worker has nothing more
    to do with it, which may be long after ``done``.
    """

    method: str
    params: msgspec.Struct
    done: Callable[[CallResult], None]
    fds: tuple[int, ...] = ()
    deadline_s: float = 0.0
    alone: bool = False
    seconds: float | None = None
    closing: Closing | None = None
    over: Callable[[], None] | None = None

    def close(self) -> None:
        """Close its descriptors: nobody is asked."""
        if self.closing is not None:
            self.closing(self.fds)
            return
        for fd in self.fds:
            os.close(fd)


def fail(calls: Sequence[Call], error: CallError) -> None:
    """Have them all end with ``error``."""
    for call in calls:
        call.done(error)


def let_go(calls: Sequence[Call]) -> None:
    """Say of each that the worker has nothing more to do with it."""
    for call in calls:
        if call.over is not None:
            call.over()
