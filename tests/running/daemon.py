"""A real daemon for the tests: started by them, in a directory of its own, gone with them."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

__all__ = ["RELEASE", "Running", "daemon", "daemon_factory", "running"]

RELEASE = "sha256:" + "ab" * 32
"""The digest that every test daemon allow-lists."""
START_S = 20.0


class Running:
    """``signerd serve`` as a process. ``said`` is what it has written to stderr so far."""

    def __init__(
        self,
        base: Path,
        *,
        arguments: Sequence[str] = (),
        config: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.base = base
        self.state = base / "state"
        self.socket = base / "run" / "sign.sock"
        self.release = RELEASE
        self.said = ""
        program = Path(sys.executable).parent / "signerd"
        command: list[str | Path] = [program, "serve", "--state", self.state, "--socket", self.socket]
        if config is None:
            command += ["--allow-release", RELEASE]
        else:
            file = base / "signerd.toml"
            file.write_text(config)
            file.chmod(0o600)
            command += ["--config", file]
        self._process = subprocess.Popen(
            [os.fspath(part) for part in [*command, *arguments]],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            text=True,
        )
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The front end."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def wait_ready(self) -> "Running":
        """Wait for the ``ready`` line; fails with what was said instead."""
        assert self._ready.wait(START_S), self.said
        assert "ready unix:" in self.said, self.said
        return self

    def children(self) -> dict[str, int]:
        """Pids of the other processes by role: ``sealer``, ``key``, ``document``, ``verify``."""
        found: dict[str, int] = {}
        waiting = [self.pid]
        while waiting:
            parent = waiting.pop()
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{parent}/task").iterdir():
                    for pid in (task / "children").read_text().split():
                        waiting.append(int(pid))
                        line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                        for role, module in MODULES.items():
                            if module.encode() in line:
                                found[role] = int(pid)
        return found

    def child(self, role: str, *, other_than: int | None = None, seconds: float = 10) -> int:
        """Wait for a child of that role (a new one where ``other_than`` says) and return its pid."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid = self.children().get(role)
            if pid is not None and pid != other_than:
                return pid
            time.sleep(0.02)
        raise AssertionError(f"no {role} process: {self.said}")

    def leaves(self) -> list[dict[str, object]]:
        """Read the audit log's columns and leaves, oldest first."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state}/audit.sqlite?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("SELECT * FROM leaves ORDER BY leaf_index")]

    def terminate(self, seconds: float = 30) -> int:
        """Tell it to end, and return its exit status."""
        if self.status is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(seconds)

    def wait_ended(self, seconds: float = 20) -> int:
        """Wait until it has ended by itself, and return its exit status; what it has said is whole then."""
        status = self._process.wait(seconds)
        self._reader.join(5)
        return status

    def kill(self) -> None:
        """SIGKILL to the front end; what it started ends by itself."""
        self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        """Make sure that nothing of it is left."""
        children = self.children()
        if self.status is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.terminate(10)
        if self.status is None:
            self.kill()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in children.values()):
            time.sleep(0.02)
        for pid in children.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reader.join(5)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said += line
            if line.startswith("ready unix:"):
                self._ready.set()
        self._ready.set()


MODULES = {
    "sealer": "signerd.sealer.main",
    "key": "signerd.worker.key",
    "document": "signerd.worker.document",
    "publisher": "signerd.worker.publisher",
    "verify": "signerd.worker.verify",
}


@contextlib.contextmanager
def running(base: Path, **options: object) -> Iterator[Running]:
    """Start a daemon in ``base`` and wait until it serves."""
    started = Running(base, **options)  # type: ignore[arg-type]  # passed through
    try:
        yield started.wait_ready()
    finally:
        started.close()


@pytest.fixture
def daemon_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator["type[Running]"]:
    """Call it with the options of :class:`Running`: each call is a new daemon in a directory of its own."""
    started: list[Running] = []

    def start(base: Path | None = None, **options: object) -> Running:
        made = Running(base or tmp_path_factory.mktemp("daemon"), **options)  # type: ignore[arg-type]  # passed through
        started.append(made)
        return made.wait_ready()

    yield start  # type: ignore[misc]  # called like the class
    for each in started:
        each.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One daemon on embedded defaults for all tests of a module."""
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started
