"""A daemon's end of the wire for the paths that a real daemon never takes: slow, silent, lying, gone."""

import array
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from msgspec import Raw

from signerd.wire.connection import (
    FRAME_LIMIT_BOUND,
    Connection,
    ConnectionClosed,
    Role,
    Wait,
)
from signerd.wire.frames import ENCODER
from signerd.wire.messages import Cancel, Error, Goaway, Hello, Limits, Request, Response

LIMITS = Limits(
    frame_bytes=1 << 20,
    inline_bytes=1 << 16,
    payload_bytes=1 << 26,
    in_flight=4,
    batch_items=3,
    subjects=64,
    digests=8,
    descriptors=4,
    deadline_ms=30_000,
)

Said = Response | Error | Goaway | tuple[Response, list[int]] | bytes
Handler = Callable[[Request | Cancel, tuple[int, ...]], Iterable[Said]]


class Double:
    """Listens on ``path``; each connection is served in a thread by ``serve``."""

    def __init__(self, path: Path, serve: Callable[[socket.socket], None]) -> None:
        self.path = path
        self._serve = serve
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connected)
            thread = threading.Thread(target=self._one, args=(connected,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _one(self, connected: socket.socket) -> None:
        with connected:
            try:
                self._serve(connected)
            except OSError:
                # The client went away, or the test ended.
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connected in self._open:
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in (self._accepting, *self._threads):
            thread.join(5)
            assert not thread.is_alive()


def receive(connected: socket.socket) -> tuple[bytes, list[int]]:
    """Return what one read brings, descriptors included."""
    data, ancillary, _flags, _ = connected.recvmsg(1 << 18, socket.CMSG_SPACE(253 * 4))
    descriptors = array.array("i")
    for _level, _kind, content in ancillary:
        descriptors.frombytes(content)
    return data, descriptors.tolist()


def speaking(handler: Handler, limits: Limits = LIMITS, **hello: Any) -> Callable[[socket.socket], None]:
    """Serve the protocol as its sans-IO server has it; ``handler`` says what follows each request."""

    def say(connected: socket.socket, connection: Connection, said: Said) -> None:
        if isinstance(said, bytes):
            connected.sendall(said)
        elif isinstance(said, tuple):
            message, descriptors = said
            rights = array.array("i", descriptors)
            connected.sendmsg([connection.send(message)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        else:
            connected.sendall(connection.send(said))

    def serve(connected: socket.socket) -> None:
        connection = Connection(Role.SERVER)
        while True:
            connection.receive_data(*receive(connected))
            while not isinstance(event := connection.next_event(), Wait):
                descriptors = connection.take_descriptors()
                if isinstance(event, ConnectionClosed):
                    return
                if isinstance(event, Hello):
                    greeting = {
                        "version": 1,
                        "limits": limits,
                        "methods": ("daemon.health",),
                        "profiles": ("cosign",),
                        "nonce": bytes(16),
                        **hello,
                    }
                    connected.sendall(connection.send(Hello((1,), "double", **greeting)))
                    connection.raise_limit(FRAME_LIMIT_BOUND)
                    continue
                assert isinstance(event, Request | Cancel)
                for said in handler(event, descriptors):
                    say(connected, connection, said)

    return serve


@pytest.fixture
def socket_directory() -> Iterator[Path]:
    """A directory of our own with a short path: a socket's may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="sc-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def serving(socket_directory: Path) -> Iterator[Callable[[Callable[[socket.socket], None]], Path]]:
    """Start a double with a serve function and return its socket's path."""
    doubles: list[Double] = []

    def start(serve: Callable[[socket.socket], None]) -> Path:
        double = Double(socket_directory / f"{len(doubles)}.sock", serve)
        doubles.append(double)
        return double.path

    yield start
    for double in doubles:
        double.__exit__(None, None, None)


@pytest.fixture
def answering(serving: Any) -> Callable[..., Path]:
    """Start a double with a handler of requests and return its socket's path."""

    def start(handler: Handler, limits: Limits = LIMITS, **hello: Any) -> Path:
        path: Path = serving(speaking(handler, limits, **hello))
        return path

    return start


@pytest.fixture
def respond() -> Callable[..., Response]:
    """Make the response to a request from a builtin or a Struct."""

    def make(request: Request, result: object) -> Response:
        return Response(request.id, Raw(ENCODER.encode(result)))

    return make


@pytest.fixture
def limits() -> Limits:
    """The limits that the doubles announce."""
    return LIMITS


@pytest.fixture
def sign_result() -> Callable[..., dict[str, Any]]:
    """Make a result of ``sign.dsse`` as builtins, with keys that no version knows yet."""

    def make(bundle: object = b"{}", **more: Any) -> dict[str, Any]:
        return {
            "bundles": [bundle],
            "statement_sha256": "aa" * 32,
            "predicate_sha256": "bb" * 32,
            "bundle_sha256": ["cc" * 32],
            "envelope_sha256": "dd" * 32,
            "signing_identity": [
                {
                    "mode": "keyful",
                    "keyid": "sha256:" + "0123456789abcdef" * 4,
                    "spki": b"\x30",
                    "algorithm": "ES256",
                    "key_version": 1,
                }
            ],
            "cosign_verifiable": True,
            "warnings": ["careful\x1b[2J"],
            "verify_command": [{"argv": ["cosign", "--bundle", "b"], "line": "cosign verify-blob-attestation"}],
            "entitlement": {"plan": "embedded", "remaining": {"concurrency": 7}},
            "receipt": {
                "audit_id": "a-1",
                "index": 4,
                "leaf_hash": "ee" * 32,
                "decision": {
                    "principal": "uid:1000",
                    "tenant": "local",
                    "plan": "embedded",
                    "release": {"verdict": "trusted", "how": "allowlist", "binding": "asserted"},
                    "keys": [{"key": "file:default", "source": "default"}],
                    "degraded": [],
                    "later": 1,
                },
                "decision_digest": "ff" * 32,
                "later": {"z": 1, "a": 2},
            },
            "later": [1, 2],
            **more,
        }

    return make
