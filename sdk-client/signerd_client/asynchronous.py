"""The async client, for trio and asyncio alike (anyio): many requests in flight on one connection."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from os import PathLike
from typing import Final, Self, TypeVar

import anyio

from signerd.errors import Fault, SignerdError
from signerd.wire.macs import MacPurpose
from signerd.wire.messages import Hello, Limits
from signerd.wire.methods import (
    BundleVerified,
    DaemonHealth,
    DaemonInfo,
    KeyDescription,
    KeyList,
    LaterEntries,
    MacComputed,
    MacVerified,
    SessionBound,
)
from signerd.wire.params import Options
from signerd_client import operations
from signerd_client.address import socket_path
from signerd_client.channel import Channel, Opening
from signerd_client.operations import Operation
from signerd_client.presence import Approval, Touch
from signerd_client.requests import MacData, PayloadRequest, SignRequest
from signerd_client.results import BatchOutcome, Signed, fresh
from signerd_client.session import Answer, Session, connection_lost
from signerd_client.verifying import VerifyOutcome, VerifyRequest

__all__ = ["AsyncSigner"]

T = TypeVar("T")
R = TypeVar("R", SignRequest, PayloadRequest)

_RETRY_S: Final = 0.01


class _Waiter:
    """A request that waits for its answer."""

    __slots__ = ("answer", "event")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.answer: Answer | None = None


class AsyncSigner:
    """A session with the daemon, opened by :meth:`connect`. Any number of tasks may ask at once.

    Every method raises :class:`signerd.errors.SignerdError` alone, by the daemon's code: Refusal or Fault.
    ``deadline_s`` is how long the daemon may take, in seconds; None is the longest that the daemon allows. A
    request whose task is cancelled or whose deadline passes is cancelled at the daemon too, and the session
    stays usable. No more than the daemon's ``in_flight`` requests are sent at once; further ones wait here.
    """

    def __init__(self, channel: Channel, session: Session) -> None:
        self._channel = channel
        self._session = session
        self._waiters: dict[int, _Waiter] = {}
        self._to_write = anyio.Event()
        self._slots = anyio.Semaphore(max(1, session.limits.in_flight))

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        path: str | PathLike[str] | None = None,
        *,
        server_uid: int | None = None,
        timeout_s: float = 5.0,
        inline_max: int | None = None,
    ) -> AsyncIterator[Self]:
        """Open a session for the length of an ``async with``; arguments and errors as of the blocking client.

        Leaving it hangs up, which cancels what is in flight. An exception of the body comes out as it is, not
        in a group.
        """
        session = Session(inline_max)
        channel = await _open(socket_path(path), session, server_uid, timeout_s)
        failure: Exception | None = None
        try:
            signer = cls(channel, session)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(signer._read)
                tasks.start_soon(signer._write)
                try:
                    yield signer
                except Exception as error:  # noqa: BLE001  # raised again outside, where no group wraps it
                    failure = error
                tasks.cancel_scope.cancel()
            signer._hang_up()
        finally:
            session.fail(connection_lost())
            channel.close()
        if failure is not None:
            raise failure

    @property
    def hello(self) -> Hello:
        """The daemon's hello: version, limits, methods, profiles."""
        return self._session.greeting

    async def sign_dsse(
        self,
        request: SignRequest,
        *,
        deadline_s: float | None = None,
        wait_for_presence: bool = False,
        on_presence: Callable[[Approval], None] | None = None,
    ) -> Signed:
        """Have one Statement signed.

        A key may need that somebody touches an authenticator: that is ``key.presence_required``, and the request is
        repeated with the ``approval_id`` of its details. With ``wait_for_presence`` this is done here, until the
        approval is given or its time is over; each repeat is a request of its own, under ``deadline_s``.
        ``on_presence`` is called once with the approval that is waited for: tell somebody to touch the key.
        """
        asked = operations.sign
        return await self._signed(asked, request, deadline_s, wait_for_presence, on_presence)

    async def sign_payload(
        self,
        request: PayloadRequest,
        *,
        deadline_s: float | None = None,
        wait_for_presence: bool = False,
        on_presence: Callable[[Approval], None] | None = None,
    ) -> Signed:
        """Have one document of a catalogued payload type signed bare; ``envelope`` of what comes holds it. Presence is
        waited for as in :meth:`sign_dsse`."""
        asked = operations.sign_payload
        return await self._signed(asked, request, deadline_s, wait_for_presence, on_presence)

    async def sign_batch(
        self,
        requests: Sequence[SignRequest],
        *,
        options: Options | None = None,
        deadline_s: float | None = None,
    ) -> list[BatchOutcome]:
        """Have many signed; an outcome for each, in their order, and no error of one is raised.

        ``options`` are the defaults of all. What the daemon does not take in one request goes in several, one
        after the other, each under ``deadline_s``; an error of a whole request is the outcome of each of its
        items.
        """
        outcomes: list[BatchOutcome] = []
        for operation in operations.batch(requests, options, self._session.limits):
            part = await self._run(operation, deadline_s)
            outcomes += part
        return outcomes

    async def verify_bundle(
        self,
        bundle: bytes | memoryview,
        *,
        key: str | None = None,
        identity: tuple[str, str] | None = None,
        policy: str | None = None,
        artifact_sha256: str | None = None,
        predicate_type: str | None = None,
        deadline_s: float | None = None,
    ) -> BundleVerified:
        """Have the daemon verify a Sigstore bundle against its trusted root: signed by ``key`` (PEM), by an
        ``identity`` (certificate name, OIDC issuer), or by whom the ``policy`` of that id trusts; one is needed.

        ``artifact_sha256`` is the digest of what it must be about, ``predicate_type`` its type, literally. A bundle
        that does not verify is an answer: look at ``verified``, then at ``checks`` for the reasons.
        """
        request = VerifyRequest(
            bundle=bundle,
            key=key,
            identity=identity,
            policy=policy,
            artifact_sha256=artifact_sha256,
            predicate_type=predicate_type,
        )
        return await self._run(operations.verify(request, self._session.limits), deadline_s)

    async def verify_batch(
        self, requests: Sequence[VerifyRequest], *, deadline_s: float | None = None
    ) -> list[VerifyOutcome]:
        """Have many bundles verified; an outcome for each, in their order, and no error of one is raised.

        What the daemon does not take in one request goes in several, one after the other, each under ``deadline_s``; an
        error of a whole request is the outcome of each of its items.
        """
        outcomes: list[VerifyOutcome] = []
        for operation in operations.verify_many(requests, self._session.limits):
            part = await self._run(operation, deadline_s)
            outcomes += part
        return outcomes

    async def transparency_entry(self, audit_id: str, *, deadline_s: float | None = None) -> LaterEntries:
        """Tell what came of a record whose entries come after its answer (``transparency: async``): ``state`` is
        ``logged``, ``pending`` or ``failed``, and once they are there each bundle is there with its entries."""
        return await self._run(operations.entry(audit_id), deadline_s)

    async def hmac_compute(
        self, purpose: MacPurpose, key: str, data: MacData, *, deadline_s: float | None = None
    ) -> MacComputed:
        """Have the MAC of ``data`` made by ``key``, a reference, for one of the purposes that it is for.

        ``data`` is the bytes, or the descriptor of a regular file, which stays open and is read in one pass where the
        key is, whatever its size.
        """
        return await self._run(operations.hmac_compute(purpose, key, data, self._session.limits), deadline_s)

    async def hmac_verify(
        self, purpose: MacPurpose, key: str, data: MacData, mac: bytes, *, deadline_s: float | None = None
    ) -> MacVerified:
        """Have ``mac`` compared with that of ``data`` by ``key``, a reference or the keyid of a version. One that is
        not the key's is an answer: look at ``valid``."""
        operation = operations.hmac_verify(purpose, key, data, mac, self._session.limits)
        return await self._run(operation, deadline_s)

    async def keys(self, *, deadline_s: float | None = None) -> KeyList:
        """List the public halves of the own tenant's keys."""
        return await self._run(operations.keys(), deadline_s)

    async def describe(self, key: str, *, deadline_s: float | None = None) -> KeyDescription:
        """Describe one key by reference or keyid."""
        return await self._run(operations.describe(key), deadline_s)

    async def info(self, *, deadline_s: float | None = None) -> DaemonInfo:
        """Tell what runs."""
        return await self._run(operations.info(), deadline_s)

    async def health(self, *, deadline_s: float | None = None) -> DaemonHealth:
        """Tell whether it can sign."""
        return await self._run(operations.health(), deadline_s)

    async def bind(self, *, deadline_s: float | None = None) -> SessionBound:
        """Tell who the daemon takes us for."""
        return await self._run(operations.bind(), deadline_s)

    async def _signed(
        self,
        asked: Callable[[R, Limits], Operation[Signed]],
        request: R,
        deadline_s: float | None,
        wait: bool,  # as its callers were asked
        told: Callable[[Approval], None] | None,
    ) -> Signed:
        touch = Touch(told)
        while True:
            try:
                return await self._run(asked(request, self._session.limits), deadline_s)
            except SignerdError as error:
                if not wait:
                    raise
                pause, request = touch.again(request, error)
            await anyio.sleep(pause)

    async def _run(self, operation: Operation[T], deadline_s: float | None) -> T:
        waiter = _Waiter()
        identifier = 0
        try:
            with anyio.move_on_after(self._session.patience_s(deadline_s)):
                await self._slots.acquire()
                identifier = self._start(operation, deadline_s, waiter)
                await waiter.event.wait()
            return operation.conclude(self._answer_of(waiter))
        except SignerdError as error:
            return operation.fail(error)
        finally:
            # Every way out that is not an answer, cancellation included, withdraws what was asked.
            self._withdraw(identifier)
            if waiter.answer is not None:
                waiter.answer.close()
            if not identifier:
                operation.call.close()

    def _start(self, operation: Operation[T], deadline_s: float | None, waiter: _Waiter) -> int:
        try:
            identifier, frame = self._session.start(operation.call, deadline_s)
        except BaseException:
            self._slots.release()
            raise
        self._waiters[identifier] = waiter
        self._channel.queue(frame, operation.call)
        self._flush()
        return identifier

    def _answer_of(self, waiter: _Waiter) -> Answer:
        if waiter.answer is not None:
            return waiter.answer
        if self._session.failure is not None:
            raise fresh(self._session.failure)
        raise Fault("request.deadline", "no_answer", "the daemon did not answer in time")

    def _withdraw(self, identifier: int) -> None:
        waiter = self._waiters.pop(identifier, None)
        if waiter is not None:
            self._channel.queue(self._session.cancel(identifier))
            self._flush()

    def _flush(self) -> None:
        if not self._channel.flush():
            self._to_write.set()

    async def _write(self) -> None:
        """Write what the socket did not take at once."""
        while True:
            await self._to_write.wait()
            self._to_write = anyio.Event()
            while not self._channel.flush():
                await anyio.wait_writable(self._channel.socket)

    async def _read(self) -> None:
        """Give each answer to the task that waits for it, until the connection ends."""
        while self._session.failure is None:
            try:
                received = self._channel.read()
            except SignerdError as error:
                self._session.fail(error)
                break
            if received is None:
                await anyio.wait_readable(self._channel.socket)
                continue
            for answer in self._session.receive(*received):
                self._slots.release()
                self._deliver(answer)
        self._hang_up()

    def _hang_up(self) -> None:
        """Wake everybody who waits: the session has failed."""
        self._session.fail(connection_lost())
        for waiter in self._waiters.values():
            waiter.event.set()
        self._waiters.clear()
        # Those that wait for a slot wake one after the other, and find out in _start.
        self._slots.release()

    def _deliver(self, answer: Answer) -> None:
        waiter = self._waiters.pop(answer.id, None)
        if waiter is None:
            answer.close()
        else:
            waiter.answer = answer
            waiter.event.set()


async def _open(path: str, session: Session, server_uid: int | None, timeout_s: float) -> Channel:
    opening = Opening(path, server_uid)
    try:
        with anyio.fail_after(timeout_s):
            while not opening.attempt():  # noqa: ASYNC110  # nothing tells when there is room again
                await anyio.sleep(_RETRY_S)
            channel = opening.channel()
            channel.queue(session.greet())
            while session.hello is None:
                await _exchange(channel, session)
    except TimeoutError:
        opening.close()
        raise Fault("request.deadline", "no_hello", "the daemon did not answer in time") from None
    except BaseException:
        opening.close()
        raise
    return channel


async def _exchange(channel: Channel, session: Session) -> None:
    if session.failure is not None:
        raise fresh(session.failure)
    written, received = channel.flush(), channel.read()
    if received is not None:
        for answer in session.receive(*received):
            answer.close()
    elif written:
        await anyio.wait_readable(channel.socket)
    else:
        await anyio.wait_writable(channel.socket)
