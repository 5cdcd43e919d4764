"""One exchange: what it sends, and what it does not take."""

import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import trio

from fakes.http_double import Asked, Reply, http_double
from signerd.network.exchange import Answer, Exchange, Unanswered

Serve = Callable[[socket.socket], None]


def asked(reply: Reply, most: int = 100) -> Answer:
    with http_double(lambda asked: reply) as server:
        return trio.run(Exchange(), "POST", f"{server.url}/path", most, b"body")


def reason(ask: Callable[[], object]) -> str:
    with pytest.raises(Unanswered) as caught:
        ask()
    assert "secret" not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value.reason


def test_an_answer_comes_as_it_is() -> None:
    assert asked(Reply(404, b"x" * 100, {"X-Log-Index": "7"})) == Answer(
        404, {"connection": "close", "content-length": "100", "x-log-index": "7"}, b"x" * 100
    )


@pytest.mark.parametrize(
    ("told", "kind"), [({}, ""), ({"Content-Type": "Text/X; a=b"}, "text/x"), ({"Content-Type": "a/b"}, "a/b")]
)
def test_the_type_of_an_answer(told: dict[str, str], kind: str) -> None:
    assert asked(Reply(200, b"", told)).media_type == kind


def test_of_a_header_that_comes_twice_the_first_counts() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n"
    with server(lambda connection: connection.sendall(head)) as url:
        assert trio.run(Exchange(), "GET", url, 1).headers["x-a"] == "1"


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    assert asked(Reply(307, b"", {"Location": "http://localhost:1/"})).status == 307


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://localhost:1")
    assert asked(Reply(200, b"here")).body == b"here"


def test_body_and_headers_are_sent() -> None:
    with http_double(lambda asked: Reply()) as server:
        trio.run(Exchange(), "POST", f"{server.url}/a?b", 1, b"{}", [("Content-Type", "application/x")])
        (sent,) = server.asked
    assert sent == Asked("POST", "/a?b", sent.headers, b"{}")
    assert (sent.headers["content-type"], sent.headers["user-agent"]) == ("application/x", "signerd")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(200, b"x" * 101), "too_large"),
        (Reply(behaviour="endless"), "too_large"),
        (Reply(behaviour="headers"), "broken"),
        (Reply(200, b"x", behaviour="cut"), "broken"),
    ],
)
def test_what_is_no_bounded_answer(reply: Reply, why: str) -> None:
    assert reason(lambda: asked(reply)) == why


@contextlib.contextmanager
def server(serve: Serve) -> Iterator[str]:
    """One connection, given to ``serve`` once something was asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/path"
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000,
    ],
)
def test_what_is_no_whole_answer_is_broken(text: bytes) -> None:
    with server(lambda connection: connection.sendall(text)) as url:
        assert reason(lambda: trio.run(Exchange(), "GET", url, 100)) == "broken"


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert reason(lambda: trio.run(Exchange(), "GET", f"http://127.0.0.1:{port}/", 100)) == "unreachable"


@pytest.mark.parametrize("value", ["secret\r\nX: y", "secret\0", "secrét"])
def test_a_header_that_cannot_be_sent_is_not_repeated(value: str) -> None:
    with server(lambda _: None) as url:
        assert reason(lambda: trio.run(Exchange(), "GET", url, 100, None, [("Authorization", value)])) == "broken"


def test_what_may_be_secret_in_a_url_is_not_shown() -> None:
    with http_double(lambda asked: Reply(200, b"xx")) as server:
        url = f"{server.url.replace('//', '//user:secret@')}/path?token=secret#secret"
        assert reason(lambda: trio.run(Exchange(), "GET", url, 1)) == "too_large"


def test_whoever_speaks_no_tls_gets_no_question() -> None:
    heard: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"no TLS here")
        with contextlib.suppress(OSError):
            heard.append(connection.recv(65536))

    with server(serve) as url:
        asked = url.replace("http:", "https:")
        assert reason(lambda: trio.run(Exchange(), "POST", asked, 100, b"secret")) in {"unreachable", "broken"}
    assert not any(b"secret" in part for part in heard)


@pytest.mark.parametrize("behaviour", ["slow", "silent"])
def test_whoever_waits_ends_it_in_time(behaviour: str) -> None:
    async def wait(url: str) -> bool:
        with trio.move_on_after(0.2) as scope:
            await Exchange()("GET", url, 10)
        return scope.cancelled_caught

    with http_double(lambda asked: Reply(behaviour=behaviour)) as server:
        assert trio.run(wait, server.url)
        assert reason(lambda: Exchange().within(0.2, "GET", server.url, 10, None, ())) == "timeout"


def test_without_an_event_loop_it_is_the_same() -> None:
    with http_double(lambda asked: Reply(200, asked.body)) as server:
        assert Exchange().within(5, "POST", server.url, 10, b"body", ()).body == b"body"


def test_a_file_that_holds_no_authority_is_refused(tmp_path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(OSError):  # ssl.SSLError is one
        Exchange(str(tmp_path / "ca.pem"))


def test_a_server_that_hangs_up_while_it_is_asked_leaves_nothing_open() -> None:
    """Warnings are errors here: what stays open would be told when it is collected."""

    def hang_up(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    for _ in range(20):
        with server(hang_up) as url:
            assert reason(lambda: Exchange().within(5, "POST", url, 10, bytes(8 << 20), ())) == "broken"
    gc.collect()
