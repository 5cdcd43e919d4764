"""The two peers of the benchmark, each with sockets, keys and state of its own, ended by its pid."""

import base64
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

from bench.load import PartMissing
from bench.templates import Template, agent_sign, sign_dsse

__all__ = ["RELEASE", "Agent", "Daemon", "Peer", "PeerFailed"]

RELEASE = f"sha256:{'5e' * 32}"
"""The digest of a tool that the daemon is told to accept; `asserted`: the caller alone says so."""

_PATIENCE_S = 20.0


class PeerFailed(Exception):
    """A peer that should run here did not start; the text says what it said."""


class Peer(Protocol):
    """What the benchmark needs of a peer."""

    name: str
    socket: Path
    pid: int

    def template(self, size: int) -> Template:
        """A request that signs `size` bytes."""


class Agent:
    """ssh-agent with one ECDSA P-256 key, on a socket in `directory`."""

    name = "ssh-agent"

    def __init__(self, directory: Path) -> None:
        """Start it and load the key; PartMissing without the OpenSSH client."""
        tools = {tool: shutil.which(tool) for tool in ("ssh-agent", "ssh-keygen", "ssh-add")}
        if missing := [tool for tool, path in tools.items() if path is None]:
            raise PartMissing(f"no {', '.join(missing)}: apt-get install openssh-client")
        self.socket = directory / "agent.sock"
        key = directory / "agent-key"
        keygen = ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "256", "-N", "", "-f", str(key)]
        subprocess.run(keygen, check=True)
        self._process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(self.socket)], stdout=subprocess.DEVNULL
        )
        self.pid = self._process.pid
        _wait_for(self.socket.exists, self._process, "ssh-agent")
        environment = os.environ | {"SSH_AUTH_SOCK": str(self.socket)}
        subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=True)
        self._blob = base64.b64decode(key.with_suffix(".pub").read_text().split()[1])

    def template(self, size: int) -> Template:
        """SSH2_AGENTC_SIGN_REQUEST over `size` bytes."""
        return agent_sign(self._blob, size)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(_PATIENCE_S)


class Daemon:
    """`signerd serve` with the whole gate on and a state directory of its own.

    On embedded defaults, with one ES256 key, or by the text of a configuration file.
    """

    name = "signerd"

    def __init__(self, directory: Path, config: str | None = None) -> None:
        """Start it and wait for its `ready` line; PeerFailed where it does not come, with what it said."""
        self.socket = directory / "sign.sock"
        program = Path(sys.executable).with_name("signerd")
        if not program.exists():
            raise PeerFailed("signerd is not installed beside this Python: run scripts/setup")
        command = [str(program), "serve", "--state", str(directory / "state"), "--socket", str(self.socket)]
        if config is None:
            command += ["--allow-release", RELEASE]
        else:
            (directory / "signerd.toml").write_text(config)
            command += ["--config", str(directory / "signerd.toml")]
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        self._said: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            _wait_for(self._ready.is_set, self._process, "signerd")
        except PeerFailed as missing:
            self._process.kill()
            self._process.wait(_PATIENCE_S)
            self._reader.join(_PATIENCE_S)
            raise PeerFailed(f"{missing}: {' | '.join(self._said[-4:])}") from None

    def template(self, size: int) -> Template:
        """`sign.dsse` of a Statement of `size` bytes."""
        return sign_dsse(size, RELEASE)

    def said(self) -> list[str]:
        """What it wrote on stderr so far, a line each."""
        return list(self._said)

    def stop(self) -> None:
        """SIGTERM, the drain, and only past all patience SIGKILL."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_PATIENCE_S)

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.rstrip())
            if line.startswith("ready unix:"):
                self._ready.set()


class _Condition(Protocol):
    def __call__(self) -> bool: ...


def _wait_for(
    condition: _Condition, process: subprocess.Popen[str] | subprocess.Popen[bytes], name: str
) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        if process.poll() is not None:
            raise PeerFailed(f"{name} ended at start with {process.returncode}")
        if time.monotonic() > end:
            raise PeerFailed(f"{name} was not ready in {_PATIENCE_S:.0f} s")
        time.sleep(0.002)
