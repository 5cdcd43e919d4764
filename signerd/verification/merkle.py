"""Merkle trees from the verifier's side (RFC 6962, section 2.1): hashes, and what a proof proves; all pure.

A leaf hashes with a 0x00 in front and an inner node with a 0x01, so that no node can pass as a leaf. Hashes
are 32 raw bytes; sizes count leaves; indices start at 0.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from signerd.errors import Refusal

__all__ = ["EMPTY_ROOT", "leaf_hash", "node_hash", "verify_consistency", "verify_inclusion"]

EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of no leaves at all (RFC 6962, section 2.1)."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of one leaf's bytes: SHA-256(0x00 || leaf)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def _failed(reason: str, public: str) -> Refusal:
    return Refusal("verification.failed", reason, public)


def verify_inclusion(hashed: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Refuse (``verification.failed``, ``inclusion_proof``) unless the leaf hash is leaf ``index`` under
    ``root``.

    RFC 9162, section 2.1.3.2, on the hashes of RFC 6962; any length of proof but the exact one is refused.
    """
    wrong = _failed("inclusion_proof", "the inclusion proof does not lead to the root")
    if not 0 <= index < size:
        raise wrong
    node, last = index, size - 1
    for step in proof:
        if last == 0:
            raise wrong
        if node & 1 or node == last:
            hashed = node_hash(step, hashed)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            hashed = node_hash(hashed, step)
        node >>= 1
        last >>= 1
    if last or hashed != root:
        raise wrong


def verify_consistency(
    first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Refuse (``verification.failed``, ``consistency_proof``) unless the first tree is a prefix of the
    second.

    RFC 9162, section 2.1.4.2. An empty first tree is a prefix of every tree, with an empty proof.
    """
    wrong = _failed("consistency_proof", "the consistency proof does not join the two roots")
    if not 0 <= first <= second:
        raise wrong
    if first in {0, second}:
        if proof or first_root != (second_root if first else EMPTY_ROOT):
            raise wrong
        return
    # A perfect old tree is a node of the new one, so its root starts the path without being sent.
    path = list(proof) if first & (first - 1) else [first_root, *proof]
    if not path:
        raise wrong
    node, last = first - 1, second - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = path[0]
    for step in path[1:]:
        if last == 0:
            raise wrong
        if node & 1 or node == last:
            old = node_hash(step, old)
            new = node_hash(step, new)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new = node_hash(new, step)
        node >>= 1
        last >>= 1
    if last or old != first_root or new != second_root:
        raise wrong
