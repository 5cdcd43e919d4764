"""The CT log of the tests: its process and its key."""

import contextlib
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from running.server import Plan, Server, serving

__all__ = ["CtLog", "ct_log"]


@dataclass(frozen=True, slots=True)
class CtLog:
    """The running log. ``public_key`` is a PEM file; ``private`` is for tests that issue SCTs which it would not."""

    server: Server
    private: ec.EllipticCurvePrivateKey
    public_key: Path

    @property
    def url(self) -> str:
        """The base of its API: POST /ct/v1/add-pre-chain."""
        return f"http://127.0.0.1:{self.server.ports[0]}"

    @property
    def spki(self) -> bytes:
        """Its public key, DER."""
        return self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def log_id(self) -> bytes:
        """SHA-256 over its public key (RFC 6962, 3.2)."""
        return hashlib.sha256(self.spki).digest()


@contextlib.contextmanager
def ct_log(folder: Path, roots: Sequence[x509.Certificate]) -> Iterator[CtLog]:
    """Start a log, with a key of its own, for certificates under these roots."""
    folder.mkdir(parents=True, exist_ok=True)
    private = ec.generate_private_key(ec.SECP256R1())
    key, public_key, accepted = folder / "ct.key", folder / "ct.pub", folder / "roots.pem"
    key.touch(0o600)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public_key.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    accepted.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in roots))
    program = Path(__file__).with_name("ct_server.py")

    def plan(ports: list[int]) -> Plan:
        return Plan(
            [sys.executable, "-P", program, str(ports[0]), key, accepted],
            f"http://127.0.0.1:{ports[0]}/ct/v1/get-roots",
        )

    with serving("ct-log", folder, plan) as server:
        yield CtLog(server, private, public_key)
