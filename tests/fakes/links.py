"""A test's end of a link: blocking, with a deadline, messages as plain maps."""

import json
import select
import socket
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec

from signerd.host.spawn import Spawned, spawn
from signerd.wire.frames import FrameReader, encode_frame
from signerd.wire.messages import Hello

SECONDS = 20


class Talk:
    """Whatever is at the other end of ``link``."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.link.settimeout(SECONDS)
        self._reader = FrameReader(64 << 20)
        self._ids = 0

    def send(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        self.send_bytes(encode_frame(message), fds)

    def send_bytes(self, data: bytes, fds: Sequence[int] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        sent = self.link.sendmsg([data], rights)
        if sent < len(data):
            self.link.sendall(data[sent:])

    def receive(self) -> tuple[dict[str, Any], tuple[int, ...]]:
        """The next message and its descriptors; EOFError where the worker has hung up."""
        while (found := self._reader.next_frame()) is None:
            data, fds, _, _ = socket.recv_fds(self.link, 1 << 20, 16)
            if not data:
                raise EOFError
            self._reader.feed(data, fds)
        return msgspec.msgpack.decode(found[0]), found[1]

    def hello(self, nonce: bytes | msgspec.UnsetType = msgspec.UNSET) -> dict[str, Any]:
        self.send(Hello((1,), "test", nonce=nonce))
        return self.receive()[0]

    def ask(self, method: str, params: object, fds: Sequence[int] = ()) -> dict[str, Any]:
        """One request and its answer."""
        self._ids += 1
        body = msgspec.msgpack.encode(
            {"type": "request", "id": self._ids, "method": method, "params": params}
        )
        self.send_bytes(len(body).to_bytes(4, "big") + body, fds)
        answer, brought = self.receive()
        assert not brought
        assert answer.get("id") == self._ids
        return answer

    def hung_up(self) -> bool:
        """Wait for the end of the link; whether nothing came before it."""
        try:
            return not self.link.recv(1)
        except ConnectionResetError:
            return True


class Peer(Talk):
    """The other end of a spawned worker."""

    def __init__(self, module: str, settings: object, args: Sequence[str] = ()) -> None:
        self.process: Spawned = spawn(module, args, settings=json.dumps(settings).encode())
        super().__init__(self.process.socket)

    def status(self) -> int | None:
        """Wait for the worker's end."""
        assert select.select([self.process.pidfd], [], [], SECONDS)[0]
        assert self.process.reap()
        return self.process.status

    def close(self) -> None:
        self.process.end(2)
