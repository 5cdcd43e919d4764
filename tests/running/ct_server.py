"""A Certificate Transparency log (RFC 6962) in a process: `python -P ct_server.py PORT KEY ROOTS`.

It takes certificates and precertificates under the roots of a PEM file, answers with SCTs by the P-256 key of the
other, and keeps its tree in memory: once submitted, an entry is in the tree before its SCT is out.
"""

import base64
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

# Run by path, without this folder's name; the tests' folder is where its neighbours are found.
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from running.ct_certificate import POISON, Entry, certificate_entry, precertificate_entry, sct_input
from running.merkle import audit_path, consistency_path, leaf_hash, tree_hash

__all__ = ["Handler", "Log", "main"]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Log:
    """The tree and its key. ValueError for a chain that it does not take."""

    def __init__(self, private: ec.EllipticCurvePrivateKey, roots: Sequence[x509.Certificate]) -> None:
        self._private = private
        self.roots = roots
        digest = Hash(SHA256())
        digest.update(private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        self.id = digest.finalize()
        self._lock = threading.Lock()
        self._known: dict[bytes, dict[str, Any]] = {}
        self._entries: list[tuple[bytes, bytes]] = []  # MerkleTreeLeaf, extra_data
        self._hashes: list[bytes] = []

    def add(self, encoded: Sequence[str], *, precertificate: bool) -> dict[str, Any]:
        """Answer add-chain or add-pre-chain; the same entry again gets the SCT that it got."""
        if not encoded:
            raise ValueError("an empty chain")
        chain = [x509.load_der_x509_certificate(base64.b64decode(each, validate=True)) for each in encoded]
        poisoned = any(each.oid == POISON and each.critical for each in chain[0].extensions)
        if poisoned != precertificate:
            raise ValueError("a precertificate goes to add-pre-chain, and nothing else does")
        path = self._path(chain)
        entry = precertificate_entry(path[0], path[1]) if precertificate else certificate_entry(path[0])
        der = [each.public_bytes(Encoding.DER) for each in path]
        with self._lock:
            if entry.encoded not in self._known:
                self._known[entry.encoded] = self._append(entry, der if precertificate else der[1:], precertificate)
            return self._known[entry.encoded]

    def _append(self, entry: Entry, kept: list[bytes], precertificate: bool) -> dict[str, Any]:
        now = time.time_ns() // 1_000_000
        signature = self._private.sign(sct_input(now, entry), ec.ECDSA(SHA256()))
        leaf = b"\0\0" + now.to_bytes(8) + entry.encoded + b"\0\0"
        if precertificate:  # PrecertChainEntry: the precertificate itself, then its chain
            extra, kept = len(kept[0]).to_bytes(3) + kept[0], kept[1:]
        else:
            extra = b""
        rest = b"".join(len(each).to_bytes(3) + each for each in kept)
        self._entries.append((leaf, extra + len(rest).to_bytes(3) + rest))
        self._hashes.append(leaf_hash(leaf))
        return {
            "sct_version": 0,
            "id": _base64(self.id),
            "timestamp": now,
            "extensions": "",
            "signature": _base64(self._signed(signature)),
        }

    @staticmethod
    def _signed(signature: bytes) -> bytes:
        """DigitallySigned of RFC 5246, 4.7: sha256(4), ecdsa(3)."""
        return b"\4\3" + len(signature).to_bytes(2) + signature

    def _path(self, chain: list[x509.Certificate]) -> list[x509.Certificate]:
        """The chain with a root of ours at its end, each signed by the next."""
        path = list(chain)
        if path[-1] not in self.roots:
            above = [root for root in self.roots if root.subject == path[-1].issuer]
            if not above:
                raise ValueError("no root of this log above the chain")
            path.append(above[0])
        if len(path) < 2:
            raise ValueError("a root alone is not logged")
        for lower, upper in itertools.pairwise(path):
            try:
                lower.verify_directly_issued_by(upper)
            except (InvalidSignature, TypeError) as error:
                raise ValueError("the chain does not verify") from error
        return path

    def head(self) -> dict[str, Any]:
        """The signed tree head, of now (3.5)."""
        with self._lock:
            now, size, root = time.time_ns() // 1_000_000, len(self._hashes), tree_hash(self._hashes)
        signed = b"\0\1" + now.to_bytes(8) + size.to_bytes(8) + root
        signature = self._signed(self._private.sign(signed, ec.ECDSA(SHA256())))
        return {
            "tree_size": size,
            "timestamp": now,
            "sha256_root_hash": _base64(root),
            "tree_head_signature": _base64(signature),
        }

    def consistency(self, first: int, second: int) -> dict[str, Any]:
        """get-sth-consistency (4.4)."""
        path = consistency_path(first, self._of_size(second))
        return {"consistency": [_base64(each) for each in path]}

    def proof(self, wanted: bytes, size: int) -> dict[str, Any]:
        """get-proof-by-hash (4.5)."""
        hashes = self._of_size(size)
        index = hashes.index(wanted)
        return {"leaf_index": index, "audit_path": [_base64(each) for each in audit_path(index, hashes)]}

    def entries(self, start: int, end: int) -> dict[str, Any]:
        """get-entries (4.6)."""
        with self._lock:
            if not 0 <= start <= end or start >= len(self._entries):
                raise ValueError("no such entries")
            found = self._entries[start : end + 1]
        return {
            "entries": [{"leaf_input": _base64(leaf), "extra_data": _base64(extra)} for leaf, extra in found]
        }

    def _of_size(self, size: int) -> list[bytes]:
        with self._lock:
            if not 0 < size <= len(self._hashes):
                raise ValueError("no such tree")
            return self._hashes[:size]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: 40 ms on a connection that is kept
    log: Log

    def do_GET(self) -> None:
        """What is read."""
        target = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(target.query).items()}
        log = self.log
        methods: dict[str, Callable[[], dict[str, Any]]] = {
            "get-roots": lambda: {
                "certificates": [_base64(each.public_bytes(Encoding.DER)) for each in log.roots]
            },
            "get-sth": log.head,
            "get-sth-consistency": lambda: log.consistency(int(asked["first"]), int(asked["second"])),
            "get-proof-by-hash": lambda: log.proof(base64.b64decode(asked["hash"]), int(asked["tree_size"])),
            "get-entries": lambda: log.entries(int(asked["start"]), int(asked["end"])),
        }
        self._serve(methods.get(target.path.removeprefix("/ct/v1/")))

    def do_POST(self) -> None:
        """What is added."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        name = self.path.removeprefix("/ct/v1/")
        if name not in ("add-chain", "add-pre-chain"):
            return self._serve(None)
        precertificate = name == "add-pre-chain"
        return self._serve(lambda: self.log.add(json.loads(body)["chain"], precertificate=precertificate))

    def _serve(self, method: Callable[[], dict[str, Any]] | None) -> None:
        status, document = 404, {"error_message": "not found", "success": False}
        if method is not None:
            try:
                status, document = 200, method()
            except (ValueError, KeyError, TypeError) as error:
                status, document = 400, {"error_message": repr(error), "success": False}
        answer = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def main(port: int, key: Path, roots: Path) -> None:
    """Serve until a signal ends it."""
    private = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    Handler.log = Log(private, x509.load_pem_x509_certificates(roots.read_bytes()))
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
