"""A key worker as a service of its own, for tests: started by them at a socket path, gone with them."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from running.configured import PLUGINS

__all__ = ["CREDENTIAL", "ServiceWorker", "service", "service_configuration"]

CREDENTIAL = bytes(range(100, 150))
START_S = 20.0


class ServiceWorker:
    """``python -m signerd.worker.key --socket``: a folder of keys, a credential and a socket below ``base``."""

    def __init__(self, base: Path, arguments: Sequence[str] = ()) -> None:
        self.base = base
        self.socket = base / "run" / "worker.sock"
        self.credential = base / "credential"
        self.settings = base / "settings.json"
        self.arguments = tuple(arguments)
        self.said = base / "said"
        self.process: subprocess.Popen[bytes] | None = None
        keys = base / "keys"
        for folder in (keys, self.socket.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.credential.write_bytes(CREDENTIAL)
        self.credential.chmod(0o600)
        self.settings.write_text(
            json.dumps({"scheme": "file", "name": "service", "settings": {"directory": str(keys)}})
        )

    def start(self) -> "ServiceWorker":
        """Start it, and wait until it listens."""
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        self.wait()
        return self

    def wait(self) -> None:
        """Wait until it listens; fails where it ends instead."""
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while not self._listens():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def command(self) -> list[str]:
        """What starts it."""
        parts: list[str | Path] = [sys.executable, "-P", "-m", "signerd.worker.key", "--socket", self.socket]
        return [os.fspath(p) for p in [*parts, "--credential", self.credential, "--settings", self.settings]] + [
            *self.arguments
        ]

    def connect(self) -> socket.socket:
        """Return a connection to it, of a peer that has shown nothing yet."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.socket))
        return connection

    def listener(self) -> socket.socket:
        """Return a socket that listens in its place, as systemd's would, to be handed over."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.socket))
        listener.listen()
        return listener

    def connect_to(self, pid: int) -> socket.socket:
        """Return a connection that the kernel says is to that process, which may not have taken over yet."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            connection = self.connect()
            if struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0] == pid:
                return connection
            connection.close()
            time.sleep(0.05)
        raise AssertionError("it does not listen")

    def kill(self) -> None:
        """SIGKILL, and wait for its end; its socket stays where it is."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def close(self) -> None:
        """Make sure that it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def _listens(self) -> bool:
        # Not by connecting: it would take the one place. A listener shows in the kernel's table, flags 00010000.
        with contextlib.suppress(OSError):
            for line in Path("/proc/net/unix").read_text().splitlines():
                fields = line.split()
                if fields[-1] == str(self.socket) and fields[3] == "00010000":
                    return True
        return False


def service_configuration(base: Path, worker: ServiceWorker, *, key: str = "file:default") -> str:
    """A daemon's configuration whose only backend is that worker."""
    return f"""
{PLUGINS}
[plugins.predicates-stella]
certificate = "none"
[backends.service]
certificate = "none"
scheme = "file"
socket = "{worker.socket}"
credential = "{worker.credential}"
[tenants.local]
keys = ["{key}"]
[keys."{key}"]
backend = "service"
tenant = "local"
generate = "ES256"
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceWorker]:
    """A worker that is not started yet."""
    made = ServiceWorker(tmp_path)
    yield made
    made.close()
