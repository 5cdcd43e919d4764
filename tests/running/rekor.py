"""The real Rekor v2 (rekor-tiles over POSIX files)."""

import base64
import contextlib
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from outside.parts import the
from running.server import Plan, Server, serving

__all__ = ["ORIGIN", "Rekor", "rekor_server"]

ORIGIN = "localhost"
"""The name in its checkpoints: clients compare it with the host in the trusted root's URL, without the port."""


@dataclass(frozen=True, slots=True)
class Rekor:
    """The running log: ``url`` takes entries and serves tiles; ``server`` is Rekor, ``front`` what stands before it."""

    server: Server
    front: Server
    private: ed25519.Ed25519PrivateKey
    public_key: Path
    storage: Path

    @property
    def url(self) -> str:
        """The base of its API, by the name that is its origin: POST /api/v2/log/entries, GET /api/v2/checkpoint."""
        return f"http://{ORIGIN}:{self.front.ports[0]}"

    @property
    def origin(self) -> str:
        """The first line of its checkpoints."""
        return ORIGIN

    @property
    def raw_public_key(self) -> bytes:
        """The 32 bytes of its Ed25519 key."""
        return self.private.public_key().public_bytes_raw()

    @property
    def log_id(self) -> bytes:
        """SHA-256(origin, LF, 0x01, key), whose first four bytes are the hint in its signature lines (signed note)."""
        return hashlib.sha256(ORIGIN.encode() + b"\n\x01" + self.raw_public_key).digest()

    @property
    def verifier_key(self) -> str:
        """The key as a witness or a note verifier is given it: ``name+hint+base64(0x01, key)``."""
        told = base64.b64encode(b"\x01" + self.raw_public_key).decode()
        return f"{ORIGIN}+{self.log_id[:4].hex()}+{told}"


@contextlib.contextmanager
def rekor_server(folder: Path, *, extra: Sequence[str | Path] = ()) -> Iterator[Rekor]:
    """Start a log with a key and an empty tree of its own; a checkpoint comes each second, the least there is.

    ``extra`` are further flags (``--witness-policy-path``). Rekor has no read endpoints: a front in another process
    serves its files as a deployment would, and hands the rest on.
    """
    storage = folder / "storage"
    storage.mkdir(parents=True)
    private = ed25519.Ed25519PrivateKey.generate()
    key, public_key = folder / "rekor.key", folder / "rekor.pub"
    key.touch(0o600)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public_key.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def plan(ports: list[int]) -> Plan:
        port, grpc, metrics = map(str, ports)
        command: list[str | Path] = [the("rekor"), "serve", "--http-address", "127.0.0.1", "--http-port", port]
        command += ["--grpc-address", "127.0.0.1", "--grpc-port", grpc, "--http-metrics-port", metrics]
        command += ["--hostname", ORIGIN, "--storage-dir", storage, "--signer-filepath", key]
        command += ["--checkpoint-interval", "1s", "--batch-max-age", "100ms", "--persistent-antispam", *extra]
        return Plan(command, f"http://127.0.0.1:{port}/healthz")

    with serving("rekor", folder, plan, ports=3) as server:
        program = Path(__file__).with_name("rekor_front.py")

        def front_plan(ports: list[int]) -> Plan:
            arguments: list[str | Path] = [str(ports[0]), str(server.ports[0]), storage]
            return Plan([sys.executable, "-P", program, *arguments], f"http://127.0.0.1:{ports[0]}/front")

        with serving("rekor-front", folder, front_plan) as front:
            yield Rekor(server, front, private, public_key, storage)
