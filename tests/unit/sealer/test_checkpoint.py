import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from signerd.contracts.services import Leaf
from signerd.sealer.aside import Aside
from signerd.sealer.audit import SqliteAuditStore
from signerd.sealer.checkpoint import LEAVES, Checkpoints


def leaves(first: int, count: int) -> list[Leaf]:
    return [Leaf(b"x" * 600, f"{number:028}", "decided", "local", number) for number in range(first, first + count)]


@pytest.fixture
def aside() -> Iterator[Aside]:
    made = Aside()
    yield made
    made.close()


def database_bytes(path: Path) -> int:
    return path.stat().st_size


def test_what_was_written_is_copied_beside_the_loop_and_the_rest_in_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.sqlite"
    store, aside = SqliteAuditStore(path), Aside()
    checkpoints = Checkpoints(path, store, aside)
    empty = database_bytes(path)
    store.append_many(leaves(0, LEAVES - 1))
    checkpoints.turn()
    assert database_bytes(path) == empty, "too little to be worth it"
    store.append_many(leaves(LEAVES, 1))
    checkpoints.turn()
    store.append_many(leaves(LEAVES + 1, 5))  # comes while the thread copies, or after it
    wait_for(aside)
    wal = path.with_name("audit.sqlite-wal").stat().st_size
    store.append_many(leaves(LEAVES + 6, 50))
    assert path.with_name("audit.sqlite-wal").stat().st_size == wal, "the log began anew, in place"
    assert database_bytes(path) > 600 * LEAVES
    store.close()
    aside.close()


def wait_for(aside: Aside) -> None:
    assert select.select([aside.fileno()], [], [], 10)[0]
    aside.collect()


def test_a_copy_that_fails_is_no_failure_of_the_log(tmp_path: Path, aside: Aside) -> None:
    path = tmp_path / "audit.sqlite"
    store = SqliteAuditStore(path)
    checkpoints = Checkpoints(tmp_path / "no" / "such", store, aside)
    for start in (0, LEAVES):
        store.append_many(leaves(start, LEAVES))
        checkpoints.turn()
        wait_for(aside)
    assert store.append_many(leaves(2 * LEAVES, 1)) == 2 * LEAVES
    store.close()


def test_one_copy_at_a_time(tmp_path: Path, aside: Aside) -> None:
    path = tmp_path / "audit.sqlite"
    store = SqliteAuditStore(path)
    checkpoints = Checkpoints(path, store, aside)
    started = []
    run = aside.run
    aside.run = lambda work, done: (started.append(1), run(work, done))  # type: ignore[method-assign,assignment,return-value,func-returns-value]
    store.append_many(leaves(0, LEAVES))
    checkpoints.turn()
    store.append_many(leaves(LEAVES, LEAVES))
    checkpoints.turn()
    assert started == [1]
    wait_for(aside)
    checkpoints.turn()
    assert started == [1, 1]
    wait_for(aside)
    store.close()
