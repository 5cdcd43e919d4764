import os
from collections.abc import Coroutine
from typing import Any

import pytest
import trio

from fakes.services import PEER, Hand, Later, begin, order, request, world
from signerd.daemon.story import Story, run_in_task
from signerd.errors import Fault, SignerdError
from signerd.pipeline.evidence import Signed
from signerd.pipeline.sign import sign
from signerd.pipeline.waits import SealWait, hash_files, provider

CANCELLED = Fault("request.cancelled", "cancelled", "the request was cancelled")


class Ends(Hand):
    """Fails to begin a wait, as a process without a free descriptor does."""

    def seal(self, story: Story, wait: SealWait) -> None:  # type: ignore[override]
        raise OSError(24, "Too many open files")


def code(result: Signed | SignerdError) -> str:
    assert isinstance(result, SignerdError)
    return f"{result.code}/{result.reason}"


def test_a_story_waits_once_and_ends_signed() -> None:
    given = world()
    story, hand = begin(request(), given)
    assert isinstance(hand.wait, SealWait)
    assert hand.ends == []
    hand.move(story, given)
    (end,) = hand.ends
    assert isinstance(end, Signed)


def test_one_that_is_refused_at_once_ends_in_its_start() -> None:
    given = world()
    story, hand = begin(request(order(predicate=b"{")), given)
    assert code(hand.ends[0]).startswith("predicate.invalid/")
    story.cut_short(CANCELLED)  # it has ended: it stays as it is
    assert len(hand.ends) == 1


def test_cut_short_where_it_stands_it_is_forgotten_and_ends_once() -> None:
    given = world()
    story, hand = begin(request(), given)
    story.cut_short(CANCELLED)
    story.cut_short(CANCELLED)
    assert len(hand.forgotten) == 1
    assert [code(end) for end in hand.ends] == ["request.cancelled/cancelled"]
    assert len(given.ledger.written) == 1
    assert len(given.deadlines.open) == 0


def test_what_it_came_to_own_is_closed_at_its_end() -> None:
    given = world()
    asked = request()
    fd = os.dup(0)
    asked.owned.append(fd)
    story, hand = begin(asked, given)
    os.fstat(fd)
    hand.move(story, given)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    assert asked.owned == []


def test_a_defect_fails_one_request(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> Any:
        await hash_files([])
        raise ZeroDivisionError("of ours")

    hand = Hand()
    story = Story(request(), broken(), hand, lambda _story, _result: None)
    story.start()
    story.resume([])
    assert code(hand.ends[0]) == "internal/defect"
    assert "of ours" not in hand.ends[0].public  # type: ignore[union-attr]
    assert "defect" in caplog.text


def test_a_wait_that_cannot_begin_fails_one_request() -> None:
    given = world()
    hand = Ends()
    story = Story(request(), sign(request(), PEER, given.services), hand, lambda _story, _result: None)
    story.start()
    assert [code(end) for end in hand.ends] == ["internal/descriptors"]
    assert len(given.ledger.written) == 1


async def test_a_coroutine_of_providers_alone_runs_in_a_task() -> None:
    async def ask() -> object:
        return [await provider(Later(1)), await provider(Later("two"))]

    with trio.fail_after(5):
        assert await run_in_task(_as_story(ask())) == [1, "two"]


def _as_story(coroutine: Coroutine[Any, Any, object]) -> Any:
    return coroutine
