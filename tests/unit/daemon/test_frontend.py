import dataclasses
import os
import socket
from array import array
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from fakes.sealer_end import SealerEnd
from fakes.services import PRINCIPAL, Authenticators, FakeClock, order, world
from running.configured import until
from signerd.contracts.providers import Authenticator
from signerd.contracts.values import Caller, Principal
from signerd.daemon import frontend as module
from signerd.daemon.aggregate import Aggregate
from signerd.daemon.documents import Documents
from signerd.daemon.doors import Doors
from signerd.daemon.frontend import Frontend
from signerd.daemon.poller import READ, Poller
from signerd.daemon.reads import Reads
from signerd.daemon.relay import AdminRelay
from signerd.daemon.session import UNREAD_BYTES, Session
from signerd.daemon.signing import Signing
from signerd.daemon.snapshot import Snapshot
from signerd.daemon.verifier import Verifier
from signerd.daemon.verifying import Verifying
from signerd.daemon.waiters import Waiters
from signerd.errors import Refusal
from signerd.host.config_limits import Limits
from signerd.host.guard import Guard
from signerd.host.memfd import sealed_memfd
from signerd.pipeline.guarded import Guarded
from signerd.pipeline.services import Services
from signerd.wire.connection import NEED_DATA, Connection, Role
from signerd.wire.links import Answer
from signerd.wire.messages import Error, Goaway, Hello, Message, Request, Response
from signerd.wire.messages import Limits as Told
from signerd.wire.methods import SERVED, SocketName

HELLO = Hello((1,), "test")
READER = msgspec.structs.replace(PRINCIPAL, scopes=frozenset({"signer.keys"}))


class Line:
    """One connection: the peer's end, and the session that the front end made of ours."""

    def __init__(self, frontend: Frontend, via: SocketName = "sign") -> None:
        self._frontend = frontend
        self.via: SocketName = via
        ours, self.peer = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.peer.setblocking(False)
        self.ours = ours
        self.client = Connection(Role.CLIENT)
        self.session: Session | None = None

    async def accepted(self) -> "Line":
        known = set(self._frontend._sessions)
        await self._frontend.accept(self.via, self.ours)
        self.session = next(iter(self._frontend._sessions - known), None)
        return self

    def send(self, message: Message, fds: list[int] | None = None) -> None:
        self.send_bytes(self.client.send(message), fds)

    def send_bytes(self, data: bytes, fds: list[int] | None = None) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        self.peer.sendmsg([data], rights)
        assert self.session is not None
        self.session.ready(READ)

    def ask(self, method: str, params: Any = None, number: int = 1, fds: list[int] | None = None, **more: Any) -> Any:
        packed = msgspec.Raw(msgspec.msgpack.encode({} if params is None else params))
        self.send(Request(number, method, packed, **more), fds)
        return self.said()

    def said(self) -> Any:
        """The next message that is there; None for none."""
        while (event := self.client.next_event()) is NEED_DATA:
            try:
                data = self.peer.recv(1 << 16)
            except (BlockingIOError, ConnectionResetError):
                return None
            if not data:
                return None
            self.client.receive_data(data)
        return event


class House:
    """A front end with its parts."""

    def __init__(
        self, nursery: trio.Nursery, authenticator: Any, limits: Limits, uids: frozenset[int], admins: frozenset[int]
    ) -> None:
        self.clock = FakeClock()
        self.given = world()
        self.sealer = SealerEnd(self.given, self.clock)
        guarded: tuple[Guarded[Authenticator], ...] = (
            Guarded(Authenticators(authenticator), Guard("authenticator", "fake")),
        )
        services = dataclasses.replace(self.given.services, authenticators=guarded, ledger=self.sealer.link)
        self.poller = Poller(lambda: None)
        documents = Documents(_never, self.poller, self.clock)
        waiters = Waiters(self.sealer.link, documents, nursery, lambda: None)
        signing = Signing(services, waiters, self.sealer.link, limits, self.clock)
        told = Told(4 << 20, 1 << 20, 1 << 27, 64, 256, 1024, 32, 64, 120_000)
        verifying = Verifying(Verifier(_never, self.poller, self.clock), Limits(), self.clock, lambda: None)
        reads = Reads(services, Snapshot(), self.sealer.link, told, self.clock, (), False, 0.0, verifying)
        self.aggregate = Aggregate(1 << 20, self.clock.monotonic())
        self.reloads: list[str] = []
        doors = Doors(uids, admins, AdminRelay(self.sealer.link, self._reload, nursery))
        self.frontend = Frontend(
            services, signing, reads, self.sealer.link, limits, self.poller, self.clock, self.aggregate, doors
        )
        self.lines: list[Line] = []

    async def _reload(self) -> list[str]:
        self.reloads.append("again")
        return ["limits"]

    async def line(self, via: SocketName = "sign") -> Line:
        line = await Line(self.frontend, via).accepted()
        self.lines.append(line)
        return line

    async def greeted(self, via: SocketName = "sign") -> Line:
        line = await self.line(via)
        line.send(HELLO)
        assert isinstance(line.said(), Hello)
        return line

    def close(self) -> None:
        self.frontend.close()
        self.sealer.close()
        for line in self.lines:
            line.peer.close()
        self.poller._epoll.close()


