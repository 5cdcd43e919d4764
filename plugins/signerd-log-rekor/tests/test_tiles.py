"""Proofs out of tiles against the definition of RFC 6962."""

import pytest
import trio

from running.merkle import audit_path
from signerd.verification.merkle import leaf_hash, node_hash
from signerd_log_rekor.tiles import inclusion_proof

LEAVES = [leaf_hash(b"%d" % n) for n in range(70_000)]
ROWS = [LEAVES]
for _ in range(2):
    row = ROWS[-1]
    for _ in range(8):
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
    ROWS.append(row)


def path(number: int) -> str:
    digits = f"{number:09d}"
    groups = [digits[0:3], digits[3:6], digits[6:9]]
    while len(groups) > 1 and groups[0] == "000":
        groups.pop(0)
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


class Tiles:
    """The tiles of a log of ``size``; ``grown``: partial ones have gone, as the log has more by now."""

    def __init__(self, size: int, *, grown: bool = False) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        for level, row in enumerate(ROWS):
            width = len(row) if grown else size >> (8 * level)
            for number in range(-(-width // 256)):
                tile = row[number * 256 : min(width, number * 256 + 256)]
                suffix = "" if len(tile) == 256 else f".p/{len(tile)}"
                self.files[f"{level}/{path(number)}{suffix}"] = b"".join(tile)

    async def fetch(self, name: str) -> bytes | None:
        self.asked.append(name)
        return self.files.get(name)


@pytest.mark.parametrize(
    ("index", "size"),
    [
        *[(0, 1), (0, 2), (1, 2), (2, 5), (4, 5), (255, 256), (255, 257), (256, 257), (300, 700), (699, 700)],
        *[(65_535, 65_537), (0, 69_000), (65_536, 69_000), (68_999, 69_000), (40_000, 69_000)],
    ],
)
def test_a_proof_is_that_of_the_definition(index: int, size: int) -> None:
    tiles = Tiles(size)
    assert trio.run(inclusion_proof, index, size, tiles.fetch) == tuple(audit_path(index, LEAVES[:size]))
    assert len(tiles.asked) == len(set(tiles.asked))


def test_a_full_tile_serves_where_a_partial_one_has_gone() -> None:
    assert trio.run(inclusion_proof, 3, 100, Tiles(100, grown=True).fetch) == tuple(audit_path(3, LEAVES[:100]))


def test_missing_or_short_tiles_make_no_proof() -> None:
    async def nothing(name: str) -> bytes | None:
        return None

    async def short(name: str) -> bytes | None:
        return bytes(40)

    assert trio.run(inclusion_proof, 3, 100, nothing) is None
    assert trio.run(inclusion_proof, 3, 100, short) is None
