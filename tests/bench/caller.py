"""A blocking caller written from the protocol document alone, with descriptors and its own verification.

The verification uses none of signerd's code, so that the benchmark does not take the daemon's word for it.
"""

import base64
import json
import os
import socket
import struct
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
from itertools import count
from pathlib import Path
from typing import Any, Self

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from bench.templates import frame, hello

__all__ = ["CallFailed", "Caller", "sealed_memfd", "verify_bundle"]

_SEALS = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK


class CallFailed(Exception):
    """The daemon answered with an error, or not at all."""


class Caller:
    """One connection, one request at a time; `patience_s` bounds each wait."""

    def __init__(self, path: Path, patience_s: float = 120.0) -> None:
        self._ids = count(1)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience_s)
        self._socket.connect(str(path))

    def __enter__(self) -> Self:
        self._socket.sendall(hello())
        if self._receive()[0].get("type") != "hello":
            raise CallFailed("the first answer is no hello")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(
        self, method: str, params: dict[str, object], descriptors: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        """The result of one request, every `{fd, size}` in it read in; CallFailed for an error."""
        request = frame({"type": "request", "id": next(self._ids), "method": method, "params": params})
        sent = socket.send_fds(self._socket, [request], list(descriptors))
        self._socket.sendall(request[sent:])
        answer, received = self._receive()
        try:
            if answer["type"] != "response":
                raise CallFailed(
                    f"{method}: {answer.get('code')}: {answer.get('message')} {answer.get('details')}"
                )
            result: dict[str, Any] = _read_in(answer["result"], received)
            return result
        finally:
            for descriptor in received:
                os.close(descriptor)

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        data, descriptors = b"", []
        wanted = 4
        while len(data) < wanted:
            part, received, _, _ = socket.recv_fds(self._socket, wanted - len(data), 16)
            if not part:
                raise CallFailed("the daemon closed the connection")
            data += part
            descriptors += received
            if len(data) == 4:
                wanted += int(struct.unpack(">I", data)[0])
        return msgspec.msgpack.decode(data[4:]), descriptors


def _read_in(value: Any, descriptors: list[int]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"fd", "size"}:
            return os.pread(descriptors[value["fd"]], value["size"], 0)
        return {key: _read_in(inner, descriptors) for key, inner in value.items()}
    return [_read_in(inner, descriptors) for inner in value] if isinstance(value, list) else value


def sealed_memfd(content: bytes) -> int:
    """A memfd with `content`, sealed against write, grow and shrink, as a predicate by descriptor must be."""
    descriptor = os.memfd_create("document", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    fcntl(descriptor, F_ADD_SEALS, _SEALS)
    return descriptor


def verify_bundle(bundle: bytes, spki: bytes) -> None:
    """The one signature of a Sigstore bundle over its DSSE PAE, under an ECDSA key; raises where it fails."""
    envelope = json.loads(bundle)["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    kind = envelope["payloadType"].encode()
    pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    (signature,) = envelope["signatures"]
    key = load_der_public_key(spki)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CallFailed("the key is no ECDSA key")
    key.verify(base64.b64decode(signature["sig"], validate=True), pae, ec.ECDSA(hashes.SHA256()))
