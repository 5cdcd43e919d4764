"""A client written from docs/protocol.md alone: sockets, msgpack, cryptography, and nothing of signerd.

It sends keys that no version knows wherever the page says that they are ignored, and writes frames in pieces.
"""

import array
import base64
import contextlib
import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

__all__ = [
    "ARTEFACT",
    "GREASE",
    "SBOM",
    "SBOM_TYPE",
    "Client",
    "Connect",
    "Daemon",
    "canonical",
    "ended",
    "frame",
    "memfd",
    "verified",
]

ARTEFACT = hashlib.sha256(b"the artefact").hexdigest()
SBOM = b'{"bomFormat":"CycloneDX","specVersion":"1.6","version":1}'
SBOM_TYPE = "https://cyclonedx.org/bom"
GREASE = {"grease": {"nested": [None, 1.5, b"\x00"]}}
SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE


class Daemon(Protocol):
    """A running daemon: where it listens, and the digest of a release that it trusts."""

    socket: Path
    release: str


class Client:
    """One connection. `call` asks and waits; `put` and `take` do either half."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self.buffer = b""
        self.descriptors: list[int] = []
        self.last_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()
        for descriptor in self.descriptors:
            os.close(descriptor)

    def put(self, message: dict[str, Any], descriptors: Sequence[int] = (), piece: int = 1 << 30) -> None:
        whole = frame(message)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sent = self.socket.sendmsg([whole[:piece]], ancillary)
        for start in range(sent, len(whole), piece):
            self.socket.sendall(whole[start : start + piece])

    def take(self) -> dict[str, Any] | None:
        """The next message, or None where the daemon has closed."""
        while len(self.buffer) < 4 or len(self.buffer) < 4 + int.from_bytes(self.buffer[:4], "big"):
            try:
                data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 16, 253)
            except ConnectionResetError:
                return None
            self.descriptors += descriptors
            if not data:
                return None
            self.buffer += data
        end = 4 + int.from_bytes(self.buffer[:4], "big")
        body, self.buffer = self.buffer[4:end], self.buffer[end:]
        message: dict[str, Any] = msgpack.unpackb(body)
        return message

    def greet(self, versions: Sequence[int] = (1,), **more: Any) -> dict[str, Any] | None:
        self.put({"type": "hello", "versions": list(versions), "software": "from-the-page/1", **more, **GREASE})
        return self.take()

    def ask(self, method: str, params: Any, descriptors: Sequence[int] = (), **more: Any) -> int:
        self.last_id += 1
        self.put(
            {"type": "request", "id": self.last_id, "method": method, "params": params, **more, **GREASE},
            descriptors,
        )
        return self.last_id

    def call(self, method: str, params: Any, descriptors: Sequence[int] = (), **more: Any) -> dict[str, Any]:
        request_id = self.ask(method, params, descriptors, **more)
        answer = self.take()
        assert answer is not None, "the daemon closed the connection"
        assert answer["id"] == request_id
        return answer

    def result(self, method: str, params: Any, descriptors: Sequence[int] = (), **more: Any) -> dict[str, Any]:
        answer = self.call(method, params, descriptors, **more)
        assert answer["type"] == "response", answer
        result: dict[str, Any] = answer["result"]
        return result

    def error(self, method: str, params: Any, descriptors: Sequence[int] = (), **more: Any) -> dict[str, Any]:
        answer = self.call(method, params, descriptors, **more)
        assert answer["type"] == "error", answer
        assert answer["details"]["reason"].replace("_", "").isalnum()
        return answer


def frame(message: dict[str, Any]) -> bytes:
    body: bytes = msgpack.packb(message)
    return len(body).to_bytes(4, "big") + body


Connect = Callable[[], Client]


@pytest.fixture
def connect(daemon: Daemon) -> Iterator[Connect]:
    """Makes connections that have not said hello yet; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def made() -> Client:
            client = Client(daemon.socket)
            stack.callback(client.close)
            return client

        yield made


@pytest.fixture
def client(connect: Connect) -> Client:
    client = connect()
    hello = client.greet()
    assert hello is not None
    assert hello["type"] == "hello"
    assert hello["version"] == 1
    return client


@pytest.fixture
def sbom(daemon: Daemon) -> dict[str, Any]:
    """The params of a small statement that the daemon signs."""
    return {
        "subject": [{"name": "artefact", "digest": {"sha256": ARTEFACT}}],
        "predicate_type": SBOM_TYPE,
        "predicate": SBOM,
        "scanner_image_digest": daemon.release,
    }


def memfd(content: bytes, *, sealed: bool = True) -> int:
    descriptor = os.memfd_create("document", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    assert os.write(descriptor, content) == len(content)
    if sealed:
        fcntl.fcntl(descriptor, 1033, SEALS)  # F_ADD_SEALS
    return descriptor


def canonical(value: Any) -> bytes:
    """RFC 8785 of what these tests look at: ASCII keys, integers, no floats."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def verified(bundle_bytes: bytes, spki: bytes) -> dict[str, Any]:
    """The Statement of a bundle that the ES256 key `spki` signed; InvalidSignature where it did not."""
    bundle = json.loads(bundle_bytes)
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    assert hint == base64.b64encode(hashlib.sha256(spki).digest()).decode()
    envelope = bundle["dsseEnvelope"]
    (signature,) = envelope["signatures"]
    assert set(signature) == {"sig"}
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    assert kind == b"application/vnd.in-toto+json"
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    key = load_der_public_key(spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(base64.b64decode(signature["sig"]), signed, ec.ECDSA(SHA256()))
    statement: dict[str, Any] = json.loads(payload)
    return statement


def ended(client: Client) -> dict[str, Any]:
    """The last word of a daemon that then closes; others are served on."""
    last = client.take()
    assert last is not None
    assert last["type"] == "error"
    assert "id" not in last
    assert client.take() is None
    return last
