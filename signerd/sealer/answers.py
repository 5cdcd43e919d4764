"""What the front end is told of each request, and when: no answer is given before the record that it stands on."""

from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from signerd.wire.links import RefusedRecord
from signerd.wire.worker_calls import CallError

__all__ = ["MOST_CROSSING", "Answers"]

MOST_CROSSING: Final = 65_536
"""Requests that all connections together may have in flight; no more can be closed while their answer is on its way."""

A = TypeVar("A")


class Answers(Generic[A]):
    """``ready`` goes to the front end, each with its memfds, and so does ``recorded``: the refusals of its own that are
    on the record, or why they are not. Whoever sends them empties them.

    ``unrecorded`` makes the answer to a request whose record could not be written.
    """

    def __init__(self, unrecorded: Callable[[str, CallError], A]) -> None:
        self._unrecorded = unrecorded
        self._held: dict[str, A] = {}
        # Ended without a result, and not closed by the front end yet: its close may be on its way.
        self._crossing: dict[str, None] = {}
        self.ready: list[tuple[A, tuple[int, ...]]] = []
        self.recorded: list[tuple[tuple[str, ...], CallError | None]] = []

    def give(self, answer: A, fds: tuple[int, ...] = ()) -> None:
        """Answer now. ``fds`` are closed by whoever sends it."""
        self.ready.append((answer, fds))

    def hold(self, audit_id: str, answer: A) -> None:
        """Answer once the refusal of that id is on the record."""
        self._held[audit_id] = answer

    def holds(self, audit_id: str) -> bool:
        """Whether an answer waits for the record."""
        return audit_id in self._held

    def note(self, refusals: Iterable[RefusedRecord], error: CallError | None) -> None:
        """Take refusals that are on the record, or for which there is none (``error``)."""
        own = []
        for refusal in refusals:
            held = self._held.pop(refusal.audit_id, None)
            if held is None:
                own.append(refusal.audit_id)
            else:
                self.give(held if error is None else self._unrecorded(refusal.audit_id, error))
        if own:
            self.recorded.append((tuple(own), error))

    def deny(self, audit_id: str, error: CallError) -> None:
        """Answer a request that was decided, and whose decision could not be written."""
        self.give(self._unrecorded(audit_id, error))

    def expect_close(self, audit_id: str) -> None:
        """Expect a close that crosses the answer, if any: the front end may have given up just then."""
        self._crossing[audit_id] = None
        if len(self._crossing) > MOST_CROSSING:
            self._crossing = dict.fromkeys(list(self._crossing)[MOST_CROSSING // 2 :])

    def expects_close(self, audit_id: str) -> bool:
        """Whether a close of that id would have crossed its answer."""
        return audit_id in self._crossing

    def closed(self, audit_id: str) -> None:
        """Take the close that was expected."""
        self._crossing.pop(audit_id, None)