def _never() -> Any:
    raise AssertionError("no document here")


@asynccontextmanager
async def house(
    authenticator: Any = PRINCIPAL,
    uids: frozenset[int] = frozenset(),
    admins: frozenset[int] = frozenset(),
    **limits: Any,
) -> AsyncIterator[House]:
    async with trio.open_nursery() as nursery:
        made = House(nursery, authenticator, Limits(**limits), uids, admins)
        try:
            yield made
        finally:
            made.close()
        assert len(made.frontend) == 0
        nursery.cancel_scope.cancel()


def reason(said: Any) -> str:
    assert isinstance(said, Error)
    assert said.details is not msgspec.UNSET
    return f"{said.code}/{said.details['reason']}"


async def test_a_connection_is_bound_by_the_authenticator() -> None:
    async with house() as here:
        line = await here.greeted()
        assert line.session is not None
        assert line.session.principal == PRINCIPAL
        assert line.session.peer.pid == os.getpid()
        assert len(here.frontend) == 1
        line.peer.close()
        line.session.ready(READ)
        assert len(here.frontend) == 0


async def test_who_is_refused_is_told_why_before_the_end() -> None:
    async with house(Refusal("auth.peer_denied", "uid_not_allowed", "no")) as here:
        line = await here.line()
        assert reason(line.said()) == "auth.peer_denied/uid_not_allowed"
        assert len(here.frontend) == 0
        assert len(here.aggregate) == 1, "it is counted, without a record of its own"


async def test_who_is_not_among_the_uids_is_not_asked_for() -> None:
    async with house(uids=frozenset({os.geteuid() + 1})) as here:
        assert reason((await here.line()).said()) == "auth.peer_denied/uid_not_let_in"
    async with house(uids=frozenset({os.geteuid()})) as here:
        await here.greeted()


@pytest.mark.parametrize("limits", [{"connections": 2}, {"connections_per_uid": 2}])
async def test_one_connection_too_many(limits: dict[str, Any]) -> None:
    async with house(**limits) as here:
        first = await here.greeted()
        await here.greeted()
        assert reason((await here.line()).said()) == "daemon.overloaded/connections"
        assert first.session is not None
        first.session.close()
        await here.greeted()


