"""A small transparency log that is real: a Merkle tree (RFC 6962, section 2.1) in memory, under signed checkpoints.

:class:`LogServer` is the log, :class:`SmallLog` the plugin that asks it, and :func:`prove` checks an entry by the
definition alone.
"""

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterator

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from signerd.errors import Fault

__all__ = ["LIES", "LogServer", "SmallLog", "prove"]

LIES = ("other_leaf", "other_proof", "other_key", "no_proof", "other_root", "garbage")
"""Ways in which the server lies while it is told to."""


class LogServer:
    def __init__(self) -> None:
        self.key = ed25519.Ed25519PrivateKey.generate()
        self.leaves: list[bytes] = []
        self.down = False
        self.lie = ""

    def add(self, leaf: bytes) -> bytes:
        """Append, and answer with an entry: the leaf, its index, the proof, the signed size and root."""
        if self.down:
            raise ConnectionRefusedError
        self.leaves.append(leaf)
        hashes = [_leaf(one) for one in self.leaves]
        index = len(self.leaves) - 1
        root = _root(hashes)
        key = ed25519.Ed25519PrivateKey.generate() if self.lie == "other_key" else self.key
        signed = key.sign(_checkpoint(len(hashes), root))
        proof = [] if self.lie == "no_proof" else _path(index, hashes)
        if self.lie == "other_proof":
            proof = [*proof, bytes(32)]
        if self.lie == "other_root":
            root = bytes(32)
        if self.lie == "garbage":
            return b"\xc1 no entry"
        entry = {
            "leaf": _text(b"another leaf" if self.lie == "other_leaf" else leaf),
            "index": index,
            "size": len(hashes),
            "proof": [_text(one) for one in proof],
            "root": _text(root),
            "checkpoint": _text(signed),
        }
        return json.dumps(entry).encode()

    @contextlib.contextmanager
    def lying(self, lie: str) -> Iterator[None]:
        """Lie in that way meanwhile."""
        self.add(b"so that a proof is not empty")
        self.lie = lie
        try:
            yield
        finally:
            self.lie = ""

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Be out of reach meanwhile."""
        self.down = True
        try:
            yield
        finally:
            self.down = False


class SmallLog:
    """``flaw``: none, or what it does wrong."""

    kind = "log"

    def __init__(self, server: LogServer, flaw: str = "none") -> None:
        self.server = server
        self.flaw = flaw
        self.seen: dict[bytes, bytes] = {}
        self.first: bytes | None = None

    def submit(self, payload_digest: bytes, signature: bytes, verifier: bytes) -> object:
        leaf = leaf_of(payload_digest, signature, verifier)
        if self.flaw == "refuses_again":
            if leaf in self.seen:
                raise Fault("transparency.unavailable", "conflict", "no")
            self.seen[leaf] = b""
        try:
            entry = self.server.add(b"its own" if self.flaw == "own_leaf" else leaf)
        except ConnectionRefusedError as exc:
            if self.flaw == "foreign":
                raise
            if self.flaw == "promises":
                return b"later"
            code = "internal" if self.flaw == "other_code" else "transparency.unavailable"
            raise Fault(code, "log_down", "no") from exc
        if self.flaw == "always_the_first":
            self.first = self.first or entry
            return self.first
        if self.flaw not in ("unchecked", "own_leaf"):
            self._check(entry, leaf)
        return "text" if self.flaw == "text" else b"" if self.flaw == "empty" else entry

    def _check(self, entry: bytes, leaf: bytes) -> None:
        try:
            _proven(self.server, entry, leaf, signed=self.flaw != "takes_any_key")
        except (ValueError, KeyError, InvalidSignature) as exc:
            raise Fault("transparency.unavailable", "not_proven", "no") from exc


def leaf_of(payload_digest: bytes, signature: bytes, verifier: bytes) -> bytes:
    """Return what the log keeps of a submission."""
    return json.dumps([_text(payload_digest), _text(signature), _text(verifier)]).encode()


def prove(server: LogServer, entry: bytes, payload_digest: bytes, signature: bytes, verifier: bytes) -> None:
    """Raise unless the entry is that leaf, and in the tree that the log has signed, which the test can see whole."""
    leaf = leaf_of(payload_digest, signature, verifier)
    _proven(server, entry, leaf, signed=True)
    found = json.loads(entry)
    hashes = [_leaf(one) for one in server.leaves[: found["size"]]]
    assert base64.b64decode(found["root"]) == _root(hashes)
    assert server.leaves[found["index"]] == leaf


def _proven(server: LogServer, entry: bytes, leaf: bytes, *, signed: bool) -> None:
    """RFC 9162, section 2.1.3.2, and the signature of the checkpoint."""
    found = json.loads(entry)
    if base64.b64decode(found["leaf"]) != leaf:
        raise ValueError("another leaf")
    at, last, node = found["index"], found["size"] - 1, _leaf(leaf)
    for other in map(base64.b64decode, found["proof"]):
        if last == 0:
            raise ValueError("a proof too long")
        if at & 1 or at == last:
            node = _node(other, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = _node(node, other)
        at, last = at >> 1, last >> 1
    root = base64.b64decode(found["root"])
    if last or node != root:
        raise ValueError("no proof")
    if signed:
        server.key.public_key().verify(base64.b64decode(found["checkpoint"]), _checkpoint(found["size"], root))


def _root(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return _node(_root(hashes[:half]), _root(hashes[half:]))


def _path(index: int, hashes: list[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    half = 1 << (len(hashes) - 1).bit_length() - 1
    if index < half:
        return [*_path(index, hashes[:half]), _root(hashes[half:])]
    return [*_path(index - half, hashes[half:]), _root(hashes[:half])]


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _checkpoint(size: int, root: bytes) -> bytes:
    return f"small log\n{size}\n{_text(root)}\n".encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
