"""The front end's end of the link to the document worker: one document at a time, a short queue, else overload (T21).

A document that a worker had in hand when it died is ``internal``, ``document_worker``, and not retryable.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from signerd.contracts.services import Clock
from signerd.daemon.errands import Errand, Errands
from signerd.daemon.poller import Poller
from signerd.daemon.sealer_link import told
from signerd.daemon.story import Story
from signerd.errors import Fault, SignerdError, error_from
from signerd.host.spawn import Spawned
from signerd.pipeline.evidence import Signed
from signerd.pipeline.waits import DocumentWait
from signerd.wire.worker_calls import CallError, DocumentChecked

__all__ = ["QUEUE", "Documents"]

QUEUE: Final = 16
"""Documents that may wait; each holds its caller's memfd, so more would be an unbounded queue of memory."""
_ALL: Final = "all"
"""One queue for whoever asks, in the order in which they came."""


class Documents(Errands[DocumentChecked]):
    """The worker, its queue, and the stories that wait for it."""

    def __init__(self, start: Callable[[], Spawned], poller: Poller, clock: Clock) -> None:
        decode = msgspec.msgpack.Decoder(DocumentChecked).decode
        super().__init__("document worker", _lost, decode, start, poller, clock)
        self._asked: dict[Story[Signed], Errand[DocumentChecked]] = {}

    def check(self, story: Story[Signed], wait: DocumentWait) -> None:
        """Queue a document; ``daemon.overloaded`` at once where the queue is full."""
        if self.waiting(_ALL) >= QUEUE:
            story.throw(Fault("daemon.overloaded", "document_queue", "too many large documents at once"))
            return
        errand = Errand(_ALL, wait.call, wait.fd, partial(self._done, story))
        self._asked[story] = errand
        self.add(errand)

    def forget(self, story: Story[Signed]) -> None:
        """Drop a story: a queued document is not looked at; the one in hand is finished and thrown away."""
        errand = self._asked.pop(story, None)
        if errand is not None:
            self.drop(_ALL, [errand])

    def _done(self, story: Story[Signed], answer: DocumentChecked | SignerdError, fds: tuple[int, ...]) -> None:
        del self._asked[story]
        # Of an answer with an error nothing is taken but that: its descriptors end with the request, as all of them.
        story.request.owned.extend(fds)
        if isinstance(answer, SignerdError):
            story.throw(answer)
        elif answer.error is not None:
            story.throw(_refusal(answer.error, answer.pointer))
        else:
            story.resume(answer)


def _lost() -> Fault:
    return Fault("internal", "document_worker", "the document cannot be checked")


def _refusal(error: CallError, pointer: str) -> SignerdError:
    if not pointer:
        return told(error)
    return error_from(error.code, error.reason, error.message, details={"pointer": pointer})
