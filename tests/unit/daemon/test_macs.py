import dataclasses
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import trio

from fakes.sealer_end import SealerEnd
from fakes.services import PEER, PRINCIPAL, SECRET, FakeClock, HeldKey, world
from signerd.contracts.values import Entitlement, PlanLimits
from signerd.daemon.documents import Documents
from signerd.daemon.macs import Macs
from signerd.daemon.poller import Poller
from signerd.daemon.session import Session
from signerd.daemon.waiters import Waiters
from signerd.errors import Fault, SignerdError
from signerd.host.config_limits import Limits
from signerd.pipeline.tenants import KeyRule, Tenant
from signerd.wire.mac_links import MacedMany, MacOutcome
from signerd.wire.macs import HmacCompute, HmacVerify
from signerd.wire.messages import Request, Response
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import PAYLOAD_INLINE, CallError

CALLER = msgspec.structs.replace(PRINCIPAL, scopes=frozenset({"signer.hmac"}))
WIDE = Entitlement("wide", PlanLimits(concurrency=64, size=1 << 20), "fake")
TENANT = Tenant("acme", "file:acme", rules={"hmac:k": KeyRule(purposes=frozenset({"signing"}))})


class Caller:
    """A session as Macs sees one."""

    def __init__(self) -> None:
        self.principal = CALLER
        self.peer = PEER
        self.descriptors = 0
        self.answers: dict[int, Any] = {}
        self.delivers = True

    def answer(self, response: Response, fds: tuple[int, ...], delivered: Any) -> None:
        assert response.id not in self.answers
        self.answers[response.id] = msgspec.msgpack.decode(response.result)
        delivered(self.delivers)

    def refuse(self, request_id: int, error: SignerdError) -> None:
        assert request_id not in self.answers
        self.answers[request_id] = error


class Office:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.clock = FakeClock()
        self.given = world(plan=WIDE, tenants=[TENANT], keys=[HeldKey.secret("hmac:k")])
        self.sealer = SealerEnd(self.given, self.clock)
        documents = Documents(_never, Poller(lambda: None), self.clock)
        self.waiters = Waiters(self.sealer.link, documents, nursery, lambda: None)
        limits = Limits(request_deadline_s=10, longest_deadline_s=20)
        services = dataclasses.replace(self.given.services, ledger=self.sealer.link)
        self.macs = Macs(services, self.waiters, self.sealer.link, limits, self.clock)
        self.caller = Caller()

    def ask(self, params: Any, number: int = 1, fds: tuple[int, ...] = (), **fields: Any) -> None:
        method = "hmac.verify" if isinstance(params, HmacVerify) else "hmac.compute"
        self.caller.descriptors += len(fds)
        raw = msgspec.Raw(msgspec.msgpack.encode(params))
        self.macs.start(cast("Session", self.caller), Request(number, method, raw, **fields), fds)

    def answer(self, number: int = 1) -> Any:
        for _ in range(100):  # a large frame takes several turns
            self.sealer.serve()
            if number in self.caller.answers:
                break
        return self.caller.answers[number]

    def outcomes(self) -> list[str]:
        self.sealer.hear()
        return [close.outcome for close in self.sealer.closes]


def _never() -> Any:
    raise AssertionError("no document is looked at")


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    async with trio.open_nursery() as nursery:
        made = Office(nursery)
        try:
            with trio.fail_after(10):
                yield made
        finally:
            made.sealer.close()
        assert made.waiters.stories == {}
        assert made.caller.descriptors == 0
        nursery.cancel_scope.cancel()


def compute(data: bytes | Descriptor = b"data", purpose: Any = "signing") -> HmacCompute:
    return HmacCompute(purpose, "hmac:k", data)


async def test_answers_are_closed_by_whether_they_were_delivered() -> None:
    async with office() as made:
        mac = hmac.digest(SECRET, b"data", "sha256")
        made.ask(compute())
        assert made.answer()["mac"] == mac
        made.caller.delivers = False
        made.ask(compute(), 2)
        made.answer(2)
        made.ask(HmacVerify("signing", "hmac:k", b"data", mac), 3)
        assert made.answer(3)["valid"] is True
        assert made.outcomes() == ["computed", "computed_undelivered", "checked_undelivered"]


@pytest.mark.parametrize("size", [PAYLOAD_INLINE, PAYLOAD_INLINE + 1])
async def test_what_no_frame_of_the_link_holds_goes_by_memfd(size: int) -> None:
    async with office() as made:
        before = set(os.listdir("/proc/self/fd"))
        data = os.urandom(size)
        made.ask(compute(data))
        assert made.answer()["mac"] == hmac.digest(SECRET, data, "sha256")
        assert set(os.listdir("/proc/self/fd")) <= before


async def test_a_callers_file_is_handed_on_and_closed(tmp_path: Path) -> None:
    async with office() as made:
        (tmp_path / "f").write_bytes(b"data")
        before = set(os.listdir("/proc/self/fd"))
        made.ask(compute(Descriptor(0, 4)), fds=(os.open(tmp_path / "f", os.O_RDONLY),))
        assert made.answer()["mac"] == hmac.digest(SECRET, b"data", "sha256")
        assert made.caller.descriptors == 0
        while not set(os.listdir("/proc/self/fd")) <= before:  # noqa: ASYNC110  # closed by a thread
            await trio.sleep(0.001)


async def test_a_refusal_is_answered_once_it_is_on_the_record() -> None:
    async with office() as made:
        made.ask(compute(purpose="authentication"))
        assert made.caller.answers == {}
        error = made.answer()
        assert (error.code, error.reason) == ("key.forbidden", "other_purpose")


async def test_cancel_deadline_and_hang_up_end_it_at_once() -> None:
    async with office() as made:
        session = cast("Session", made.caller)
        for number in (1, 2, 3):
            made.ask(compute(), number)
        made.sealer.hear()
        made.macs.cancel(session, 1, "cancelled")
        made.macs.cancel(session, 9, "cancelled")
        assert made.caller.answers[1].code == "request.cancelled"
        story = next(iter(made.waiters.stories.values()))
        story.cut_short(Fault("request.deadline", "deadline", "the request's time is over"))
        assert made.caller.answers[2].code == "request.deadline"
        made.macs.hang_up(session)
        assert made.caller.answers[3].reason == "hung_up"
        assert made.outcomes() == ["cancelled", "fault", "cancelled"]
        made.sealer.serve()  # what comes late is dropped
        assert len(made.caller.answers) == 3


async def test_what_the_sealer_says_is_told_and_closed() -> None:
    async with office() as made:
        made.ask(compute())
        made.sealer.hear()
        (item,) = made.sealer.macs
        error = CallError("request.malformed", "size_mismatch", "a descriptor")
        made.sealer.say(MacedMany((MacOutcome(item.audit_id, error=error),)))
        assert made.caller.answers[1].reason == "size_mismatch"
        assert made.outcomes() == ["fault"]


async def test_a_sealer_is_hung_only_once_the_requests_own_time_is_over() -> None:
    async with office() as made:
        made.ask(compute(), deadline_ms=15_000)
        made.sealer.hear()
        for seconds, silent in ((15.0, False), (4.0, False), (2.0, True)):
            made.clock.advance(seconds)
            assert made.sealer.link.silent(made.clock.monotonic()) is silent


async def test_without_a_sealer_nothing_is_made() -> None:
    async with office() as made:
        made.ask(compute())
        made.sealer.link.lost()
        assert made.caller.answers[1].reason == "sealer_lost"
        made.ask(compute(), 2)
        assert made.caller.answers[2].reason == "sealer_down"
