"""One exchange: what it sends, and what it does not take."""

import pytest
import trio

from fakes.http_double import Asked, Reply, http_double
from signerd.errors import Fault
from signerd_stamp_rfc3161.exchange import Answer, Exchange


def asked(reply: Reply, most: int = 100) -> Answer:
    with http_double(lambda asked: reply) as server:
        return trio.run(Exchange(), "POST", f"{server.url}/path", most, b"body")


def test_an_answer_comes_as_it_is() -> None:
    assert asked(Reply(404, b"x" * 100, {"X-Log-Index": "7"})) == Answer(
        404, {"connection": "close", "content-length": "100", "x-log-index": "7"}, b"x" * 100
    )


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    assert asked(Reply(307, b"", {"Location": "http://localhost:1/"})).status == 307


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://localhost:1")
    assert asked(Reply(200, b"here")).body == b"here"


def test_the_body_is_sent_with_its_type() -> None:
    with http_double(lambda asked: Reply()) as server:
        trio.run(Exchange(), "POST", f"{server.url}/a?b", 1, b"{}", "application/x")
        (sent,) = server.asked
    assert sent == Asked("POST", "/a?b", sent.headers, b"{}")
    assert (sent.headers["content-type"], sent.headers["user-agent"]) == ("application/x", "signerd")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(200, b"x" * 101), "answer_too_large"),
        (Reply(behaviour="endless"), "answer_too_large"),
        (Reply(behaviour="headers"), "unreachable"),
        (Reply(200, b"x", behaviour="cut"), "unreachable"),
    ],
)
def test_what_is_no_bounded_answer_is_a_fault(reply: Reply, reason: str) -> None:
    with pytest.raises(Fault) as raised:
        asked(reply)
    assert (raised.value.code, raised.value.reason) == ("transparency.unavailable", reason)


def test_whoever_waits_ends_it_in_time() -> None:
    async def wait(url: str) -> bool:
        with trio.move_on_after(0.2) as scope:
            await Exchange()("GET", url, 10)
        return scope.cancelled_caught

    for behaviour in ("slow", "silent"):
        with http_double(lambda asked, behaviour=behaviour: Reply(behaviour=behaviour)) as server:  # type: ignore[misc]
            assert trio.run(wait, server.url)
