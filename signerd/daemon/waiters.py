"""What a story may wait for, brought by the daemon: the sealer, the document worker, tasks and the file pool."""

import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
import trio

from signerd.contracts.services import Sealer
from signerd.daemon.descriptors import check_files
from signerd.daemon.documents import Documents
from signerd.daemon.story import Story
from signerd.errors import Fault, SignerdError
from signerd.host.closing import close_foreign
from signerd.host.memfd import sealed_memfd
from signerd.pipeline.waits import DocumentWait, HashWait, MacWait, ProviderWait, SealWait, Wait
from signerd.wire.links import Sealed
from signerd.wire.mac_links import Maced
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import PAYLOAD_INLINE

__all__ = ["FILE_THREADS", "MOST_LATE", "Waiters"]

FILE_THREADS = 4
"""Subjects' files that are hashed at once for one principal: a bounded pool of its own, so that a disk that hangs stops
neither the daemon nor another caller's files (T19)."""
MOST_LATE = 1024
"""Tasks that go on without their stories: a caller that asks and cancels must not fill the memory with them. Beyond
these, what a story waited for is cancelled with it."""
R = TypeVar("R")


class Waiters:
    """The daemon's side of every wait. ``turned`` is called when a task has stepped a story outside a poller's turn."""

    def __init__(
        self, sealer: Sealer, documents: Documents, nursery: trio.Nursery, turned: Callable[[], None]
    ) -> None:
        self._sealer = sealer
        self._documents = documents
        self._nursery = nursery
        self._turned = turned
        self._files: dict[tuple[str, str], trio.CapacityLimiter] = {}
        self._tasks: dict[str, trio.CancelScope] = {}
        self._late = 0
        self.stories: dict[str, Story[Any]] = {}

    def seal(self, story: Story[Any], wait: SealWait) -> None:
        """Give the item to the sealer."""

        def ended(result: tuple[Sealed, tuple[int, ...]] | SignerdError) -> None:
            if isinstance(result, SignerdError):
                story.request.settled = True
                story.throw(result)
            else:
                story.resume(result)

        self._sealer.seal(wait.item, wait.fd, ended)

    def mac(self, story: Story[Any], wait: MacWait) -> None:
        """Give the item to the sealer; what is too long for a frame goes as a memfd."""

        def ended(result: Maced | SignerdError) -> None:
            if isinstance(result, SignerdError):
                story.request.settled = True
                story.throw(result)
            else:
                story.resume(result)

        item, fd, data = wait.item, wait.fd, wait.item.data
        if isinstance(data, bytes) and len(data) > PAYLOAD_INLINE:
            fd = sealed_memfd("data", data)
            story.request.owned.append(fd)
            item = msgspec.structs.replace(item, data=Descriptor(0, len(data)))
        self._sealer.mac(item, fd, ended)

    def provide(self, story: Story[Any], wait: ProviderWait) -> None:
        """Run a provider's awaitable in a task of its own."""

        async def run() -> object:
            return await wait.awaitable

        self._start(story, run, wait.late)

    def check(self, story: Story[Any], wait: DocumentWait) -> None:
        """Give the document to its worker."""
        self._documents.check(story, wait)

    def hash(self, story: Story[Any], wait: HashWait) -> None:
        """Hash files in a thread, on descriptors of its own: the thread may outlive the request."""
        bound = story.request.bound
        owner = (bound.tenant, bound.name) if bound else ("", "")
        limiter = self._files.setdefault(owner, trio.CapacityLimiter(FILE_THREADS))
        over = threading.Event()
        # Whoever takes the list out closes its descriptors: the thread, or the task where no thread came to it.
        held: list[list[tuple[int, int]]] = [[]]
        try:
            for fd, size in wait.files:
                held[0].append((os.dup(fd), size))
        except OSError:
            close_foreign(owner, _numbers(held[0]))
            raise

        def work() -> list[str]:
            files = held.pop() if held else []
            try:
                return check_files(files, over.is_set)
            finally:
                for fd in _numbers(files):
                    with contextlib.suppress(OSError):  # an error of the file's own: its digest is there
                        os.close(fd)

        async def run() -> object:
            try:
                # The slot is the thread's, also after the task has gone: so the pool stays bounded.
                return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)
            finally:
                over.set()
                if held:
                    close_foreign(owner, _numbers(held.pop()))

        self._start(story, run)

    def forget(self, story: Story[Any], wait: Wait) -> None:
        """Stop waiting for ``story``."""
        audit_id = story.request.audit_id
        if isinstance(wait, SealWait | MacWait):
            self._sealer.forget(wait.item.audit_id)
        elif isinstance(wait, DocumentWait):
            self._documents.forget(story)
        else:
            scope = self._tasks.pop(audit_id, None)
            if scope is not None and not self._runs_on(wait):
                scope.cancel()

    def soon(self, call: Callable[[], None]) -> None:
        """Call ``call`` once others have had their turn."""

        async def run() -> None:
            await trio.lowlevel.checkpoint()
            call()
            self._turned()

        self._nursery.start_soon(run)

    def ended(self, story: Story[R], result: R | SignerdError) -> None:
        """Answer; a refusal once its record is durable, or with why it is not (promise 2)."""
        self.stories.pop(story.request.audit_id, None)
        if not isinstance(result, SignerdError):
            story.done(story, result)
            return

        def recorded(error: SignerdError | None) -> None:
            story.done(story, error or result)

        if not self._sealer.when_recorded(story.request.audit_id, recorded):
            story.done(story, result)

    def _runs_on(self, wait: Wait) -> bool:
        """Return whether a task goes on without its story: only where what it brings must be given back."""
        if not isinstance(wait, ProviderWait) or wait.late is None or self._late >= MOST_LATE:
            return False
        self._late += 1
        return True

    def _start(
        self,
        story: Story[Any],
        run: Callable[[], Coroutine[Any, Any, object]],
        late: Callable[[object], None] | None = None,
    ) -> None:
        # The scope is there before the task runs: a story can be cut short in the turn in which it began to wait.
        scope = self._tasks[story.request.audit_id] = trio.CancelScope()
        self._nursery.start_soon(self._task, story, run, scope, late)

    async def _task(
        self,
        story: Story[Any],
        run: Callable[[], Coroutine[Any, Any, object]],
        scope: trio.CancelScope,
        late: Callable[[object], None] | None,
    ) -> None:
        """Run what one story waits for, and step it; the scope is how the story stops waiting."""
        with scope:
            try:
                outcome = await run()
            except SignerdError as error:
                outcome = error
            except OSError as exc:
                outcome = Fault("internal", "file", "a file could not be read", operator=str(exc))
            except Exception as exc:  # noqa: BLE001  # a defect fails this request alone
                outcome = Fault("internal", "defect", "the signer failed", operator=f"{type(exc).__name__}: {exc}")
        if scope.cancel_called:
            return
        if late is not None and self._tasks.get(story.request.audit_id) is not scope:
            self._late -= 1
            late(outcome)
            return
        del self._tasks[story.request.audit_id]
        if isinstance(outcome, SignerdError):
            story.throw(outcome)
        else:
            story.resume(outcome)
        self._turned()


def _numbers(files: list[tuple[int, int]]) -> list[int]:
    return [fd for fd, _ in files]
