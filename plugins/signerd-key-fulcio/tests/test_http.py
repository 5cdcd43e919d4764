import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from signerd_key_fulcio.http import Client, Reply, Unanswered

Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def server(serve: Serve) -> Iterator[str]:
    """One connection, given to ``serve``; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/path"
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def heard(connection: socket.socket) -> bytes:
    """The whole question: head and body come apart."""
    data = b""
    while not data.endswith(b"\r\n\r\nquestion"):
        part = connection.recv(65536)
        if not part:
            break
        data += part
    return data


def saying(text: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(text)

    return serve


def ask(serve: Serve, *, timeout_s: float = 5, most: int = 100) -> Reply:
    with server(serve) as url:
        return Client(timeout_s, most).ask("POST", url, [("Content-Type", "text/plain")], b"question")


def reason(serve: Serve, *, timeout_s: float = 5) -> str:
    with pytest.raises(Unanswered) as caught:
        ask(serve, timeout_s=timeout_s)
    return caught.value.reason


def test_a_question_and_its_answer() -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(heard(connection))
        connection.sendall(b"HTTP/1.1 201 OK\r\nContent-Type: Text/X; a=b\r\nContent-Length: 2\r\n\r\nhi")

    assert ask(serve) == Reply(201, "text/x", b"hi")
    assert asked[0].startswith(b"POST /path HTTP/1.1\r\n")
    assert asked[0].endswith(b"Content-Length: 8\r\n\r\nquestion")


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    assert ask(saying(b"HTTP/1.1 302 No\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")).status == 302


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000,
    ],
)
def test_what_is_no_whole_answer_is_broken(text: bytes) -> None:
    assert reason(saying(text)) == "broken"


@pytest.mark.parametrize("head", [b"Content-Length: 101\r\n\r\n", b"\r\n"])
def test_no_more_is_read_than_is_allowed(head: bytes) -> None:
    assert reason(saying(b"HTTP/1.1 200 OK\r\n" + head + b"x" * 101)) == "too_large"


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"])
def test_a_byte_now_and_then_does_not_hold_anybody_up(first: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(first or b"HTTP/1.1 200 OK\r\n")
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.05)

    started = time.monotonic()
    assert reason(serve, timeout_s=0.4) == "timeout"
    assert time.monotonic() - started < 4


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unanswered) as caught:
        Client(5, 100).ask("GET", f"http://127.0.0.1:{port}/", [])
    assert caught.value.reason == "unreachable"


@pytest.mark.parametrize("value", ["secret\r\nX: y", "secret\0", "gehéim"])
def test_a_header_that_cannot_be_sent_is_not_repeated(value: str) -> None:
    with server(lambda _: None) as url, pytest.raises(Unanswered) as caught:
        Client(5, 100).ask("GET", url, [("Authorization", value)])
    assert "secret" not in repr(caught.value)
    assert caught.value.__suppress_context__


def test_an_authority_that_tls_does_not_know_gets_no_question() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"no TLS here")

    with server(serve) as url, pytest.raises(Unanswered):
        Client(5, 100).ask("POST", url.replace("http:", "https:"), [], b"secret")


def test_variables_of_the_environment_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).status == 200
