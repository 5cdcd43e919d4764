"""A server of the tests as a process: free ports of 127.0.0.1, ready when its health endpoint says so, ended by pid.

Needs no pytest, so that scripts use it too.
"""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["Plan", "Server", "ServerError", "ask", "dying_with_us", "free_ports", "serving"]

START_S = 60.0
TRIES = 3


class ServerError(Exception):
    """A server did not start, or ended; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and the URL that answers 200 when it serves."""

    command: Sequence[str | Path]
    health: str


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now; another process may take one before its server does."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def ask(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, seconds: float = 5
) -> tuple[int, bytes]:
    """GET, or POST a body; no proxies, redirects or TLS. Status and body; OSError or HTTPException else."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()


def dying_with_us() -> list[str]:
    """A command's beginning that has it killed with the process that starts it, which may be killed itself."""
    found = shutil.which("setpriv")
    return [found, "--pdeathsig", "KILL", "--"] if found else []


@dataclass(slots=True)
class Server:
    """One running server. ``ports`` stay its own over a restart; ``log`` is all it has written."""

    name: str
    plan: Plan
    ports: Sequence[int]
    log: Path
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    @property
    def pid(self) -> int:
        """The process, for signals."""
        return self.process.pid

    @property
    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-8000:]

    def start(self) -> None:
        """Start it (again, after an end), and wait until it is healthy. ServerError with its log if it is not."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [os.fspath(part) for part in [*dying_with_us(), *self.plan.command]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
            )
        deadline = time.monotonic() + START_S
        while not self.healthy():
            if self.process.poll() is not None:
                raise ServerError(f"{self.name} ended with {self.process.returncode}: {self.said}")
            if time.monotonic() > deadline:
                self.end()
                raise ServerError(f"{self.name} was not healthy within {START_S:.0f} s: {self.said}")
            time.sleep(0.05)

    def healthy(self) -> bool:
        """Whether its health endpoint answers 200."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return ask(self.plan.health)[0] == 200
        return False

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal, SIGKILL if that does not help in 10 s; nothing happens if it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


@contextlib.contextmanager
def serving(name: str, folder: Path, plan: Callable[[list[int]], Plan], ports: int = 1) -> Iterator[Server]:
    """Start a server on free ports, and end it; where another took a port first, once more on others."""
    folder.mkdir(parents=True, exist_ok=True)
    server = _first_that_starts(name, folder / f"{name}.log", plan, ports)
    try:
        yield server
    finally:
        server.end()


def _first_that_starts(name: str, log: Path, plan: Callable[[list[int]], Plan], count: int) -> Server:
    for attempt in range(TRIES):
        ports = free_ports(count)
        try:
            return Server(name, plan(ports), ports, log)
        except ServerError as error:
            if attempt == TRIES - 1 or "address already in use" not in str(error).lower():
                raise
    raise AssertionError("the last attempt returns or raises")
