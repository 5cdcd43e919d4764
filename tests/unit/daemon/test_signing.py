import dataclasses
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
import trio
import trio.testing

from fakes.sealer_end import SealerEnd
from fakes.services import PEER, PRINCIPAL, FakeClock, order, world
from signerd.contracts.values import Entitlement, PlanLimits
from signerd.daemon import signing as module
from signerd.daemon.documents import Documents
from signerd.daemon.poller import Poller
from signerd.daemon.session import Session
from signerd.daemon.signing import Signing
from signerd.daemon.waiters import Waiters
from signerd.errors import SignerdError
from signerd.host.config_limits import Limits
from signerd.host.memfd import sealed_memfd
from signerd.wire.links import Close
from signerd.wire.messages import Request, Response
from signerd.wire.methods import Options, SignBatch

WIDE = Entitlement("wide", PlanLimits(concurrency=64, size=1 << 20), "fake")
BATCH = 4


class Caller:
    """A session as :class:`Signing` sees one: answers and refusals are kept."""

    def __init__(self) -> None:
        self.principal = PRINCIPAL
        self.peer = PEER
        self.alive = True
        self.inline_max = 1 << 20
        self.descriptors = 0
        self.answers: dict[int, Any] = {}
        self.delivers = True
        self.overfull = False

    def answer(self, response: Response, fds: tuple[int, ...], delivered: Any) -> None:
        assert response.id not in self.answers
        self.answers[response.id] = msgspec.msgpack.decode(response.result)
        for fd in fds:
            os.close(fd)
        delivered(self.delivers)

    def refuse(self, request_id: int, error: SignerdError) -> None:
        assert request_id not in self.answers
        self.answers[request_id] = error


class Office:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.clock = FakeClock()
        self.given = world(plan=WIDE)
        self.sealer = SealerEnd(self.given, self.clock)
        documents = Documents(_never, Poller(lambda: None), self.clock)
        waiters = Waiters(self.sealer.link, documents, nursery, lambda: None)
        limits = Limits(batch_items=BATCH, request_deadline_s=10, longest_deadline_s=20)
        services = dataclasses.replace(self.given.services, ledger=self.sealer.link)
        self.signing = Signing(services, waiters, self.sealer.link, limits, self.clock)
        self.waiters = waiters
        self.caller = Caller()

    def ask(self, params: Any, number: int = 1, fds: tuple[int, ...] = (), **fields: Any) -> None:
        method = "sign.batch" if isinstance(params, SignBatch) else "sign.dsse"
        raw = params if isinstance(params, msgspec.Raw) else msgspec.Raw(msgspec.msgpack.encode(params))
        self.caller.descriptors += len(fds)
        request = Request(number, method, raw, **fields)
        self.signing.start(cast("Session", self.caller), request, fds)

    def answer(self, number: int = 1) -> Any:
        self.sealer.serve()
        return self.caller.answers[number]

    def outcomes(self) -> list[str]:
        self.sealer.hear()
        return [close.outcome for close in self.sealer.closes]


def _never() -> Any:
    raise AssertionError("no document here")


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    async with trio.open_nursery() as nursery:
        made = Office(nursery)
        try:
            with trio.fail_after(10):
                yield made
        finally:
            made.sealer.close()
        assert len(made.signing) == 0
        assert made.waiters.stories == {}
        assert made.caller.descriptors == 0
        nursery.cancel_scope.cancel()


def codes(answer: Any) -> list[str | None]:
    assert [outcome["index"] for outcome in answer["outcomes"]] == list(range(len(answer["outcomes"])))
    return [outcome.get("error", {}).get("code") for outcome in answer["outcomes"]]


async def test_one_request_one_signature_one_record() -> None:
    async with office() as here:
        here.ask(order())
        assert len(here.signing) == 1
        result = here.answer()
        assert result["bundles"]
        here.sealer.hear()
        assert here.sealer.closes == [Close(result["receipt"]["audit_id"], "signed")]


async def test_what_the_kernel_did_not_take_is_recorded_as_undelivered() -> None:
    async with office() as here:
        here.caller.delivers = False
        here.ask(order())
        here.answer()
        assert here.outcomes() == ["signed_undelivered"]


async def test_a_refusal_is_told_and_recorded() -> None:
    async with office() as here:
        here.ask(order(predicate=b"{"))
        assert here.caller.answers == {}, "not before it is recorded"
        assert here.answer().code == "predicate.invalid"
        assert [refusal.code for refusal in here.sealer.refusals] == ["predicate.invalid"]


async def test_descriptors_are_closed_when_the_answer_is_made() -> None:
    async with office() as here:
        fd = sealed_memfd("x", b"{}")
        here.ask(order(), fds=(fd,))
        assert here.answer().reason == "descriptor_surplus"
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)


