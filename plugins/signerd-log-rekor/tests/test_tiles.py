"""Proofs out of tiles against the definition of RFC 6962."""

import pytest
import trio

from running.merkle import audit_path
from signerd.verification.merkle import leaf_hash, node_hash
from signerd_log_rekor.tiles import bundle_at, inclusion_proof, starts_back

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


def bundles(size: int, *, grown: bool = False) -> dict[str, bytes]:
    """The bundles of a log of ``size`` entries; ``grown``: as those of a larger one, whose partial ones have gone."""
    entries = [b"%d" % number for number in range(size + 256 * grown)]
    files = {}
    for number in range(-(-len(entries) // 256)):
        part = entries[number * 256 : number * 256 + 256]
        suffix = "" if len(part) == 256 else f".p/{len(part)}"
        files[f"entries/{path(number)}{suffix}"] = b"".join(len(one).to_bytes(2) + one for one in part)
    return files


def read_back(size: int, most: int, files: dict[str, bytes]) -> list[tuple[int, list[bytes]]]:
    async def fetch(name: str) -> bytes | None:
        return files.get(name)

    async def run() -> list[tuple[int, list[bytes]]]:
        return [(start, await bundle_at(start, size, fetch)) for start in starts_back(size, most)]

    return trio.run(run)


@pytest.mark.parametrize("grown", [False, True])
@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
def test_entries_come_newest_bundle_first_and_whole(size: int, grown: bool) -> None:
    read = read_back(size, 10_000, bundles(size, grown=grown))
    assert [first for first, _ in read] == [256 * number for number in range((size - 1) // 256, -1, -1)]
    for first, entries in read:
        assert entries == [b"%d" % number for number in range(first, min(size, first + 256))]


def test_no_more_bundles_are_read_than_the_newest_entries_need() -> None:
    files = bundles(2000)
    assert [first for first, _ in read_back(2000, 1, files)] == [1792]
    assert [first for first, _ in read_back(2000, 208, files)] == [1792]
    assert [first for first, _ in read_back(2000, 209, files)] == [1792, 1536]
    assert read_back(0, 10, files) == []


@pytest.mark.parametrize("cut", [-1, 1, 2, 3])
def test_a_bundle_that_is_missing_or_cut(cut: int) -> None:
    files = bundles(300)
    files["entries/001.p/44"] = files["entries/001.p/44"][:cut]
    with pytest.raises(ValueError, match=r"missing|cut short"):
        read_back(300, 300, files)
    with pytest.raises(ValueError, match="missing"):
        read_back(300, 300, {})