class Slow:
    """An authenticator that has to ask somebody, who answers when ``answer`` is set."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = trio.Event()

    async def authenticate(self, caller: Caller) -> Principal:
        self.asked += 1
        await self.answer.wait()
        return PRINCIPAL


def asking(here: House, authenticator: Authenticator) -> Services:
    """The services of ``here``, with another authenticator."""
    guarded = (Guarded(authenticator, Guard("authenticator", "fake")),)
    return dataclasses.replace(here.frontend._services, authenticators=guarded)


async def test_who_waits_for_an_authenticator_counts_against_the_caps() -> None:
    async with house(connections_per_uid=2) as here, trio.open_nursery() as nursery:
        slow = Slow()
        here.frontend._services = asking(here, slow)
        for _ in range(2):
            nursery.start_soon(here.line)
        await trio.testing.wait_all_tasks_blocked()
        assert reason((await here.line()).said()) == "daemon.overloaded/connections"
        assert slow.asked == 2
        slow.answer.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.frontend) == 2


async def test_who_waits_for_an_authenticator_at_the_end_holds_nothing_any_more() -> None:
    async with house(connections_per_uid=1) as here:
        slow = Slow()
        here.frontend._services = asking(here, slow)
        line = Line(here.frontend)
        with trio.move_on_after(0):
            await line.accepted()
        assert line.ours.fileno() == -1
        line.peer.close()
        slow.answer.set()
        await here.greeted()


async def test_an_answer_of_an_authenticator_that_is_no_longer_configured_binds_nobody() -> None:
    async with house() as here, trio.open_nursery() as nursery:
        slow = Slow()
        before, here.frontend._services = here.frontend._services, asking(here, slow)
        lines: list[Line] = []

        async def come() -> None:
            lines.append(await here.line())

        nursery.start_soon(come)
        await trio.testing.wait_all_tasks_blocked()
        other = msgspec.structs.replace(PRINCIPAL, tenant="other")
        await here.frontend.renew(
            dataclasses.replace(before, authenticators=(Guarded(Authenticators(other), Guard("authenticator", "new")),))
        )
        slow.answer.set()
        await trio.testing.wait_all_tasks_blocked()
        assert lines[0].session is not None
        assert lines[0].session.principal == other


async def test_after_a_reload_every_session_is_asked_for_at_once() -> None:
    async with house() as here:
        await here.greeted()
        await here.greeted()
        slow = Slow()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.frontend.renew, asking(here, slow))
            await trio.testing.wait_all_tasks_blocked()
            assert slow.asked == 2
            slow.answer.set()
        assert len(here.frontend) == 2


async def test_a_reload_that_changes_only_what_is_allowed_keeps_the_session() -> None:
    async with house() as here:
        line = await here.greeted()
        await here.frontend.renew(asking(here, Authenticators(READER)))
        assert line.session is not None
        assert line.session.principal == READER
        assert isinstance(line.ask("keys.list"), Response)


@pytest.mark.parametrize(
    "principal",
    [
        None,
        msgspec.structs.replace(PRINCIPAL, tenant="other"),
        msgspec.structs.replace(PRINCIPAL, name="somebody else"),
    ],
)
async def test_a_session_of_somebody_else_by_the_new_configuration_ends(principal: Principal | None) -> None:
    async with house() as here:
        line = await here.greeted()
        await here.frontend.renew(asking(here, Authenticators(principal)))
        assert reason(line.said()) == "auth.peer_denied/configuration"
        assert len(here.frontend) == 0


async def test_without_a_principal_there_is_health_and_nothing_else() -> None:
    async with house(None) as here:
        line = await here.greeted()
        assert isinstance(line.ask("daemon.health"), Response)
        for number, method in enumerate(("session.status", "keys.list", "sign.dsse", "daemon.info", "audit.query"), 2):
            assert reason(line.ask(method, number=number)).startswith("auth.required/"), method
        assert reason(line.ask("nothing.known", number=9)) == "request.unsupported/unknown_method"


async def test_silent_and_unbound_connections_end_in_time() -> None:
    async with house(None, hello_timeout_s=5, bind_timeout_s=30) as here:
        silent, unbound = await here.line(), await here.greeted()
        here.frontend.tick(here.clock.monotonic() + 5)
        assert silent.said() is None
        here.frontend.tick(here.clock.monotonic() + 5.1)
        assert reason(silent.said()) == "request.malformed/hello_timeout"
        here.frontend.tick(here.clock.monotonic() + 30)
        assert unbound.said() is None
        here.frontend.tick(here.clock.monotonic() + 30.1)
        assert reason(unbound.said()) == "auth.required/bind_timeout"
        assert len(here.frontend) == 0


async def test_a_bound_connection_may_be_silent_after_its_hello() -> None:
    async with house(hello_timeout_s=5, bind_timeout_s=30) as here:
        line = await here.greeted()
        here.frontend.tick(here.clock.monotonic() + 10_000)
        assert isinstance(line.ask("daemon.health"), Response)


async def test_unbound_bytes_are_counted_over_all_connections_of_a_uid() -> None:
    async with house(None, unbound_bytes_per_uid=10_000) as here:
        lines = [await here.line() for _ in range(4)]
        for line in lines[:3]:
            line.send_bytes((9000).to_bytes(4, "big") + bytes(3000))
            assert line.said() is None
        lines[3].send_bytes((9000).to_bytes(4, "big") + bytes(3000))
        assert reason(lines[3].said()) == "daemon.overloaded/unbound_bytes"
        assert len(here.frontend) == 3


async def test_descriptors_are_counted_over_all_connections_of_a_uid() -> None:
    async with house() as here:
        here.frontend._most_descriptors = 100
        first, second = await here.greeted(), await here.greeted()
        first.send_bytes(b"\x00", [0] * 60)
        second.send_bytes(b"\x00", [0] * 60)
        assert first.said() is None
        assert reason(second.said()) == "daemon.overloaded/descriptors"
        assert first.session is not None
        assert first.session.alive


async def test_descriptors_that_are_not_closed_yet_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A close that waits for its maker keeps the descriptor: whoever makes many such is not let in any more."""
    async with house() as here:
        line = await here.greeted()
        monkeypatch.setattr(module, "held", lambda uid: 1 << 20)
        line.send_bytes(b"\x00", [0])
        assert reason(line.said()) == "daemon.overloaded/descriptors"
        assert reason((await here.line()).said()) == "daemon.overloaded/descriptors"


