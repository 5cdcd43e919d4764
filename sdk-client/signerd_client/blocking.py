"""The blocking client, for threads and scripts: standard library, msgspec and the wire."""

import select
import threading
import time
from collections.abc import Callable, Sequence
from os import PathLike
from types import TracebackType
from typing import Final, Self, TypeVar

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
from signerd_client.session import Answer, Session
from signerd_client.verifying import VerifyOutcome, VerifyRequest

__all__ = ["Signer"]

T = TypeVar("T")
R = TypeVar("R", SignRequest, PayloadRequest)

_RETRY_S: Final = 0.01


class Signer:
    """A session with the daemon, as a context manager. Threads may share it: one request at a time.

    Every method raises :class:`signerd.errors.SignerdError` alone, by the daemon's code: Refusal or Fault.
    ``deadline_s`` is how long the daemon may take, in seconds; None is the longest that the daemon allows. A
    request that is given up is cancelled: the session stays usable after a deadline, and after a
    KeyboardInterrupt that found it waiting; one that came while it wrote or read ends the session
    (``request.cancelled``, reason ``interrupted``).
    """

    def __init__(self, channel: Channel, session: Session) -> None:
        self._channel = channel
        self._session = session
        self._lock = threading.Lock()
        self._idle = False

    @classmethod
    def connect(
        cls,
        path: str | PathLike[str] | None = None,
        *,
        server_uid: int | None = None,
        timeout_s: float = 5.0,
        inline_max: int | None = None,
    ) -> Self:
        """Open a session: check path and listener (:mod:`signerd_client.trust`), then exchange hellos.

        ``path`` defaults as :func:`signerd_client.address.socket_path` says; ``server_uid`` is a user beside
        root and ourselves who may be the daemon's; ``timeout_s`` bounds it all. ``auth.peer_denied`` for what
        is not to be trusted, ``daemon.draining`` where nobody listens, ``request.deadline`` where the time
        passed.
        """
        until = time.monotonic() + timeout_s
        opening = Opening(socket_path(path), server_uid)
        try:
            while not opening.attempt():
                if time.monotonic() >= until:
                    raise Fault("request.deadline", "no_connection", "the daemon takes no connection")
                time.sleep(_RETRY_S)
        except BaseException:
            opening.close()
            raise
        signer = cls(opening.channel(), Session(inline_max))
        try:
            signer._channel.queue(signer._session.greet())
            while signer._session.hello is None:
                for answer in signer._step(until, "no_hello"):
                    answer.close()
        except BaseException:
            signer.close()
            raise
        return signer

    @property
    def hello(self) -> Hello:
        """The daemon's hello: version, limits, methods, profiles."""
        return self._session.greeting

    def sign_dsse(
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
        return self._signed(asked, request, deadline_s, wait_for_presence, on_presence)

    def sign_payload(
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
        return self._signed(asked, request, deadline_s, wait_for_presence, on_presence)

    def sign_batch(
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
            part = self._run(operation, deadline_s)
            outcomes += part
        return outcomes

    def verify_bundle(
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
        return self._run(operations.verify(request, self._session.limits), deadline_s)

    def verify_batch(
        self, requests: Sequence[VerifyRequest], *, deadline_s: float | None = None
    ) -> list[VerifyOutcome]:
        """Have many bundles verified; an outcome for each, in their order, and no error of one is raised.

        What the daemon does not take in one request goes in several, one after the other, each under ``deadline_s``; an
        error of a whole request is the outcome of each of its items.
        """
        outcomes: list[VerifyOutcome] = []
        for operation in operations.verify_many(requests, self._session.limits):
            part = self._run(operation, deadline_s)
            outcomes += part
        return outcomes

    def transparency_entry(self, audit_id: str, *, deadline_s: float | None = None) -> LaterEntries:
        """Tell what came of a record whose entries come after its answer (``transparency: async``): ``state`` is
        ``logged``, ``pending`` or ``failed``, and once they are there each bundle is there with its entries."""
        return self._run(operations.entry(audit_id), deadline_s)

    def hmac_compute(
        self, purpose: MacPurpose, key: str, data: MacData, *, deadline_s: float | None = None
    ) -> MacComputed:
        """Have the MAC of ``data`` made by ``key``, a reference, for one of the purposes that it is for.

        ``data`` is the bytes, or the descriptor of a regular file, which stays open and is read in one pass where the
        key is, whatever its size.
        """
        return self._run(operations.hmac_compute(purpose, key, data, self._session.limits), deadline_s)

    def hmac_verify(
        self, purpose: MacPurpose, key: str, data: MacData, mac: bytes, *, deadline_s: float | None = None
    ) -> MacVerified:
        """Have ``mac`` compared with that of ``data`` by ``key``, a reference or the keyid of a version. One that is
        not the key's is an answer: look at ``valid``."""
        operation = operations.hmac_verify(purpose, key, data, mac, self._session.limits)
        return self._run(operation, deadline_s)

    def keys(self, *, deadline_s: float | None = None) -> KeyList:
        """List the public halves of the own tenant's keys."""
        return self._run(operations.keys(), deadline_s)

    def describe(self, key: str, *, deadline_s: float | None = None) -> KeyDescription:
        """Describe one key by reference or keyid."""
        return self._run(operations.describe(key), deadline_s)

    def info(self, *, deadline_s: float | None = None) -> DaemonInfo:
        """Tell what runs."""
        return self._run(operations.info(), deadline_s)

    def health(self, *, deadline_s: float | None = None) -> DaemonHealth:
        """Tell whether it can sign."""
        return self._run(operations.health(), deadline_s)

    def bind(self, *, deadline_s: float | None = None) -> SessionBound:
        """Tell who the daemon takes us for."""
        return self._run(operations.bind(), deadline_s)

    def close(self) -> None:
        """Hang up: what is in flight is cancelled. In a forked child it closes the child's copies alone."""
        self._channel.close()
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _signed(
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
                return self._run(asked(request, self._session.limits), deadline_s)
            except SignerdError as error:
                if not wait:
                    raise
                pause, request = touch.again(request, error)
            time.sleep(pause)

    def _run(self, operation: Operation[T], deadline_s: float | None) -> T:
        with self._lock:
            try:
                identifier, frame = self._session.start(operation.call, deadline_s)
            except SignerdError as error:
                operation.call.close()
                return operation.fail(error)
            self._channel.queue(frame, operation.call)
            try:
                answer = self._await(identifier, time.monotonic() + self._session.patience_s(deadline_s))
            except SignerdError as error:
                self._withdraw(identifier)
                return operation.fail(error)
            except BaseException:
                self._interrupted(identifier)
                raise
        return operation.conclude(answer)

    def _await(self, identifier: int, until: float) -> Answer:
        found: Answer | None = None
        while found is None:
            for answer in self._step(until, "no_answer"):
                if answer.id == identifier:
                    found = answer
                else:
                    # That of a request which was given up earlier.
                    answer.close()
        return found

    def _step(self, until: float, reason: str) -> list[Answer]:
        """Write what waits and read once, however long before ``until`` that takes."""
        if self._session.failure is not None:
            raise fresh(self._session.failure)
        while True:
            written = self._channel.flush()
            received = self._channel.read()
            if received is not None:
                return self._session.receive(*received)
            left = until - time.monotonic()
            if left <= 0:
                raise Fault("request.deadline", reason, "the daemon did not answer in time")
            poll = select.poll()
            poll.register(self._channel.socket, select.POLLIN if written else select.POLLIN | select.POLLOUT)
            self._idle = True
            poll.poll(left * 1000)
            self._idle = False

    def _withdraw(self, identifier: int) -> None:
        self._channel.queue(self._session.cancel(identifier))
        self._channel.flush()

    def _interrupted(self, identifier: int) -> None:
        """Withdraw, where a signal's exception came while nothing was done but waiting.

        Anywhere else it may have come between a write and the note of it: what was sent is not known then,
        and a frame sent twice would be a broken protocol.
        """
        if self._idle:
            self._idle = False
            self._withdraw(identifier)
        else:
            ended = Fault("request.cancelled", "interrupted", "an interrupt ended the session")
            self._session.fail(ended)
            self.close()
