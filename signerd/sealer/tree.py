"""The Merkle tree of the audit log (RFC 6962, section 2.1): its growth, roots and proofs, all pure.

The hashes, and the check of a proof, are those of ``signerd.verification.merkle``.
"""

from collections.abc import Sequence

from signerd.verification.merkle import EMPTY_ROOT, leaf_hash, node_hash, verify_consistency, verify_inclusion

__all__ = [
    "EMPTY_ROOT",
    "Frontier",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "tree_root",
    "verify_consistency",
    "verify_inclusion",
]


class Frontier:
    """The tree as far as appending needs it: the roots of its perfect subtrees, largest first.

    Holds at most one hash per bit of its size, whatever the number of leaves.
    """

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Go on from ``size`` leaves with their ``peaks``; ValueError where the two do not fit together."""
        if len(peaks) != size.bit_count() or any(len(peak) != 32 for peak in peaks):
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} peaks of 32 bytes")
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, largest first: with ``size``, all there is to keep."""
        return tuple(self._peaks)

    def append(self, hashed: bytes) -> int:
        """Add a leaf by its leaf hash and return its index."""
        index = self.size
        # Each trailing 1 bit of the old size is a perfect subtree as large as the one being completed: merge
        # them.
        carry = index
        while carry & 1:
            hashed = node_hash(self._peaks.pop(), hashed)
            carry >>= 1
        self._peaks.append(hashed)
        self.size = index + 1
        return index

    def root(self) -> bytes:
        """Return the tree head's root hash."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over these leaf hashes."""
    frontier = Frontier()
    for hashed in hashes:
        frontier.append(hashed)
    return frontier.root()


def _split(size: int) -> int:
    """Return the largest power of two below ``size`` (RFC 6962's k); ``size`` is at least 2."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of leaf ``index`` in the tree of all ``hashes``, from the leaf up (section
    2.1.1).
    """
    if not 0 <= index < len(hashes):
        raise ValueError(f"no leaf {index} among {len(hashes)}")
    path: list[bytes] = []
    start, end = 0, len(hashes)
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(tree_root(hashes[middle:end]))
            end = middle
        else:
            path.append(tree_root(hashes[start:middle]))
            start = middle
    path.reverse()
    return path


def consistency_proof(hashes: Sequence[bytes], first: int) -> list[bytes]:
    """Return the proof that the tree of the ``first`` leaves is a prefix of that of all (section 2.1.2).

    Empty for ``first`` equal to all; ValueError for 0 or more than all.
    """
    if not 0 < first <= len(hashes):
        raise ValueError(f"no tree of {first} leaves within one of {len(hashes)}")
    proof: list[bytes] = []
    start, end, whole = 0, len(hashes), True
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            proof.append(tree_root(hashes[middle:end]))
            end = middle
        else:
            proof.append(tree_root(hashes[start:middle]))
            start = middle
            whole = False
    # What is left is the old tree's last perfect subtree. The verifier knows it already when it is the whole
    # old tree.
    if not whole:
        proof.append(tree_root(hashes[start:end]))
    proof.reverse()
    return proof