async def test_large_answers_that_are_not_read_end_large_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house() as here:
        line, other = await here.greeted(), await here.greeted()
        assert line.session is not None
        monkeypatch.setattr(line.session, "_handed", UNREAD_BYTES + 1)
        monkeypatch.setattr(line.session, "_out", deque([(b"", (), None)]))
        fd = sealed_memfd("x", b"{}")
        assert reason(other.ask("sign.dsse", order(), fds=[fd])) == "daemon.overloaded/answers_unread"
        os.close(fd)
        line.session._out.clear()
        assert here.frontend.unread(other.session) == 0  # type: ignore[arg-type]  # it is there


async def test_a_session_ends_with_the_process_that_opened_it() -> None:
    """Else whoever was handed the connection and gets its number later would be taken for it (T12)."""
    async with house() as here:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind("")  # an abstract name of the kernel's choice
        listening.listen()
        child = os.fork()
        if child == 0:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
                opened.connect(listening.getsockname())
                socket.send_fds(theirs, [b"x"], [opened.fileno()])
                theirs.recv(1)
            os._exit(0)
        _, (copy,), _, _ = socket.recv_fds(ours, 1, 1)
        accepted, _ = listening.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        await here.frontend.accept("sign", accepted)
        assert len(here.frontend) == 1
        ours.send(b"x")
        await trio.to_thread.run_sync(os.waitpid, child, 0)
        for fd, events in here.poller._epoll.poll(5):
            here.poller._handlers[fd].ready(events)
        assert len(here.frontend) == 0
        with socket.socket(fileno=copy) as held_by_another:
            assert held_by_another.recv(1) == b""
        for each in (ours, theirs, listening):
            each.close()


async def test_scopes_after_shape() -> None:
    async with house(READER) as here:
        line = await here.greeted()
        assert isinstance(line.ask("keys.list", number=1), Response)
        assert reason(line.ask("audit.query", {"filters": 5}, 2)).startswith("request.malformed/")
        answer = line.ask("audit.query", {"filters": {}, "limit": 5}, 3)
        assert reason(answer) == "auth.scope_missing/scope_missing"
        line.ask("sign.dsse", order(), 4)
        here.sealer.serve()
        assert reason(line.said()) == "auth.scope_missing/scope_missing"


async def test_signing_goes_its_way_and_a_hang_up_cuts_it_short() -> None:
    async with house() as here:
        line = await here.greeted()
        assert line.ask("sign.dsse", order(), 1) is None
        here.sealer.serve()
        assert isinstance(line.said(), Response)
        line.ask("sign.dsse", order(), 2)
        assert here.frontend.in_flight == 1
        assert line.session is not None
        line.session.close()
        here.sealer.serve()
        assert [close.outcome for close in here.sealer.closes] == ["signed", "cancelled"]


async def test_descriptors_that_a_method_does_not_take_are_closed() -> None:
    before = set(os.listdir("/proc/self/fd"))
    async with house() as here:
        line = await here.greeted()
        assert reason(line.ask("daemon.health", fds=[0, 0])) == "request.malformed/descriptor_surplus"
        assert line.session is not None
        assert line.session.descriptors == 0
    until(lambda: set(os.listdir("/proc/self/fd")) <= before)


async def test_past_the_limit_in_flight_the_answer_comes_at_once() -> None:
    async with house(in_flight=2) as here:
        line = await here.greeted()
        assert line.ask("sign.dsse", order(), 1) is None
        assert line.ask("sign.dsse", order(), 2) is None
        assert reason(line.ask("sign.dsse", order(), 3)) == "daemon.overloaded/in_flight"
        here.sealer.serve()
        assert {line.said().id, line.said().id} == {1, 2}
        assert isinstance(line.ask("daemon.health", number=4), Response)


async def test_a_drain_refuses_what_is_new_and_answers_what_is_not() -> None:
    async with house() as here:
        line, silent = await here.greeted(), await here.line()
        line.ask("sign.dsse", order(), 1)
        here.frontend.drain()
        here.frontend.drain()
        assert line.said() == Goaway("draining")
        assert silent.said() is None
        # The goaway may cross a request: it is answered all the same.
        line.client.in_flight.add(9)
        line.send_bytes(_late())
        assert reason(line.said()) == "daemon.draining/draining"
        assert here.frontend.in_flight == 1
        here.sealer.serve()
        assert not here.frontend.unsent
        assert here.frontend.in_flight == 0


