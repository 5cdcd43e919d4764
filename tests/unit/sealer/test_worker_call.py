import os

from fakes.sealing import open_here
from signerd.sealer.worker_call import Call, fail, let_go
from signerd.wire.worker_calls import CallError, DescribeParams


def test_a_call_that_nobody_is_asked_for_closes_what_it_has() -> None:
    before = open_here()
    Call("sign", DescribeParams("k"), print, (os.eventfd(0),)).close()
    assert open_here() == before
    closed: list[int] = []
    Call("hmac", DescribeParams("k"), print, (7,), closing=closed.extend).close()
    assert closed == [7]


def test_all_are_told() -> None:
    told: list[object] = []
    over: list[int] = []
    calls = [
        Call("describe", DescribeParams("k"), told.append),
        Call("hmac", DescribeParams("k"), told.append, over=lambda: over.append(1)),
    ]
    error = CallError("key.backend_unavailable", "worker_down", "down")
    fail(calls, error)
    let_go(calls)
    assert (told, over) == ([error, error], [1])
