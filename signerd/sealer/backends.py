"""A key backend or publisher as the sealer sees it: a supervised worker behind a link, asked in batches.

The worker is a child, or a service of its own behind a connection: that one proves itself first, and where a child
would be killed its connection is closed (T1). Only the entry point's metadata is read here; the worker imports (T2).
No call is ever repeated: one that was in flight when the worker died is ``key.backend_unavailable`` (of a publisher:
``transparency.unavailable``), and so is one past its deadline. A late answer is dropped.
"""

import heapq
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from signerd.contracts.services import Clock
from signerd.errors import Refusal, SignerdError
from signerd.host.link import Link, LinkClosed
from signerd.host.spawn import Spawned
from signerd.host.supervision import BACKOFF_FIRST, BACKOFF_LONGEST, State, Supervision
from signerd.host.worker_socket import Connected
from signerd.sealer.worker_call import Call, CallResult, fail, let_go
from signerd.sealer.worker_errors import KEY, WorkerErrors
from signerd.wire.decoding import BROKEN
from signerd.wire.frames import encode_frame
from signerd.wire.messages import VERSION, Cancel, Error, Hello, Message, Request, Response
from signerd.wire.worker_auth import Proof, told
from signerd.wire.worker_calls import BatchCall, BatchParams, BatchResult, CallError

__all__ = ["Backend", "BackendSpec"]

_log = logging.getLogger(__name__)
_encode: Final = msgspec.msgpack.Encoder().encode
_batch: Final = msgspec.msgpack.Decoder(BatchResult)

_message: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)

CALLS_PER_FRAME: Final = 8
"""A batch is cut here, so that its first signatures are verified and released while the last are made."""


_DYING_S: Final = 0.05
"""Seconds; the loop stands still meanwhile, once per worker that breaks its link and lives."""


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """What the configuration says of a backend: ``deadline_s`` is that of one call, ``backoff_s`` the first and longest
    pause before a start. ``start`` waits for nothing; OSError or SignerdError where there is no worker. ``errors`` are
    those of its kind; the calls of one frame are answered together."""

    name: str
    scheme: str
    deadline_s: float
    start: Callable[[], Spawned | Connected]
    backoff_s: tuple[float, float] = (BACKOFF_FIRST, BACKOFF_LONGEST)
    errors: WorkerErrors = KEY
    calls_per_frame: int = CALLS_PER_FRAME


