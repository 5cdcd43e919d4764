"""A Rekor v2 log and a timestamp authority of the tests' own, which tell the truth until a test makes them lie.

The log has a real tree of all that it took, and serves its tiles (C2SP tlog-tiles).
"""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fakes.http_double import Asked, HttpDouble, Reply
from fakes.sigstore import Sigstore, Witnessing, b64, jcs
from running.merkle import audit_path, tree_hash
from signerd.verification.der import INTEGER, OCTET_STRING, SEQUENCE, Reader
from signerd.verification.merkle import leaf_hash, node_hash

__all__ = ["AuthorityDouble", "LogDouble", "nothing"]


def nothing(entry: dict[str, Any]) -> None:
    """No lie."""


class LogDouble:
    """The log. ``lie`` changes an entry before it is sent; ``say`` replaces any answer; ``busy`` posts are told 503;
    ``frozen`` takes nothing; ``blank`` posts are taken and never answered."""

    def __init__(self, folder: Path, others: int = 0) -> None:
        self.stack = Sigstore()
        self.stack.host = "localhost"
        self.leaves: list[bytes] = [b"other %d" % n for n in range(others)]
        self.lie: Callable[[dict[str, Any]], None] = nothing
        self.say: Callable[[Asked], Reply | None] = lambda asked: None
        self.busy = 0
        self.frozen = False
        self.signer: ed25519.Ed25519PrivateKey | None = None
        self.witnesses: tuple[Witnessing, ...] = ()
        self._lock = threading.Lock()
        self.public_key = folder / "log.pub"
        key = self.stack.rekor2.public_key()
        self.public_key.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        self.server = HttpDouble(self._answer)

    @property
    def url(self) -> str:
        return self.server.url

    def settings(self, **more: object) -> dict[str, object]:
        """Settings of the plugin for this log."""
        return {"shards": [{"url": self.url, "public_key": str(self.public_key)}], "deadline_s": 5.0, **more}

    @property
    def posts(self) -> int:
        return sum(asked.method == "POST" for asked in self.server.asked)

    def _answer(self, asked: Asked) -> Reply:
        said = self.say(asked)
        if said is not None:
            return said
        with self._lock:
            if asked.method == "POST":
                return self._post(json.loads(asked.body))
            return self._get(asked.path.removeprefix("/api/v2/"))

    def _post(self, request: dict[str, Any]) -> Reply:
        if self.busy:
            self.busy -= 1
            return Reply(503, b"busy")
        if self.frozen:
            return Reply(405, b"this log is read-only")
        given = request["hashedRekordRequestV002"]
        body = jcs(
            {
                "apiVersion": "0.0.2",
                "kind": "hashedrekord",
                "spec": {
                    "hashedRekordV002": {
                        "data": {"algorithm": "SHA2_256", "digest": given["digest"]},
                        "signature": given["signature"],
                    }
                },
            }
        )
        if body in self.leaves:
            index = self.leaves.index(body)
            said = f"an equivalent entry already exists in the transparency log with index {index}"
            told = {"code": 6, "message": said}
            return Reply(409, json.dumps(told).encode(), {"X-Log-Index": str(index)})
        self.leaves.append(body)
        entry = self._entry(len(self.leaves) - 1)
        self.lie(entry)
        return Reply(201, json.dumps(entry).encode())

    def _entry(self, index: int) -> dict[str, Any]:
        hashes = [leaf_hash(leaf) for leaf in self.leaves]
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(self.stack.rekor2_id)},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "integratedTime": "0",
            "inclusionPromise": None,
            "inclusionProof": {
                "logIndex": str(index),
                "rootHash": b64(tree_hash(hashes)),
                "treeSize": str(len(hashes)),
                "hashes": [b64(node) for node in audit_path(index, hashes)],
                "checkpoint": {"envelope": self.checkpoint()},
            },
            "canonicalizedBody": b64(self.leaves[index]),
        }

    def checkpoint(self) -> str:
        hashes = [leaf_hash(leaf) for leaf in self.leaves]
        return self.stack.checkpoint(len(hashes), tree_hash(hashes), key=self.signer, witnesses=self.witnesses)

    def _get(self, path: str) -> Reply:
        if path == "checkpoint":
            return Reply(200, self.checkpoint().encode())
        parts = path.split("/")
        if parts[0] != "tile":
            return Reply(404)
        if parts[1] == "entries":
            row = [len(leaf).to_bytes(2) + leaf for leaf in self.leaves]
            return _tile(parts, row)
        row = [leaf_hash(leaf) for leaf in self.leaves]
        for _ in range(8 * int(parts[1])):
            row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        return _tile(parts, row)


def _tile(parts: list[str], row: list[bytes]) -> Reply:
    """A tile of ``row`` by its path, whole or partial."""
    partial = parts[-1].isdecimal() and parts[-2].endswith(".p")
    groups = [*parts[2:-2], parts[-2].removesuffix(".p")] if partial else parts[2:]
    number = int("".join(group.removeprefix("x") for group in groups))
    tile = row[number * 256 : number * 256 + 256]
    width = int(parts[-1]) if partial else 256
    return Reply(200, b"".join(tile[:width])) if len(tile) >= width else Reply(404)


class AuthorityDouble:
    """The authority. ``lie`` replaces what it stamps with; ``say`` replaces any answer."""

    def __init__(self, folder: Path) -> None:
        self.stack = Sigstore()
        now = datetime.now(UTC)
        self.stack.tsa = self.stack.tsa_leaf(start=now - timedelta(days=1), end=now + timedelta(days=1))
        self.lie: dict[str, Any] = {}
        self.say: Callable[[Asked], Reply | None] = lambda asked: None
        self.chain = folder / "chain.pem"
        self.chain.write_bytes(
            b"".join(
                one.public_bytes(Encoding.PEM) for one in (self.stack.tsa, self.stack.tsa_root.certificate)
            )
        )
        self.server = HttpDouble(self._answer)

    def settings(self, **more: object) -> dict[str, object]:
        """Settings of the plugin for this authority."""
        return {"url": f"{self.server.url}/stamp", "chain": str(self.chain), "deadline_s": 5.0, **more}

    def _answer(self, asked: Asked) -> Reply:
        said = self.say(asked)
        if said is not None:
            return said
        request = Reader(asked.body).inside(SEQUENCE)
        request.take(INTEGER)
        imprinted = request.inside(SEQUENCE)
        imprinted.take(SEQUENCE)
        told = {
            "imprint": imprinted.take(OCTET_STRING).content,
            "nonce": request.take(INTEGER).whole,
            "at": datetime.now(UTC),
            "embed": True,
            **self.lie,
        }
        return Reply(200, self.stack.stamp(b"", **told), {"Content-Type": "application/timestamp-reply"})
