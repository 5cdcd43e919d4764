from dataclasses import replace

from fakes.services import request
from signerd.daemon.deadlines import SLACK, DeadlineHeap
from signerd.pipeline.request import SignRequest


def at(deadline: float, audit_id: str) -> SignRequest:
    return replace(request(), audit_id=audit_id, deadline=deadline)


def test_requests_expire_in_order_each_once() -> None:
    heap = DeadlineHeap(lambda: None)
    late, later, latest = at(1.0, "a"), at(2.0, "b"), at(3.0, "c")
    for one in (latest, late, later):
        heap.open(one)
    assert len(heap) == 3
    assert heap.expired(0.9) == []
    assert heap.expired(2.0) == [late, later]
    assert heap.expired(2.0) == []
    assert len(heap) == 1


def test_what_has_ended_does_not_expire() -> None:
    heap = DeadlineHeap(lambda: None)
    one = at(1.0, "a")
    with heap.deadline(one):
        assert len(heap) == 1
    assert len(heap) == 0
    assert heap.expired(10.0) == []


def test_the_scope_closes_however_it_is_left() -> None:
    heap = DeadlineHeap(lambda: None)
    try:
        with heap.deadline(at(1.0, "a")):
            raise KeyError
    except KeyError:
        pass
    assert len(heap) == 0


def test_the_first_of_an_idle_time_wakes() -> None:
    woken: list[int] = []
    heap = DeadlineHeap(lambda: woken.append(1))
    first, second = at(1.0, "a"), at(2.0, "b")
    heap.open(first)
    heap.open(second)
    assert len(woken) == 1
    heap.close(first)
    heap.close(second)
    heap.open(at(3.0, "c"))
    assert len(woken) == 2


def test_ended_requests_do_not_pile_up() -> None:
    """One that stays open must not keep the entries of a million that came and went."""
    heap = DeadlineHeap(lambda: None)
    heap.open(at(100.0, "stays"))
    for number in range(5 * SLACK):
        with heap.deadline(at(50.0, str(number))):
            pass
    assert len(heap._heap) <= 2 * (SLACK + 2)
    assert [one.audit_id for one in heap.expired(100.0)] == ["stays"]
