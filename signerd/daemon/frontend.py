"""The front end's sessions and what they ask for: admission of connections, hello, dispatch by method."""

import os
import resource
import socket
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, cast

import trio
from msgspec import UNSET, Raw

from signerd import __version__
from signerd.attestation.output import OUTPUT_PROFILES
from signerd.contracts.services import Clock
from signerd.contracts.values import Caller, Peer, Principal
from signerd.daemon.aggregate import NOBODY, Aggregate
from signerd.daemon.answers import encode
from signerd.daemon.audit_ids import AuditIds
from signerd.daemon.audit_pages import cursor_of, page_of
from signerd.daemon.doors import Doors, Opener, admin_principal
from signerd.daemon.faults import tell
from signerd.daemon.macs import MACS
from signerd.daemon.peer import open_pidfd, read_peer
from signerd.daemon.poller import Poller
from signerd.daemon.reads import Reads
from signerd.daemon.sealer_link import SealerLink
from signerd.daemon.session import Session
from signerd.daemon.signing import Signing, answers_unread
from signerd.daemon.story import run_in_task
from signerd.daemon.verifying import VERIFYING
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.closing import close_foreign, close_socket, held
from signerd.host.config_limits import Limits
from signerd.pipeline.authenticate import bind
from signerd.pipeline.services import Services
from signerd.wire.links import Answer, PeerFacts, RequestFacts, outcome_of
from signerd.wire.messages import VERSION, Hello, Request, Response
from signerd.wire.methods import (
    ADMIN_RELAYED,
    METHODS,
    SERVED,
    AuditQuery,
    EntryOf,
    SocketName,
    decode_params,
)
from signerd.wire.worker_calls import PAYLOAD_INLINE

__all__ = ["Frontend"]

SOFTWARE: Final = f"signerd/{__version__}"
SIGNING: Final = frozenset({"sign.dsse", "sign.payload", "sign.batch"}) | MACS
"""What uses a key: each request has a record of its own, however it ends."""
DESCRIPTORS_SHARE: Final = 8
"""One uid may hold this part of the descriptors that the process may have open; hashing doubles each for a while."""


