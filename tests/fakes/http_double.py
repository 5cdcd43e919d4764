"""An HTTP server of the tests' own on loopback, in a thread: it answers what a test says, in HTTP or out of it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Asked", "HttpDouble", "Reply", "http_double"]

FOREVER_S: Final = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; ``path`` as it was written."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """``behaviour``: ``plain``, ``endless`` (a body that does not end), ``slow`` (a byte now and then), ``silent``
    (nothing at all), ``cut`` (the connection ends within the body), ``headers`` (headers that do not end)."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    behaviour: str = "plain"


class HttpDouble:
    """``answer`` is asked in threads; what was asked stands in ``asked``."""

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listening.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def close(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(FOREVER_S)
            asked = _read(connection)
            if asked is not None:
                self.asked.append(asked)
                self._reply(connection, self.answer(asked))

    def _reply(self, connection: socket.socket, reply: Reply) -> None:
        told = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        head = f"HTTP/1.1 {reply.status} Said\r\nConnection: close\r\n{told}"
        if reply.behaviour == "plain":
            connection.sendall(f"{head}Content-Length: {len(reply.body)}\r\n\r\n".encode() + reply.body)
        elif reply.behaviour == "cut":
            connection.sendall(f"{head}Content-Length: {len(reply.body) + 1}\r\n\r\n".encode() + reply.body)
        elif reply.behaviour == "endless":
            connection.sendall(f"{head}\r\n".encode())
            while not self._over.is_set():
                connection.sendall(bytes(65536))
        elif reply.behaviour == "headers":
            connection.sendall(head.encode())
            while not self._over.is_set():
                connection.sendall(b"X-More: " + bytes(64).hex().encode() + b"\r\n")
        elif reply.behaviour == "slow":
            connection.sendall(f"{head}Content-Length: 100000\r\n\r\n".encode())
            while not self._over.wait(0.05):
                connection.sendall(b" ")
        else:
            self._over.wait(FOREVER_S)


def _read(connection: socket.socket) -> Asked | None:
    with connection.makefile("rb") as stream:
        method, _, rest = stream.readline().decode().partition(" ")
        if not method:
            return None
        headers = {}
        while line := stream.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", "0")))
    return Asked(method, rest.split(" ")[0], headers, body)


@contextlib.contextmanager
def http_double(answer: Callable[[Asked], Reply]) -> Iterator[HttpDouble]:
    """Start one, and end it."""
    double = HttpDouble(answer)
    try:
        yield double
    finally:
        double.close()