async def test_cancel_answers_at_once_and_once() -> None:
    async with office() as here:
        here.ask(order(), 1)
        here.ask(order(), 2)
        here.signing.cancel(cast("Session", here.caller), 1, "cancelled")
        assert here.caller.answers[1].code == "request.cancelled"
        here.signing.cancel(cast("Session", here.caller), 1, "cancelled")
        here.signing.cancel(cast("Session", here.caller), 99, "cancelled")
        here.sealer.serve()
        assert here.caller.answers[2]["bundles"]
        assert sorted(here.outcomes()) == ["cancelled", "signed"]


async def test_a_hang_up_is_of_one_session_alone() -> None:
    async with office() as here:
        here.ask(order(), 1)
        gone, here.caller = here.caller, Caller()
        here.ask(order(), 1)
        gone.alive = False
        here.signing.hang_up(cast("Session", gone))
        assert gone.answers == {}
        assert here.answer(1)["bundles"]
        assert sorted(here.outcomes()) == ["cancelled", "signed"]


@pytest.mark.parametrize(
    ("asked", "seconds"), [(msgspec.UNSET, 10.0), (1500, 1.5), (10**9, 20.0)], ids=["none", "own", "above_the_longest"]
)
async def test_deadlines(asked: Any, seconds: float) -> None:
    async with office() as here:
        here.ask(order(), deadline_ms=asked)
        (story,) = here.waiters.stories.values()
        assert story.request.deadline == here.clock.monotonic() + seconds
        here.signing.expire([story.request])
        assert here.caller.answers[1].code == "request.deadline"
        here.signing.expire([story.request])  # it has ended
        here.sealer.serve()
        assert here.outcomes() == ["fault"]


async def test_a_batch_answers_when_its_last_item_has_ended() -> None:
    async with office() as here:
        here.ask(SignBatch.of([order(), order(predicate=b"{"), order()]))
        assert here.caller.answers == {}
        answer = here.answer()
        assert codes(answer) == [None, "predicate.invalid", None]
        assert here.outcomes() == ["signed", "signed"]
        ids = [outcome["ok"]["receipt"]["audit_id"] for outcome in answer["outcomes"] if "ok" in outcome]
        assert len(set(ids)) == 2


async def test_the_items_of_a_batch_inherit_its_options() -> None:
    async with office() as here:
        own = order(options=Options(include=()))
        here.ask(SignBatch.of([order(), own], Options(include=("envelope",))))
        answer = here.answer()
        assert [("envelope" in outcome["ok"]) for outcome in answer["outcomes"]] == [True, False]


@pytest.mark.parametrize(("count", "code"), [(0, "request.malformed"), (BATCH + 1, "request.too_large")])
async def test_a_batch_of_none_and_one_too_many(count: int, code: str) -> None:
    async with office() as here:
        here.ask(SignBatch.of([order()] * count))
        error = here.answer()
        assert (error.code, error.reason) == (code, "batch_items")
        assert len(here.sealer.refusals) == 1, "one record for the request as a whole"


async def test_each_descriptor_of_a_batch_is_named_once_in_all_items() -> None:
    async with office() as here:
        fd = sealed_memfd("x", b"{}")
        named = order(predicate={"fd": 0, "size": 2})
        here.ask(SignBatch((raw(named), raw(named))), fds=(fd,))
        assert here.answer().reason == "descriptor_index"


def raw(item: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(item))


async def test_a_cancelled_batch_keeps_what_was_done() -> None:
    async with office() as here:
        here.ask(SignBatch.of([order(), order(predicate=b"{")]))
        here.signing.cancel(cast("Session", here.caller), 1, "cancelled")
        answer = here.answer()
        assert codes(answer) == ["request.cancelled", "predicate.invalid"]


async def test_a_batch_of_much_content_leaves_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of it takes a second: it is begun in slices, and one that is cut short between two ends whole."""
    monkeypatch.setattr(module, "SLICE_BYTES", 1)
    many = SignBatch.of([order()] * BATCH)
    async with office() as here:
        here.ask(many, 1)
        assert len(here.waiters.stories) == 1, "the rest waits for its turn"
        here.ask(order(), 2)
        assert here.answer(2)["bundles"]
        await trio.testing.wait_all_tasks_blocked()
        assert codes(here.answer(1)) == [None] * BATCH
        here.ask(many, 3)
        here.signing.cancel(cast("Session", here.caller), 3, "cancelled")
        await trio.testing.wait_all_tasks_blocked()
        assert codes(here.answer(3)) == ["request.cancelled"] * BATCH


async def test_a_large_answer_is_not_kept_for_one_that_reads_none() -> None:
    """Memfds that nobody reads are the daemon's memory: what is signed beyond the limit is undelivered."""
    async with office() as here:
        here.caller.inline_max = 0
        here.caller.overfull = True
        here.ask(order())
        assert here.answer().reason == "answers_unread"
        assert here.outcomes() == ["signed_undelivered"]


async def test_a_sealer_that_is_lost_fails_what_it_had() -> None:
    async with office() as here:
        here.ask(SignBatch.of([order(), order()]))
        here.sealer.link.lost()
        assert codes(here.caller.answers[1]) == ["audit.unavailable"] * 2