def _late() -> bytes:
    body = msgspec.msgpack.encode({"type": "request", "id": 9, "method": "daemon.health", "params": {}})
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1" * 19, "\u0661"])
async def test_a_cursor_that_is_none_of_ours(cursor: str) -> None:
    everything = msgspec.structs.replace(PRINCIPAL, scopes=frozenset({"signer.audit"}))
    async with house(everything) as here:
        line = await here.greeted()
        answer = line.ask("audit.query", {"filters": {}, "limit": 5, "cursor": cursor})
        assert reason(answer).startswith("request.malformed/")


async def test_a_query_is_of_ones_own_tenant_and_brings_a_page() -> None:
    everything = msgspec.structs.replace(PRINCIPAL, scopes=frozenset({"signer.audit"}))
    async with house(everything) as here:
        line = await here.greeted()
        assert line.ask("audit.query", {"filters": {"audit_id": "x"}, "limit": 5, "cursor": "7"}) is None
        here.sealer.hear()
        (query,) = here.sealer.queries
        assert (query.tenant, query.filters, query.cursor, query.limit) == ("acme", {"audit_id": "x"}, 7, 5)
        here.sealer.say(Answer(query.id, (b'{"audit_id":"x","kind":"decided"}',), (3,), 9))
        page = msgspec.msgpack.decode(line.said().result)
        assert page == {
            "records": [{"audit_id": "x", "index": 3, "leaf": b'{"audit_id":"x","kind":"decided"}'}],
            "next": "9",
        }
        line.ask("audit.query", {"filters": {}, "limit": 5}, 2)
        here.sealer.link.lost()
        assert reason(line.said()) == "audit.unavailable/sealer_lost"


async def test_what_was_counted_is_recorded_when_its_minute_is_over_and_at_the_end() -> None:
    async with house(Refusal("auth.peer_denied", "uid_not_allowed", "no")) as here:
        for _ in range(3):
            await here.line()
        here.frontend.tick(here.clock.monotonic())
        here.sealer.hear()
        assert here.sealer.refusals == []
        here.clock.advance(61)
        here.frontend.tick(here.clock.monotonic())
        here.sealer.hear()
        assert [(refusal.code, refusal.count) for refusal in here.sealer.refusals] == [("auth.peer_denied", 3)]
        await here.line()
        here.frontend.close()
        here.sealer.hear()
        assert len(here.sealer.refusals) == 2


OWN = frozenset({os.geteuid()})


async def test_each_socket_lists_and_serves_its_own_methods() -> None:
    async with house(admins=OWN) as here:
        admin = await here.line("admin")
        admin.send(HELLO)
        greeting = admin.said()
        assert isinstance(greeting, Hello)
        assert greeting.methods == SERVED["admin"]
        assert "keys.rotate" in SERVED["admin"]
        assert not {"sign.dsse", "keys.list"} & set(SERVED["admin"])
        assert reason(admin.ask("sign.dsse")) == "request.unsupported/other_socket"
        sign = await here.greeted()
        for number, method in enumerate(sorted(set(SERVED["admin"]) - set(SERVED["sign"])), 1):
            assert reason(sign.ask(method, number=number)) == "request.unsupported/other_socket"
        assert not here.sealer.calls


async def test_the_admin_socket_lets_in_the_listed_uids_alone_and_asks_no_authenticator() -> None:
    async with house(Refusal("auth.peer_denied", "not_asked", "no"), admins=OWN) as here:
        line = await here.greeted("admin")
        assert line.session is not None
        assert line.session.principal is not None
        assert line.session.principal.name == f"uid:{os.geteuid()}"
    async with house(admins=frozenset({os.geteuid() + 1})) as here:
        assert reason((await here.line("admin")).said()) == "auth.peer_denied/uid_not_let_in"
    async with house() as here:
        assert reason((await here.line("admin")).said()) == "auth.peer_denied/uid_not_let_in"


async def test_an_admin_reads_the_records_of_all_tenants() -> None:
    async with house(admins=OWN) as here:
        line = await here.greeted("admin")
        assert line.ask("audit.query", {"filters": {}, "limit": 5}) is None
        here.sealer.hear()
        assert [query.tenant for query in here.sealer.queries] == [None]
