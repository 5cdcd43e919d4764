import select
import threading
from collections.abc import Iterator, Sized

import pytest

from fakes.sealing import open_here
from signerd.errors import Fault, Refusal, SignerdError
from signerd.sealer.aside import Aside


@pytest.fixture
def aside() -> Iterator[Aside]:
    made = Aside()
    yield made
    made.close()


def wait_for(aside: Aside, done: Sized, count: int) -> None:
    while len(done) < count:
        assert select.select([aside.fileno()], [], [], 20)[0]
        aside.collect()


def test_work_is_done_in_another_thread_in_order_and_handed_over_in_this_one(aside: Aside) -> None:
    done: list[tuple[tuple[int, int] | SignerdError, int]] = []
    here = threading.get_ident()
    order: list[int] = []

    def work(number: int) -> tuple[int, int]:
        order.append(number)
        return number, threading.get_ident()

    for number in range(20):
        aside.run(lambda number=number: work(number), lambda r: done.append((r, threading.get_ident())))  # type: ignore[misc]
    assert not done, "nothing is handed over before the loop asks"
    wait_for(aside, done, 20)
    results = [result for result, _ in done if not isinstance(result, SignerdError)]
    assert order == list(range(20)) == [number for number, _ in results]
    assert here not in [where for _, where in results]
    assert {where for _, where in done} == {here}


@pytest.mark.parametrize(
    ("exc", "code", "reason"),
    [
        (Refusal("request.malformed", "not_sealed", "no"), "request.malformed", "not_sealed"),
        (OSError(28, "No space left"), "internal", "aside"),
        (MemoryError(), "internal", "aside"),
        (AssertionError(), "internal", "aside"),
        (TypeError("None"), "internal", "aside"),
    ],
)
def test_what_goes_wrong_comes_back_as_an_error_and_the_thread_goes_on(
    aside: Aside, exc: Exception, code: str, reason: str
) -> None:
    done: list[object] = []

    def fail() -> None:
        raise exc

    aside.run(fail, done.append)
    aside.run(lambda: "next", done.append)
    wait_for(aside, done, 2)
    error = done[0]
    assert isinstance(error, SignerdError)
    assert (error.code, error.reason, done[1]) == (code, reason, "next")
    assert "space" not in error.public
    if isinstance(exc, OSError):
        assert isinstance(error, Fault)
        assert "No space left" in str(error)


def test_collecting_nothing_is_nothing(aside: Aside) -> None:
    aside.collect()
    assert not select.select([aside.fileno()], [], [], 0)[0]


def test_closing_lets_what_was_begun_end_and_frees_the_descriptor() -> None:
    before = open_here()
    unused = Aside()
    unused.close()
    aside = Aside()
    ended = threading.Event()
    release = threading.Event()

    def work() -> None:
        release.wait(20)
        ended.set()

    aside.run(work, lambda _: None)
    release.set()
    aside.close()
    assert ended.is_set()
    assert open_here() == before
