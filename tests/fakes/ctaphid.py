"""CTAPHID (CTAP 2.1, section 11.2) as an authenticator speaks it, over a Unix socket: one report a packet."""

import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["Channel", "Gone", "HidServer", "Status"]

REPORT = 64
BROADCAST = 0xFFFFFFFF
PING, INIT, CBOR, CANCEL, KEEPALIVE, ERROR = 0x01, 0x06, 0x10, 0x11, 0x3B, 0x3F
FIRST = 0x80
CAPABILITY_CBOR, CAPABILITY_NMSG = 0x04, 0x08
BEAT_S = 0.05


class Gone(Exception):
    """The client has closed its end."""


class Status(Exception):
    """A CTAP2 status other than success."""


class Channel:
    """One client: what it asked is told to ``answer``, which may say meanwhile that it still works."""

    def __init__(self, connection: socket.socket, answer: Callable[["Channel", bytes], bytes]) -> None:
        self._socket = connection
        self._answer = answer
        self._number = BROADCAST

    def serve(self) -> None:
        while True:
            number, command, data = self._request(None)
            if command == INIT:
                self._number = int.from_bytes(os.urandom(4), "big") % 0xFFFFFFF0 + 1
                told = struct.pack(">IBBBBB", self._number, 2, 1, 0, 0, CAPABILITY_CBOR | CAPABILITY_NMSG)
                self._send(number, INIT, data[:8] + told)
            elif command == PING:
                self._send(number, PING, data)
            elif command == CBOR:
                if said := self._answer(self, data):
                    self._send(number, CBOR, said)
            elif command != CANCEL:
                self._send(number, ERROR, b"\x01")

    def beat(self, status: int) -> bool:
        """Say that it still works, and listen for a moment; whether the client has cancelled."""
        self._send(self._number, KEEPALIVE, bytes([status]))
        try:
            return self._request(BEAT_S)[1] == CANCEL
        except TimeoutError:
            return False

    def _request(self, seconds: float | None) -> tuple[int, int, bytes]:
        number, command, length, data = struct.unpack(">IBH57s", self._report(seconds))
        while len(data) < length:
            data += self._report(seconds)[5:]
        return number, command & ~FIRST, data[:length]

    def _report(self, seconds: float | None) -> bytes:
        self._socket.settimeout(seconds)
        report = self._socket.recv(REPORT)
        if not report:
            raise Gone
        return report

    def _send(self, number: int, command: int, data: bytes) -> None:
        self._socket.settimeout(10)
        report = struct.pack(">IBH", number, FIRST | command, len(data)) + data[: REPORT - 7]
        rest, sequence = data[REPORT - 7 :], 0
        self._socket.sendall(report.ljust(REPORT, b"\0"))
        while rest:
            self._socket.sendall((struct.pack(">IB", number, sequence) + rest[: REPORT - 5]).ljust(REPORT, b"\0"))
            rest, sequence = rest[REPORT - 5 :], sequence + 1


class HidServer:
    """Listens at a path, with a thread for each client."""

    def __init__(self, path: Path, answer: Callable[[Channel, bytes], bytes]) -> None:
        self.path = path
        self._answer = answer
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(os.fspath(path))
        path.chmod(0o600)
        self._listener.listen(8)
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            Channel(connection, self._answer).serve()
        except (Gone, OSError):
            pass
        finally:
            self._open.discard(connection)
            connection.close()

    def hang_up(self) -> None:
        """Leave every client in the middle of what it does."""
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)
        self.path.unlink(missing_ok=True)
