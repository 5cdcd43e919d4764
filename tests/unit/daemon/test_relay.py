"""Calls of the admin plane on their way through the front end: unread, answered as the sealer answers."""

import os
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from fakes.sealer_end import SealerEnd
from fakes.services import FakeClock, world
from signerd.daemon.relay import MOST_PARAMS, AdminRelay
from signerd.errors import Refusal, SignerdError
from signerd.host.memfd import sealed_memfd
from signerd.wire.links import AdminAnswer
from signerd.wire.messages import Request, Response
from signerd.wire.worker_calls import CallError


class Caller:
    """What the relay knows of a session; what it answers is kept."""

    def __init__(self) -> None:
        self.peer = type("Peer", (), {"uid": 1000})()
        self.inline_max = 77
        self.answers: list[tuple[Response, tuple[int, ...]]] = []
        self.refusals: list[SignerdError] = []

    def answer(self, response: Response, fds: tuple[int, ...] = ()) -> None:
        self.answers.append((response, fds))

    def refuse(self, request_id: int, error: SignerdError) -> None:
        self.refusals.append(error)


class Way:
    """A relay, its session and the sealer's end."""

    def __init__(self, nursery: trio.Nursery, reload: Any = None) -> None:
        clock = FakeClock()
        self.sealer = SealerEnd(world(), clock)
        self.caller = Caller()
        self.relay = AdminRelay(self.sealer.link, reload, nursery)

    def call(self, method: str, params: bytes = b"\x80") -> None:
        self.relay.call(self.caller, Request(3, method, msgspec.Raw(params)))  # type: ignore[arg-type]  # see Caller
        self.sealer.hear()


async def test_a_call_goes_over_unread_and_its_answer_comes_back_with_its_descriptors() -> None:
    async with trio.open_nursery() as nursery:
        way = Way(nursery)
        way.call("keys.publish", b"\xc1 no msgpack")
        (call,) = way.sealer.calls
        assert (call.method, call.params, call.uid, call.inline_max) == ("keys.publish", b"\xc1 no msgpack", 1000, 77)
        way.sealer.say(AdminAnswer(call.id, b"\x81\xa1a\x01"), (sealed_memfd("x", b"content"),))
        ((response, fds),) = way.caller.answers
        assert (response.id, bytes(response.result)) == (3, b"\x81\xa1a\x01")
        assert os.pread(fds[0], 99, 0) == b"content"
        os.close(fds[0])
        way.sealer.close()


async def test_a_refusal_keeps_its_details() -> None:
    async with trio.open_nursery() as nursery:
        way = Way(nursery)
        way.call("keys.rotate")
        error = CallError("approval.required", "not_enough", "waits")
        way.sealer.say(AdminAnswer(way.sealer.calls[0].id, error=error, details={"ceremony": "ab" * 16, "needed": 2}))
        (refused,) = way.caller.refusals
        assert refused.code == "approval.required"
        assert refused.details == {"reason": "not_enough", "ceremony": "ab" * 16, "needed": 2}
        way.sealer.close()


async def test_a_sealer_that_is_lost_answers_everybody() -> None:
    async with trio.open_nursery() as nursery:
        way = Way(nursery)
        way.call("keys.rotate")
        way.sealer.close()
        way.relay.call(way.caller, Request(4, "keys.rotate", msgspec.Raw(b"\x80")))  # type: ignore[arg-type]
        assert [error.reason for error in way.caller.refusals] == ["sealer_lost", "sealer_down"]


async def test_a_call_that_would_fill_the_link_does_not_get_there() -> None:
    async with trio.open_nursery() as nursery:
        way = Way(nursery)
        with pytest.raises(Refusal, match="too_large"):
            way.call("keys.rotate", bytes(MOST_PARAMS + 1))
        assert not way.sealer.calls
        way.sealer.close()


async def test_a_reload_is_on_record_before_it_happens_and_tells_what_waits() -> None:
    asked: list[int] = []

    async def reload() -> list[str]:
        asked.append(1)
        return ["limits"]

    async with trio.open_nursery() as nursery:
        way = Way(nursery, reload)
        way.call("admin.reload")
        await trio.testing.wait_all_tasks_blocked()
        assert not asked
        way.sealer.say(AdminAnswer(way.sealer.calls[0].id, b"\x80"))
        await trio.testing.wait_all_tasks_blocked()
        ((response, _),) = way.caller.answers
        assert msgspec.msgpack.decode(response.result) == {"waiting": ["limits"]}
        way.sealer.close()


async def test_a_reload_that_cannot_be_is_refused() -> None:
    async def reload() -> list[str]:
        raise Refusal("request.malformed", "configuration", "cannot be used")

    async with trio.open_nursery() as nursery:
        way = Way(nursery, reload)
        way.call("admin.reload")
        way.sealer.say(AdminAnswer(way.sealer.calls[0].id, b"\x80"))
        await trio.testing.wait_all_tasks_blocked()
        assert [error.reason for error in way.caller.refusals] == ["configuration"]
        way.sealer.close()