class Backend:
    """One worker. ``changed`` is told whenever it comes up or goes down."""

    def __init__(self, spec: BackendSpec, clock: Clock, changed: Callable[["Backend"], None]) -> None:
        self.spec = spec
        self._clock = clock
        self._changed = changed
        self._supervision = Supervision(first_s=spec.backoff_s[0], longest_s=spec.backoff_s[1])
        self._spawned: Spawned | Connected | None = None
        self._proof: Proof | None = None
        self._link: Link | None = None
        self._frames: dict[int, tuple[Call, ...]] = {}
        self._late: dict[int, tuple[Call, ...]] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._busy_until: dict[int, float] = {}
        self._next_id = 1
        self.methods: frozenset[str] = frozenset()
        """What the worker's hello named."""
        self.latched = False
        """Whether the worker has said that its PIN was refused, or is not presented until a person has looked (T18)."""

    @property
    def up(self) -> bool:
        """Whether calls are sent; otherwise they fail at once."""
        return self._supervision.up

    @property
    def pid(self) -> int | None:
        """The worker's process id while there is one."""
        return self._spawned.pid if self._spawned else None

    def descriptors(self) -> tuple[int, ...]:
        """Return what the loop polls for reading: the link, and the pidfd that tells of a child's death."""
        if self._spawned is None or self._link is None:
            return ()
        pidfd = self._spawned.pidfd
        return (self._link.fileno(),) if pidfd is None else (self._link.fileno(), pidfd)

    def wants_write(self) -> bool:
        """Whether the link has something queued."""
        return self._link is not None and self._link.wants_write

    def next_look(self) -> float | None:
        """Return when :meth:`tick` is due, in monotonic seconds."""
        call = self._deadlines[0][0] if self._deadlines else None
        times = [t for t in (self._supervision.next_look(), call) if t is not None]
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Start what is due, miss what is late, kill what hangs."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, frame_id = heapq.heappop(self._deadlines)
            calls = self._frames.pop(frame_id, None)
            if calls is not None:
                self._busy_until.pop(frame_id, None)
                self._late[frame_id] = calls
                if calls[0].seconds is None:
                    self._supervision.missed()
                fail(calls, self.spec.errors.late)
        if self._supervision.look(now) or self._supervision.must_die:
            if self._spawned is not None:
                _log.error("backend %s: the worker does not answer in time; it is taken down", self.spec.name)
            self._kill()
        if self._supervision.start_due(now):
            self._start(now)

    def call_many(self, calls: Sequence[Call]) -> None:
        """Send the calls, many in a frame; each ``done`` is called exactly once, at the latest at the deadline.

        Takes the calls' descriptors over.
        """
        if self._link is None or not self.up:
            for call in calls:
                call.close()
            fail(calls, self.spec.errors.down)
            let_go(calls)
            return
        self._send(calls)

    def withdraw(self, done: Callable[[CallResult], None]) -> None:
        """Tell the worker that nobody waits for the call that is ``alone`` and has this ``done``, which is not called
        any more."""
        frame_id = next((number for number, calls in self._frames.items() if calls[0].done is done), None)
        if frame_id is None:
            return
        self._late[frame_id] = self._frames.pop(frame_id)
        if self._link is not None:
            self._link.queue(encode_frame(Cancel(frame_id)))

    def flush(self) -> None:
        """Send what is queued."""
        if self._link is None or not self._link.wants_write:
            return
        try:
            self._link.flush()
        except LinkClosed:
            self._kill()

    def readable(self, progress: Callable[[], None]) -> None:
        """Take what the worker has said; ``progress`` is called after each answer, so that it need not wait for all."""
        link = self._link
        if link is None:
            return
        try:
            frames = link.read()
        except LinkClosed as closed:
            self._broken(str(closed))
            return
        for fd in [fd for _, fds in frames for fd in fds]:
            os.close(fd)
        for frame, fds in frames:
            if self._link is not link:
                return  # it was taken down by what it said before
            if fds:
                self._broken("a descriptor that nobody asked for")
                return
            self._take(frame)
            progress()

    def reap(self, why: str = "") -> None:
        """Look whether the worker has ended; everything in flight fails with it. ``why`` is what was seen before."""
        if self._spawned is not None and self._spawned.reap():
            seen = f" ({why})" if why else ""
            _log.warning("backend %s: %s%s", self.spec.name, self._spawned.fate, seen)
            self._gone()

    def condemn(self, why: str) -> None:
        """Say that the worker lied: it is killed at the next tick, and its next start is put off further."""
        _log.error("backend %s: %s; the worker is taken down", self.spec.name, why)
        self._supervision.condemn()
        self._kill()

    def restart(self) -> None:
        """End the worker so that it is started anew; what is in flight fails."""
        self.latched = False
        self._kill()

    def close(self, seconds: float) -> None:
        """End the worker for good."""
        if self._spawned is not None:
            self._spawned.end(seconds)
            self._spawned = None
            self._link = None

    def _start(self, now: float) -> None:
        try:
            self._spawned = self.spec.start()
        except (OSError, SignerdError) as exc:
            _log.error("backend %s: no worker: %s", self.spec.name, exc)
            self._supervision.started(now)
            self._supervision.died(now)
            return
        self._link = Link(self._spawned.socket)
        self._supervision.started(now)
        self._proof = self._spawned.proof if isinstance(self._spawned, Connected) else None
        nonce = msgspec.UNSET if self._proof is None else self._proof.nonce
        self._link.queue(encode_frame(Hello((VERSION,), "signerd-sealer", nonce=nonce)))
        self.flush()

    def _send(self, calls: Sequence[Call]) -> None:
        # A descriptor is named by its index in its frame, so a call that brings one has a frame of its own; and so has
        # one that takes its time: the others of its frame would be answered with it.
        plain = [call for call in calls if not (call.fds or call.deadline_s or call.alone)]
        most = self.spec.calls_per_frame
        for start in range(0, len(plain), most):
            self._send_frame(tuple(plain[start : start + most]), ())
        for call in calls:
            if call.alone:
                self._send_alone(call)
            elif call.fds or call.deadline_s:
                self._send_frame((call,), call.fds)

    def _send_frame(self, calls: tuple[Call, ...], fds: tuple[int, ...]) -> None:
        assert self._link is not None
        params = BatchParams(tuple([BatchCall(c.method, msgspec.Raw(_encode(c.params))) for c in calls]))
        frame_id = self._expect(calls, calls[0].deadline_s or self.spec.deadline_s)
        self._link.queue(encode_frame(Request(frame_id, "batch", msgspec.Raw(_encode(params)))), fds)

    def _send_alone(self, call: Call) -> None:
        assert self._link is not None
        # The worker keeps a call's own deadline itself, and then says so.
        seconds = self.spec.deadline_s if call.seconds is None else call.seconds
        frame_id = self._expect((call,), seconds if call.seconds is None else seconds + self.spec.deadline_s)
        params = msgspec.Raw(_encode(call.params))
        request = Request(frame_id, call.method, params, deadline_ms=max(1, int(seconds * 1000)))
        self._link.queue(encode_frame(request), call.fds, call.closing)

    def _expect(self, calls: tuple[Call, ...], seconds: float) -> int:
        """Return the number under which these calls are answered within ``seconds``."""
        frame_id = self._next_id
        self._next_id += 1
        self._frames[frame_id] = calls
        begins = max([self._clock.monotonic(), *self._busy_until.values()])
        if calls[0].deadline_s:
            self._busy_until[frame_id] = begins + seconds
        heapq.heappush(self._deadlines, (begins + seconds, frame_id))
        return frame_id

    def _take(self, frame: memoryview | bytes) -> None:
        try:
            if self._supervision.state is State.STARTING:
                if self._greeted(frame):
                    self._supervision.answered()
                    self._changed(self)
                return
            message = _message.decode(frame)
        except BROKEN as exc:
            self._broken(f"a frame that is no message: {exc}")
            return
        except Refusal as refusal:
            self._broken(str(refusal))
            return
        if isinstance(message, Response):
            self._answered(message)
        elif isinstance(message, Error) and isinstance(message.id, int):
            calls = self._calls_of(message.id)
            if calls is not None:
                reason = str((message.details or {}).get("reason", "refused"))
                fail(calls, self.spec.errors.told(CallError(message.code, reason, message.message)))
        else:
            self._broken("a message that no worker sends")

    def _greeted(self, frame: memoryview | bytes) -> bool:
        """Take the worker's hello or, at a socket path, its proof after that; whether calls may follow."""
        proof = self._proof
        if proof is not None and proof.met:
            proof.check(frame)
            return True
        hello = _message.decode(frame)
        if isinstance(hello, Error):
            self._broken(f"refused: {told(hello)}")
            return False
        if not isinstance(hello, Hello) or hello.version != VERSION:
            self._broken("no hello of this version")
            return False
        self.methods = frozenset(hello.methods or ())
        if proof is None:
            return True
        assert self._link is not None
        proof.meet(hello)
        self._link.queue(encode_frame(proof.auth()))
        self.flush()
        return False

    def _answered(self, response: Response) -> None:
        calls = self._calls_of(response.id)
        if calls is None:
            return
        if calls[0].alone:
            self._supervision.answered()
            calls[0].done(response.result)
            return
        try:
            outcomes = _batch.decode(response.result).outcomes
        except BROKEN:
            outcomes = ()
        if len(outcomes) != len(calls):
            fail(calls, self.spec.errors.shape)
            self.condemn("an answer out of shape")
            return
        self._supervision.answered()
        for call, outcome in zip(calls, outcomes, strict=True):
            if outcome.ok is msgspec.UNSET:
                error = self.spec.errors.told(outcome.error)
                self.latched = self.latched or error.reason.startswith("pin_")
                call.done(error)
            elif outcome.error is None:
                call.done(outcome.ok)
            else:
                call.done(self.spec.errors.shape)
                self.condemn("an outcome that is both a result and an error")

    def _calls_of(self, frame_id: int) -> tuple[Call, ...] | None:
        """Return what a frame asked for, once; None for a late answer. Any other answer is a lie (T17)."""
        calls = self._frames.pop(frame_id, None)
        self._busy_until.pop(frame_id, None)
        if calls is not None:
            let_go(calls)
        elif frame_id in self._late:
            let_go(self._late.pop(frame_id))
        else:
            self._broken("an answer that nobody waits for")
        return calls

    def _broken(self, why: str) -> None:
        """Take down a worker whose link ended or that broke the protocol."""
        # A process that dies closes its link a moment before its end shows: that is a death, and no lie. What it said
        # before is told all the same: a peer that refuses hangs up too.
        if self._spawned is not None and not self._spawned.reap(_DYING_S):
            self.condemn(why)
        else:
            self.reap(why)

    def _kill(self) -> None:
        """Kill the process; its end is seen through the pidfd, but nothing is sent to it any more."""
        if self._spawned is not None:
            self._spawned.kill()
            self._gone()

    def _gone(self) -> None:
        spawned, self._spawned = self._spawned, None
        if spawned is None:
            return
        if not spawned.reap():
            spawned.end(1.0)
        if self._link is not None:
            self._link.close()
        self._link = None
        self._supervision.died(self._clock.monotonic())
        frames, self._frames = self._frames, {}
        late, self._late = self._late, {}
        self._deadlines.clear()
        self._busy_until.clear()
        for calls in [*frames.values(), *late.values()]:
            let_go(calls)
        for calls in frames.values():
            fail(calls, self.spec.errors.died)
        self._changed(self)
