"""The two ways to the admin plane: a socket that a hostile daemon may hold, and a sealer of one's own."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec import Raw

from signerd.cli.plane import SealerPlane, SocketPlane, fetched, reach
from signerd.errors import Fault, Refusal
from signerd.host.config import embedded
from signerd.host.memfd import sealed_memfd
from signerd.sealer.lock import StateLock, prepare_state
from signerd.wire import admin
from signerd.wire.frames import encode_frame
from signerd.wire.messages import Error, Hello, Limits, Response
from signerd.wire.params import Descriptor, NoParams

ME = frozenset({os.geteuid()})
HELLO = Hello((1,), "x", version=1, limits=Limits(4 << 20, 1 << 20, 1, 1, 1, 1, 1, 1, 1), methods=(), profiles=(),
              nonce=bytes(16))  # fmt: skip


@contextmanager
def daemon(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Somebody who listens at ``path``, says hello, and ``answer``s the first request."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(1)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(encode_frame(HELLO))
                if connection.recv(1 << 16):
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join(10)


def asked(path: Path) -> object:
    plane = SocketPlane.connect(path, ME)
    try:
        return plane.call("keys.publish", NoParams(), admin.Published)
    finally:
        plane.close()


def test_an_error_keeps_its_code_and_details(tmp_path: Path) -> None:
    error = Error("approval.required", "waits", False, id=1, details={"reason": "not_enough", "ceremony": "ab"})
    said = encode_frame(error)
    with daemon(tmp_path / "s", lambda connection: connection.sendall(said)), pytest.raises(Refusal) as caught:
        asked(tmp_path / "s")
    assert (caught.value.code, caught.value.reason, caught.value.details["ceremony"]) == (
        "approval.required", "not_enough", "ab",
    )  # fmt: skip


def test_a_document_may_come_by_descriptor(tmp_path: Path) -> None:
    result = Raw(msgspec.msgpack.encode({"jwks": {"fd": 0, "size": 3}, "trusted_root": b"t", "revocations": b"r"}))
    memfd = sealed_memfd("x", b"abc")

    def answer(connection: socket.socket) -> None:
        socket.send_fds(connection, [encode_frame(Response(1, result))], [memfd])

    with daemon(tmp_path / "s", answer):
        found, fds = asked(tmp_path / "s")  # type: ignore[misc]  # a pair
    os.close(memfd)
    assert [fetched(value, fds) for value in (found.jwks, found.trusted_root)] == [b"abc", b"t"]
    with pytest.raises(Fault, match="descriptor_index"):
        fetched(Descriptor(7, 1), fds)
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("answer", [b"", b"\x00\x00\x00\x01\xc1", b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"])
def test_whatever_a_daemon_says_it_is_a_typed_error(tmp_path: Path, answer: bytes) -> None:
    with daemon(tmp_path / "s", lambda connection: connection.sendall(answer)), pytest.raises(Fault):
        asked(tmp_path / "s")


def test_a_result_of_another_shape_is_refused(tmp_path: Path) -> None:
    answer = encode_frame(Response(1, Raw(b"\x81\xa4jwks\x05")))
    by = pytest.raises(Refusal, match="malformed")
    with daemon(tmp_path / "s", lambda connection: connection.sendall(answer)), by:
        asked(tmp_path / "s")


def test_a_stranger_who_listens_gets_no_order(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen(1)
        with pytest.raises(Refusal, match="listener_uid"):
            SocketPlane.connect(tmp_path / "s", frozenset({os.geteuid() + 1}))
        connection, _ = listening.accept()
        with connection:
            assert connection.recv(100) == b""


def test_a_sealer_of_ones_own_serves_and_ends(tmp_path: Path) -> None:
    config = embedded(tmp_path / "state", tmp_path / "s")
    with reach(config) as plane:
        assert isinstance(plane, SealerPlane)
        (row,) = plane.call("keys.versions", admin.KeysVersions(), admin.KeyVersions)[0].keys
        assert (row.key, row.status) == ("file:default", "active")
        with pytest.raises(Refusal, match="no_such_key"):
            plane.call("keys.suspend", admin.VersionChange("file:no", "x"), admin.KeyVersions)
        with pytest.raises(Refusal, match="in_use"):
            StateLock(tmp_path / "state", wait_s=0)
    StateLock(tmp_path / "state", wait_s=0).close()


def test_a_state_that_somebody_uses_needs_the_socket(tmp_path: Path) -> None:
    prepare_state(tmp_path / "state")
    config = embedded(tmp_path / "state", tmp_path / "s")
    with StateLock(tmp_path / "state"):
        with pytest.raises(Refusal, match=r"admin_off.*\[sockets.admin\]"), reach(config):
            pass
        with pytest.raises(Refusal, match="in_use"):
            SealerPlane(config)