class Frontend:
    """Owner of all sessions."""

    def __init__(
        self,
        services: Services,
        signing: Signing,
        reads: Reads,
        sealer: SealerLink,
        limits: Limits,
        poller: Poller,
        clock: Clock,
        aggregate: Aggregate,
        doors: Doors,
    ) -> None:
        self._services = services
        self._signing = signing
        self._reads = reads
        self._sealer = sealer
        self._limits = limits
        self._poller = poller
        self._clock = clock
        self._aggregate = aggregate
        self._audit_id = AuditIds()
        self._sessions: set[Session] = set()
        self._openers: dict[Session, int] = {}
        self._by_uid: Counter[int] = Counter()
        self._doors = doors
        self._later: dict[str, Callable[[Session, Request, tuple[int, ...]], None]] = {
            **dict.fromkeys(SIGNING, signing.start),
            **dict.fromkeys(VERIFYING, self._verify),
        }
        self._draining = False
        self._most_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // DESCRIPTORS_SHARE

    def __len__(self) -> int:
        return len(self._sessions)

    async def accept(self, via: SocketName, connection: socket.socket) -> None:
        """Take a new connection: the caps first, then the kernel's word on the peer, then the authenticators.

        On the admin socket the kernel's word is all that is asked for. On the sign socket, a peer that no authenticator
        knows keeps an unbound connection, on which it may ask for health. One that is refused, or above a cap, is told
        why before its connection closes. One that waits for an authenticator counts against the caps meanwhile.
        """
        try:
            peer = read_peer(connection)
        except (Refusal, OSError):
            close_socket(NOBODY, connection)
            return
        principal, refusal = None, self._not_let_in(peer.uid, via)
        self._by_uid[peer.uid] += 1
        try:
            if refusal is None:
                principal = await self._bind(peer) if via == "sign" else admin_principal(peer)
        except SignerdError as error:
            tell(error)
            refusal = error
        except BaseException:  # the daemon ends while an authenticator is asked
            self._by_uid[peer.uid] -= 1
            close_socket(peer.uid, connection)
            raise
        try:
            pidfd = open_pidfd(connection, peer.pid)
        except OSError:
            self._by_uid[peer.uid] -= 1
            close_socket(peer.uid, connection)
            return
        session = Session(connection, peer, principal, self, self._poller, self._clock.monotonic(), via)
        self._sessions.add(session)
        self._openers[session] = pidfd
        self._poller.add(pidfd, Opener(session))
        if refusal is not None:
            session.fail(refusal)

    async def renew(self, services: Services) -> None:
        """Decide by these from now on; a session that they would not bind as before ends."""
        self._services = services
        self._signing.renew(services)
        self._reads.services = services
        async with trio.open_nursery() as binding:
            for session in list(self._sessions):
                if session.via == "sign":
                    binding.start_soon(self._bind_anew, session)

    def tick(self, now: float) -> None:
        """Close connections that have not said hello in time, or are not bound in time; record what was counted."""
        self._record_counted()
        for session in list(self._sessions):
            age = now - session.opened_at
            if not session.greeted and age > self._limits.hello_timeout_s:
                session.fail(Refusal("request.malformed", "hello_timeout", "no hello came in time"))
            elif session.principal is None and age > self._limits.bind_timeout_s:
                session.fail(Refusal("auth.required", "bind_timeout", "the connection was not bound in time"))

    @property
    def unsent(self) -> bool:
        """Whether an answer waits for its peer to read."""
        return any(session.unsent for session in self._sessions)

    @property
    def in_flight(self) -> int:
        """How many requests of all sessions wait for their answer."""
        return sum(session.in_flight for session in self._sessions)

    def drain(self) -> None:
        """Take no new requests; what is in flight is answered."""
        self._draining = True
        for session in list(self._sessions):
            session.goaway("draining")

    def close(self) -> None:
        """Close every session, and record what has been counted by now."""
        for session in list(self._sessions):
            session.close()
        self._record_counted(early=True)

    # Owner of sessions.

    def hello(self, session: Session, hello: Hello) -> Hello:
        """Return the server's hello."""
        return Hello(
            (VERSION,),
            SOFTWARE,
            version=VERSION,
            limits=self._reads.limits,
            methods=SERVED[session.via],
            profiles=tuple(OUTPUT_PROFILES),
            nonce=os.urandom(32),
        )

    def request(self, session: Session, request: Request, fds: tuple[int, ...]) -> None:
        """Handle one request: signing starts a story, everything else is answered from memory or from the log."""
        try:
            self._check(session, request, fds)
            later = self._later.get(request.method)
            if later is not None:
                taken, fds = fds, ()
                later(session, request, taken)
                return
            if fds:
                raise Refusal("request.malformed", "descriptor_surplus", "this method takes no descriptors")
            if request.method in ADMIN_RELAYED:
                self._doors.relay.call(session, request)
                return
            params = decode_params(request.method, request.params)
            if isinstance(params, AuditQuery):
                self._audit_query(session, request.id, params)
                return
            if isinstance(params, EntryOf):
                self._entries(session, request, params)
                return
            result = self._reads.handlers[request.method](session, params)
        except SignerdError as error:
            self._note(session, request, error)
            session.refuse(request.id, error)
        else:
            session.answer(Response(request.id, Raw(encode(result))))
        finally:
            session.descriptors -= len(fds)
            close_foreign(session.peer.uid, fds)

    def cancel(self, session: Session, request_id: int) -> None:
        """Withdraw a request."""
        self._signing.cancel(session, request_id, "cancelled")
        self._reads.verifying.cancel(session, request_id)

    def unbound_read(self, session: Session) -> None:
        """Refuse a uid whose unbound connections make the daemon hold too much."""
        uid = session.peer.uid
        held = sum(s.held for s in self._sessions if s.principal is None and s.peer.uid == uid)
        if held > self._limits.unbound_bytes_per_uid:
            session.fail(
                Fault(
                    "daemon.overloaded",
                    "unbound_bytes",
                    "too much is held for connections that are not bound",
                )
            )

    def descriptors_read(self, session: Session) -> None:
        """Refuse a uid whose requests, whole or not, make the daemon hold too many descriptors (T19)."""
        uid = session.peer.uid
        open_here = sum(s.descriptors for s in self._sessions if s.peer.uid == uid)
        if open_here + held(uid) > self._most_descriptors:
            session.fail(Fault("daemon.overloaded", "descriptors", "too many descriptors are held for this user"))

    def unread(self, session: Session) -> int:
        """Return the bytes of memfds that this uid was sent and has not read."""
        uid = session.peer.uid
        return sum(s.handed for s in self._sessions if s.peer.uid == uid)

    def failed(self, session: Session, code: str, reason: str) -> None:
        """Count what was refused to a connection, not to a request of a known method (T13)."""
        self._count(session, code, reason, "")

    def closed(self, session: Session) -> None:
        """Forget a session; what it waited for is cut short and recorded."""
        self._sessions.discard(session)
        pidfd = self._openers.pop(session)
        self._poller.remove(pidfd)
        os.close(pidfd)
        self._by_uid[session.peer.uid] -= 1
        self._signing.hang_up(session)
        self._reads.verifying.hang_up(session)

    def _note(self, session: Session, request: Request, error: SignerdError) -> None:
        """Take note of a refusal that has no record of its own."""
        tell(error)
        self._count(session, error.code, error.reason, request.method if request.method in METHODS else "")

    def _count(self, session: Session, code: str, reason: str, method: str) -> None:
        """Count a refusal that has no record of its own: nobody is bound, or it was to read only (T13)."""
        principal = session.principal
        peer = PeerFacts(session.peer.uid, session.peer.pid)
        tenant, name = (principal.tenant, principal.name) if principal else ("", "")
        self._aggregate.count(RequestFacts(method, peer, tenant, name), outcome_of(code), code, reason)

    async def _bind(self, peer: Peer) -> Principal | None:
        while True:
            services = self._services
            principal = await run_in_task(bind(Caller(peer, services.audience), services.authenticators))
            if services is self._services:  # else those asked are no longer the configured ones
                return principal

    async def _bind_anew(self, session: Session) -> None:
        try:
            principal = await self._bind(session.peer)
        except SignerdError as error:
            tell(error)
            session.fail(error)
            return
        before = session.principal
        if before is None or (principal and (principal.name, principal.tenant) == (before.name, before.tenant)):
            session.principal = principal
        else:
            changed = "the configuration has changed; connect again"
            session.fail(Refusal("auth.peer_denied", "configuration", changed))

    def _record_counted(self, *, early: bool = False) -> None:
        # A sealer that has not opened would answer none: what is counted waits for the next.
        if self._sealer.open:
            for refusal in self._aggregate.flush(self._clock.monotonic(), self._audit_id, early=early):
                self._sealer.refuse(refusal)

    def _not_let_in(self, uid: int, via: SocketName) -> SignerdError | None:
        limits = self._limits
        if not self._doors.let_in(uid, via):
            return Refusal("auth.peer_denied", "uid_not_let_in", "this user is not let in")
        if held(uid) > self._most_descriptors:
            return Fault("daemon.overloaded", "descriptors", "too many descriptors are held for this user")
        if self._by_uid.total() < limits.connections and self._by_uid[uid] < limits.connections_per_uid:
            return None
        return Fault("daemon.overloaded", "connections", "too many connections")

    def _check(self, session: Session, request: Request, fds: tuple[int, ...]) -> None:
        """Refuse what cannot be served here at all, before anything is decoded."""
        if self._draining:
            raise Fault("daemon.draining", "draining", "the daemon is shutting down")
        spec = METHODS.get(request.method)
        if spec is not None and session.via not in spec.sockets:
            raise Refusal(
                "request.unsupported",
                "other_socket",
                "this method is not served on this socket",
                details={"name": request.method},
            )
        if spec is not None and spec.principal_needed and session.principal is None:
            raise Refusal("auth.required", "not_bound", "this connection is not bound to a principal")
        if request.token is not UNSET or request.proof is not UNSET:
            raise Refusal(
                "request.unsupported",
                "not_served",
                "this daemon takes no token with a request",
                details={"name": "token"},
            )
        if session.in_flight > self._limits.in_flight:
            raise Fault("daemon.overloaded", "in_flight", "too many requests in flight on this connection")
        if request.method in SIGNING:
            if (fds or len(memoryview(request.params)) > PAYLOAD_INLINE) and session.overfull:
                raise answers_unread()
            return
        if spec is None or spec.scope is None:
            return
        if session.principal is None or spec.scope not in session.principal.scopes:
            # Shape comes before scope: a request that is none is told so first.
            decode_params(request.method, request.params)
            raise Refusal("auth.scope_missing", "scope_missing", f"the scope {spec.scope} is missing")

    def _verify(self, session: Session, request: Request, fds: tuple[int, ...]) -> None:
        self._reads.verifying.start(session, request, fds, partial(self._note, session, request))

    def _entries(self, session: Session, request: Request, params: EntryOf) -> None:
        def ended(answer: tuple[bytes, tuple[int, ...]] | SignerdError) -> None:
            if isinstance(answer, SignerdError):
                self._note(session, request, answer)
                session.refuse(request.id, answer)
            else:
                session.answer(Response(request.id, Raw(answer[0])), answer[1])

        if session.overfull:
            raise answers_unread()
        tenant = cast("Principal", session.principal).tenant
        self._sealer.entries(tenant, params.audit_id, session.inline_max, ended)

    def _audit_query(self, session: Session, request_id: int, params: AuditQuery) -> None:
        # Whoever may use the admin socket sees the records of all tenants.
        tenant = cast("Principal", session.principal).tenant if session.via == "sign" else None
        filters = {
            n: str(v) for n in params.filters.__struct_fields__ if (v := getattr(params.filters, n)) is not UNSET
        }
        cursor = cursor_of(params)

        def answered(answer: Answer | SignerdError) -> None:
            if isinstance(answer, SignerdError):
                self._count(session, answer.code, answer.reason, "audit.query")
                session.refuse(request_id, answer)
            else:
                session.answer(Response(request_id, Raw(encode(page_of(answer)))))

        self._sealer.query(tenant, filters, cursor, params.limit, answered)
