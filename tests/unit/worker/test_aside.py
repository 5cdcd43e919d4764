import select
import threading
from collections.abc import Callable, Iterator

import pytest
from msgspec import Raw

from signerd.errors import Fault, SignerdError
from signerd.worker.aside import MOST_THREADS, Aside


@pytest.fixture
def aside() -> Iterator[Aside]:
    made = Aside()
    yield made
    made.close()


def finished(aside: Aside, count: int) -> dict[int, Raw | SignerdError]:
    found: dict[int, Raw | SignerdError] = {}
    while len(found) < count:
        assert select.select([aside.fileno()], [], [], 20)[0]
        found.update(aside.collect())
    return found


def waiting(stopped: Callable[[], bool]) -> Raw:
    while not stopped():
        threading.Event().wait(0.001)
    raise Fault("key.backend_unavailable", "call_deadline", "not in time")


def test_what_is_done_comes_in_the_order_of_its_end(aside: Aside) -> None:
    gate = threading.Event()

    def late(stopped: Callable[[], bool]) -> Raw:
        gate.wait(20)
        return Raw(b"late")

    aside.run(1, late, 60)
    aside.run(2, lambda stopped: Raw(b"soon"), 60)
    assert finished(aside, 1) == {2: Raw(b"soon")}
    gate.set()
    assert finished(aside, 1) == {1: Raw(b"late")}
    assert aside.collect() == []


def test_a_call_ends_when_it_is_cancelled_or_its_time_is_over(aside: Aside) -> None:
    aside.run(1, waiting, 600)
    aside.run(2, waiting, 0.01)
    (second,) = finished(aside, 1).values()
    assert isinstance(second, Fault)
    aside.cancel(3)
    aside.cancel(1)
    (first,) = finished(aside, 1).values()
    assert isinstance(first, Fault)
    aside.cancel(1)


def test_a_defect_is_a_fault_of_its_call_alone(aside: Aside) -> None:
    def broken(stopped: Callable[[], bool]) -> Raw:
        raise ZeroDivisionError("secret")

    aside.run(1, broken, 60)
    (ended,) = finished(aside, 1).values()
    assert isinstance(ended, Fault)
    assert (ended.code, ended.reason) == ("key.backend_fault", "defect")
    assert "secret" not in ended.public


def test_there_is_a_most(aside: Aside) -> None:
    for number in range(1, MOST_THREADS + 1):
        assert not aside.full
        aside.run(number, waiting, 600)
    assert aside.full
    aside.cancel(1)
    finished(aside, 1)
    assert not aside.full


def test_what_is_still_under_way_at_the_end_is_dropped() -> None:
    aside = Aside()
    before = threading.active_count()
    aside.run(1, waiting, 600)
    aside.close()
    for thread in threading.enumerate():
        if thread.name == "aside":
            thread.join(20)
    assert threading.active_count() <= before
