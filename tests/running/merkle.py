"""The Merkle tree of RFC 6962 (2.1), written from its definitions, as recursion and not as the product does it."""

import hashlib
from collections.abc import Sequence

__all__ = ["audit_path", "consistency_path", "leaf_hash", "root_from_path", "tree_hash"]


def leaf_hash(data: bytes) -> bytes:
    """MTH of one entry."""
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two less than ``size``."""
    return 1 << (size - 1).bit_length() - 1


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """MTH over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    at = _split(len(leaves))
    return _node(tree_hash(leaves[:at]), tree_hash(leaves[at:]))


def audit_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]) of 2.1.1."""
    if len(leaves) <= 1:
        return []
    at = _split(len(leaves))
    if index < at:
        return [*audit_path(index, leaves[:at]), tree_hash(leaves[at:])]
    return [*audit_path(index - at, leaves[at:]), tree_hash(leaves[:at])]


def consistency_path(first: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n]) of 2.1.2."""
    return _subproof(first, leaves, known=True) if 0 < first < len(leaves) else []


def _subproof(first: int, leaves: Sequence[bytes], *, known: bool) -> list[bytes]:
    if first == len(leaves):
        return [] if known else [tree_hash(leaves)]
    at = _split(len(leaves))
    if first <= at:
        return [*_subproof(first, leaves[:at], known=known), tree_hash(leaves[at:])]
    return [*_subproof(first - at, leaves[at:], known=False), tree_hash(leaves[:at])]


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that a leaf hash and its audit path lead to; ValueError for a path of another length."""
    if not 0 <= index < size:
        raise ValueError("no such leaf")
    if size == 1:
        if path:
            raise ValueError("the path is too long")
        return leaf
    if not path:
        raise ValueError("the path is too short")
    at = _split(size)
    if index < at:
        return _node(root_from_path(leaf, index, at, path[:-1]), path[-1])
    return _node(path[-1], root_from_path(leaf, index - at, size - at, path[:-1]))
