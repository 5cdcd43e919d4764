"""The real timestamp server (RFC 3161), with a certificate of its own.

Its metrics listen on port 2112 of every address, which no flag changes, so that a machine bears one alone: a second
one exits 1. Here each runs in a network of its own where the kernel lets us make one, and directly elsewhere.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from outside.parts import the
from running.authority import Authority, timestamp_authority
from running.server import Plan, Server, dying_with_us, serving

__all__ = ["TimestampServer", "timestamp_server"]


@dataclass(frozen=True, slots=True)
class TimestampServer:
    """The running server; ``authority`` holds its chain and its key."""

    server: Server
    authority: Authority

    @property
    def url(self) -> str:
        """Its address as a signing config holds it: the path is part of it."""
        return f"{self.base}/api/v1/timestamp"

    @property
    def base(self) -> str:
        """Its address without a path."""
        return f"http://127.0.0.1:{self.server.ports[0]}"


@contextlib.contextmanager
def timestamp_server(folder: Path) -> Iterator[TimestampServer]:
    """Start a timestamp server whose chain is a leaf and its root."""
    authority = timestamp_authority(folder)

    def plan(ports: list[int]) -> Plan:
        port = str(ports[0])
        command: list[str | Path] = [the("timestamp-server"), "serve", "--host", "127.0.0.1", "--port", port]
        command += ["--timestamp-signer", "file", "--file-signer-key-path", authority.key]
        command += ["--file-signer-passwd", authority.password, "--certificate-chain-path", authority.chain]
        command += ["--disable-ntp-monitoring"]
        alone: list[str | Path] = [sys.executable, "-P", Path(__file__).with_name("alone.py"), port, *dying_with_us()]
        return Plan([*alone, *command], f"http://127.0.0.1:{port}/ping")

    with serving("timestamp-server", folder, plan) as server:
        yield TimestampServer(server, authority)
