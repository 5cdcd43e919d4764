import pytest
import trio

from fakes.http_double import Asked, Reply, http_double
from signerd.errors import Fault
from signerd.network.exchange import Exchange
from signerd_stamp_rfc3161.exchange import ask


def test_the_body_is_sent_with_its_type() -> None:
    with http_double(lambda asked: Reply(404, b"x")) as server:
        assert trio.run(ask, Exchange(), "POST", f"{server.url}/a?b", 1, b"{}").status == 404
        (sent,) = server.asked
    assert sent == Asked("POST", "/a?b", sent.headers, b"{}")
    assert sent.headers["content-type"] == "application/timestamp-query"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(200, b"x" * 101), "answer_too_large"),
        (Reply(behaviour="endless"), "answer_too_large"),
        (Reply(behaviour="headers"), "unreachable"),
        (Reply(200, b"x", behaviour="cut"), "unreachable"),
    ],
)
def test_what_is_no_bounded_answer_is_the_one_fault(reply: Reply, reason: str) -> None:
    with http_double(lambda asked: reply) as server, pytest.raises(Fault) as raised:
        trio.run(ask, Exchange(), "GET", server.url, 100)
    assert (raised.value.code, raised.value.reason) == ("transparency.unavailable", reason)
