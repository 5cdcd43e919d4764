"""Inclusion proofs out of the tiles of a log (C2SP tlog-tiles), for an entry of which the log gives none.

What is read is not believed: whoever uses the proof checks it under a signed checkpoint.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from signerd.verification.merkle import node_hash

__all__ = ["ENTRIES_BYTES", "TILE_BYTES", "Fetch", "bundle_at", "inclusion_proof", "starts_back"]

_HEIGHT: Final = 8
_WIDTH: Final = 1 << _HEIGHT
_HASH: Final = 32
TILE_BYTES: Final = _WIDTH * _HASH
"""A full tile."""

ENTRIES_BYTES: Final = _WIDTH * (2 + 0xFFFF)
"""A full bundle of entries, each with its length in two bytes before it."""

Fetch = Callable[[str], Awaitable[bytes | None]]
"""Returns what lies at a path below ``tile/``; None where nothing does."""


async def inclusion_proof(index: int, size: int, fetch: Fetch) -> tuple[bytes, ...] | None:
    """Return the proof (RFC 6962, section 2.1.1) of leaf ``index`` in the tree of ``size``; None where tiles are
    missing or out of shape. ``0 <= index < size``."""
    tiles = _Tiles(size, fetch)
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            other = await tiles.root(middle, end)
            end = middle
        else:
            other = await tiles.root(start, middle)
            start = middle
        if other is None:
            return None
        proof.append(other)
    return tuple(reversed(proof))


def starts_back(size: int, most: int) -> range:
    """Return where the bundles begin that hold the newest ``most`` entries of a log of ``size``, the newest first."""
    last = max(0, size - most) // _WIDTH if size else 0
    return range((size - 1) // _WIDTH * _WIDTH, last * _WIDTH - 1, -_WIDTH)


async def bundle_at(start: int, size: int, fetch: Fetch) -> list[bytes]:
    """Return the entries of the bundle that begins at ``start``, in a log of ``size``; ValueError for one that is
    missing or out of shape."""
    width = min(_WIDTH, size - start)
    path = f"entries/{_path(start // _WIDTH)}"
    found = None if width == _WIDTH else await fetch(f"{path}.p/{width}")
    # A partial bundle may be gone once the full one is there.
    bundle = await fetch(path) if found is None else found
    entries = _bundle_entries(bundle or b"")
    if len(entries) < width:
        raise ValueError(f"the entries from {start} on are missing")
    return entries[:width]


def _bundle_entries(bundle: bytes) -> list[bytes]:
    """Cut a bundle of entries: big-endian u16 lengths (C2SP tlog-tiles)."""
    entries = []
    at = 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2])
        if end > len(bundle):
            raise ValueError("a bundle of entries is cut short")
        entries.append(bundle[at + 2 : end])
        at = end
    return entries


def _split(count: int) -> int:
    """Return the largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


class _Tiles:
    def __init__(self, size: int, fetch: Fetch) -> None:
        self._size = size
        self._fetch = fetch
        self._read: dict[tuple[int, int], bytes | None] = {}

    async def root(self, start: int, end: int) -> bytes | None:
        """Return the root over the leaves from ``start`` to ``end``, which are a subtree of the tree."""
        count = end - start
        if count & (count - 1):
            middle = start + _split(count)
            left, right = await self.root(start, middle), await self.root(middle, end)
            return None if left is None or right is None else node_hash(left, right)
        level = count.bit_length() - 1
        # A tile holds the hashes of every eighth level; those between are computed of them.
        row, above = divmod(level, _HEIGHT)
        first = start >> (row * _HEIGHT)
        tile = await self._tile(row, first // _WIDTH)
        at = first % _WIDTH * _HASH
        if tile is None or len(tile) < at + (_HASH << above):
            return None
        hashes = [tile[at + i * _HASH : at + (i + 1) * _HASH] for i in range(1 << above)]
        while len(hashes) > 1:
            hashes = [node_hash(*hashes[i : i + 2]) for i in range(0, len(hashes), 2)]
        return hashes[0]

    async def _tile(self, row: int, number: int) -> bytes | None:
        if (row, number) not in self._read:
            width = min(_WIDTH, (self._size >> (row * _HEIGHT)) - number * _WIDTH)
            path = f"{row}/{_path(number)}"
            found = None if width == _WIDTH else await self._fetch(f"{path}.p/{width}")
            # A partial tile may be gone once the full one is there.
            self._read[row, number] = await self._fetch(path) if found is None else found
        return self._read[row, number]


def _path(number: int) -> str:
    """Write a tile's number in groups of three digits, all but the last with an ``x`` in front."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03d}")
    return "/".join(reversed(groups))
