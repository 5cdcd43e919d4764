import contextlib
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time

import msgspec
import pytest

from signerd.contracts.services import AuditStore, Leaf
from signerd.errors import Fault, Refusal
from signerd.sealer.audit import (
    DAY_MS,
    FILE_NAME,
    MOST_BYTES,
    MOST_ROWS,
    MOST_SCANNED,
    AuditReader,
    SqliteAuditStore,
)
from signerd.sealer.tree import leaf_hash


def leaf(audit_id, kind="decided", tenant="local", outcome="", when=1, code="", text=b""):
    return Leaf(text or f"{audit_id}/{kind}".encode(), audit_id, kind, tenant, when, outcome, code)


def texts(path, **arguments):
    reader = AuditReader(path)
    try:
        return [record.decode() for record in reader.read(None, **arguments).records]
    finally:
        reader.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


@pytest.fixture
def store(path):
    made = SqliteAuditStore(path)
    yield made
    made.close()


def test_indices_are_contiguous_from_zero_and_go_on_after_a_restart(store, path):
    checked: AuditStore = store
    assert checked.append_many([leaf("a")]) == 0
    assert checked.append_many([leaf("b"), leaf("c"), leaf("", "ring"), leaf("", "ring")]) == 1
    assert checked.append_many([]) == 5
    store.close()
    assert SqliteAuditStore(path).append_many([leaf("d")]) == 5
    rows = (
        sqlite3.connect(path).execute("SELECT leaf_index, leaf_hash, leaf FROM leaves ORDER BY 1").fetchall()
    )
    assert [row[0] for row in rows] == list(range(6))
    assert all(row[1] == leaf_hash(row[2]) for row in rows)


def test_files_are_for_the_owner_alone(store, path):
    store.append_many([leaf("a")])
    modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
    assert set(modes) >= {FILE_NAME, FILE_NAME + "-wal"}
    assert set(modes.values()) == {0o600}


def test_every_commit_is_synced(store):
    database = store._reach()
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_symlink_in_the_logs_place_is_refused(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Fault) as caught:
        SqliteAuditStore(path)
    assert (caught.value.code, caught.value.reason) == ("audit.unavailable", "cannot_open")
    assert not (tmp_path / "elsewhere").exists()


def test_a_second_leaf_of_a_kind_for_one_record_takes_its_whole_group_down(store, path):
    store.append_many([leaf("a")])
    with pytest.raises(Fault) as caught:
        store.append_many([leaf("b"), leaf("a"), leaf("c")])
    assert (caught.value.code, caught.value.reason) == ("audit.unavailable", "duplicate")
    assert store.append_many([leaf("a", "outcome")]) == 1
    assert texts(path) == ["a/decided", "a/outcome"]


def test_a_group_larger_than_a_statement_is_one_commit(store, path):
    assert store.append_many([leaf(str(n)) for n in range(1200)]) == 0
    with pytest.raises(Fault):
        store.append_many([leaf(str(n)) for n in range(2400, 1199, -1)] + [leaf("7")])
    assert store.append_many([leaf("next")]) == store.size - 1 == 1200


def test_open_records_are_the_decided_ones_without_outcome_since_the_last_start(store):
    store.append_many([leaf("", "start"), leaf("old"), leaf("", "start")])
    store.append_many([leaf("a"), leaf("b"), leaf("c"), leaf("r", "refused", outcome="refused")])
    store.append_many([leaf("b", "outcome", outcome="signed")])
    assert store.open_records() == [leaf("a"), leaf("c")]


def test_daily_counts_are_of_what_was_signed_on_that_utc_day(store):
    day = 20_000
    times = {
        "before": day * DAY_MS - 1,
        "first": day * DAY_MS,
        "last": (day + 1) * DAY_MS - 1,
        "after": (day + 1) * DAY_MS,
    }
    store.append_many([leaf(name, "outcome", "one", "signed", when) for name, when in times.items()])
    store.append_many([leaf("x", "outcome", "two", "signed_undelivered", day * DAY_MS)])
    store.append_many(
        [
            leaf("y", "outcome", "two", "fault", day * DAY_MS),
            leaf("z", "refused", "two", "refused", day * DAY_MS),
        ]
    )
    assert store.daily_counts(day) == {"one": 2, "two": 1}
    assert store.daily_counts(day + 9) == {}


def test_a_locked_log_is_a_refusal_after_the_deadline_and_then_goes_on(store, path):
    store.append_many([leaf("a")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(Fault) as caught:
        store.append_many([leaf("b")])
    assert (caught.value.code, caught.value.reason) == ("audit.unavailable", "locked")
    assert 1.5 < time.monotonic() - began < 6
    other.execute("ROLLBACK")
    other.close()
    assert store.append_many([leaf("b")]) == 1


def test_a_lock_that_is_given_back_in_time_costs_nothing_but_time(store, path):
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, other.execute, ["ROLLBACK"])
    timer.start()
    assert store.append_many([leaf("a")]) == 0
    timer.join()
    other.close()


def test_a_read_only_log_is_refused_and_recovers(store):
    store.append_many([leaf("a")])
    # The same answer that SQLite gives where the file system was mounted read-only, for root too.
    store._reach().execute("PRAGMA query_only = ON")
    with pytest.raises(Fault) as caught:
        store.append_many([leaf("b")])
    assert (caught.value.code, caught.value.reason) == ("audit.unavailable", "read_only")
    assert store.append_many([leaf("b")]) == 1


@pytest.mark.parametrize(
    "schema",
    [
        # A recursive view gives rows without end; a table of other types, rows that are no leaves.
        "CREATE VIEW leaves AS WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT i, x'00' FROM n",
        "CREATE TABLE leaves (leaf_index, leaf); INSERT INTO leaves VALUES (0, 5)",
        "CREATE TABLE leaves (leaf_index, leaf); INSERT INTO leaves VALUES (0.5, x'00')",
    ],
)
def test_a_log_that_somebody_else_made_is_corrupt(path, schema):
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(schema)
    with pytest.raises(Fault) as caught:
        AuditReader(path).read(None)
    assert (caught.value.code, caught.value.reason) == ("audit.unavailable", "corrupt")


def test_a_log_that_is_none_is_corrupt(path):
    path.write_bytes(b"this is not a database at all, " * 200)
    with pytest.raises(Fault) as caught:
        SqliteAuditStore(path)
    assert (caught.value.code, caught.value.reason) == ("audit.unavailable", "corrupt")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 KiB: as root, since nobody else may mount one."""
    mount = tmp_path / "disk"
    mount.mkdir()
    tool = shutil.which("mount")
    if os.geteuid() != 0 or tool is None:
        pytest.skip(
            "a real full disk needs root to mount a small tmpfs; the test with RLIMIT_FSIZE stands in"
        )
    made = subprocess.run(
        [tool, "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(
            "a real full disk needs the right to mount a small tmpfs; the test with RLIMIT_FSIZE stands in"
        )
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_is_refused_whole_groups_stay_and_the_log_goes_on_when_there_is_room(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(128 * 1024))
    store = SqliteAuditStore(small_disk / FILE_NAME)
    groups = 0
    with pytest.raises(Fault) as caught:  # noqa: PT012  # which append meets the full disk is SQLite's to say
        while groups < 500:
            store.append_many([leaf(f"{groups}-{n}", text=os.urandom(2000)) for n in range(8)])
            groups += 1
    assert (caught.value.code, caught.value.reason) == ("audit.unavailable", "disk_full")
    assert groups > 1
    with pytest.raises(Fault):
        store.append_many([leaf(f"still full {n}", text=os.urandom(2000)) for n in range(100)])
    ballast.unlink()
    assert store.append_many([leaf("room again")]) == groups * 8
    store.close()


CHILD = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from signerd.contracts.services import Leaf
    from signerd.sealer.audit import SqliteAuditStore

    store = SqliteAuditStore(Path(sys.argv[1]))
    for group in range(int(sys.argv[2])):
        store.append_many([Leaf(os.urandom(500), f"{group}-{n}", "decided", "t", group) for n in range(8)])
        print(group, flush=True)
""")


def test_kill_9_between_commits_leaves_whole_groups_only(path):
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), "100000"], stdout=subprocess.PIPE)
        assert child.stdout is not None
        acknowledged = -1
        for _ in range(12):
            acknowledged = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in child.stdout.read().split())])
        child.wait()
        child.stdout.close()
        store = SqliteAuditStore(path)
        assert store.size % 8 == 0
        assert store.size >= (acknowledged + 1) * 8
        assert len(store.open_records()) == store.size
        store.close()
        path.unlink()


def test_a_file_that_may_not_grow_is_refused_and_keeps_what_it_had(path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), "1000"],
        preexec_fn=limit,
        capture_output=True,
        check=False,
        text=True,
    )
    assert child.returncode == 1
    # EFBIG, not ENOSPC: SQLite calls it an I/O error.
    assert "audit.unavailable (io_error)" in child.stderr or "audit.unavailable (disk_full)" in child.stderr
    groups = len(child.stdout.split())
    assert groups > 1
    assert SqliteAuditStore(path).append_many([leaf("later")]) == groups * 8


def test_a_tenant_reads_its_own_records_alone(store, path):
    store.append_many(
        [leaf(f"{tenant}{n}", tenant=tenant) for n in range(3) for tenant in ("one", "two")]
        + [leaf("", "start", "")]
    )
    reader = AuditReader(path)
    assert reader.read("one").records == (b"one0/decided", b"one1/decided", b"one2/decided")
    assert reader.read("one").indices == (0, 2, 4)
    assert reader.read("one", {"audit_id": "two1"}).records == ()
    assert reader.read("two", {"audit_id": "two1"}).records == (b"two1/decided",)
    assert reader.read("nobody").records == ()
    assert len(reader.read(None).records) == 7


def test_pages_are_bounded_and_joined_by_the_cursor(store, path):
    store.append_many([leaf(f"{n:04d}") for n in range(450)])
    reader, cursor, sizes, seen = AuditReader(path), 0, [], []
    while True:
        page = reader.read("local", {}, cursor, 100_000)
        sizes.append(len(page.records))
        seen += page.indices
        cursor = page.next
        if not cursor:
            break
    assert sizes == [MOST_ROWS, MOST_ROWS, 50]
    assert seen == list(range(450))


def test_a_page_fits_an_answer_whatever_the_leaves_hold(store, path):
    large = Leaf(b"x" * (MOST_BYTES // 3), "large", "decided", "local", 0)
    store.append_many([msgspec.structs.replace(large, audit_id=f"large{n}") for n in range(7)])
    store.append_many([msgspec.structs.replace(large, audit_id="largest", text=b"x" * (MOST_BYTES + 1)), leaf("last")])
    reader, cursor, sizes = AuditReader(path), 0, []
    while True:
        page = reader.read("local", {}, cursor)
        sizes.append(len(page.records))
        cursor = page.next
        if not cursor:
            break
    assert sizes == [3, 3, 1, 1, 1]


def test_a_filter_that_matches_nothing_reads_a_bounded_part_at_a_time(store, path):
    store.append_many(
        [leaf(str(n)) for n in range(MOST_SCANNED + 5)]
        + [leaf("wanted", "refused", outcome="refused", code="quota.rate")]
    )
    reader = AuditReader(path)
    first = reader.read("local", {"code": "quota.rate"})
    assert (first.records, first.next) == ((), MOST_SCANNED)
    second = reader.read("local", {"code": "quota.rate"}, first.next)
    assert (second.records, second.next) == ((b"wanted/refused",), 0)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (({"text": "x"},), "request.unsupported", "filter_unknown"),
        (({"1=1 OR code": "x"},), "request.unsupported", "filter_unknown"),
        (({}, -1), "request.malformed", "page_out_of_range"),
        (({}, 2**63), "request.malformed", "page_out_of_range"),
        (({}, 0, 0), "request.malformed", "page_out_of_range"),
    ],
)
def test_a_query_out_of_shape_is_refused(store, path, arguments, code, reason):
    store.append_many([leaf("a")])
    with pytest.raises(Refusal) as caught:
        AuditReader(path).read("local", *arguments)
    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_the_reader_writes_nothing_and_needs_a_log(store, path, tmp_path):
    store.append_many([leaf("a")])
    reader = AuditReader(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._database.execute("DELETE FROM leaves")
    with pytest.raises(Fault) as caught:
        AuditReader(tmp_path / "nothing.sqlite")
    assert (caught.value.code, caught.value.reason) == ("audit.unavailable", "cannot_open")
    assert not (tmp_path / "nothing.sqlite").exists()


def test_the_reader_sees_what_is_committed_while_the_store_lives_and_after(store, path):
    reader = AuditReader(path)
    store.append_many([leaf("a")])
    assert reader.read("local").records == (b"a/decided",)
    store.append_many([leaf("a", "outcome", outcome="signed")])
    assert len(reader.read("local", {"audit_id": "a"}).records) == 2
    store.close()
    assert texts(path, filters={"audit_id": "a"}) == ["a/decided", "a/outcome"]


def test_a_leaf_is_found_by_the_record_that_it_began(store):
    store.append_many([leaf("a"), leaf("b"), leaf("a", "outcome", outcome="signed")])
    assert store.leaf_of("a") == b"a/decided"
    assert store.leaf_of("c") is None
    store.close()
    store._path = store._path / "none"
    with pytest.raises(Fault, match="unavailable"):
        store.leaf_of("a")


@pytest.mark.parametrize(("first", "second"), [("decided", "refused"), ("refused", "decided"), ("refused", "refused")])
def test_an_id_begins_one_record(store, first, second):
    store.append_many([leaf("a", first)])
    with pytest.raises(Fault) as caught:
        store.append_many([leaf("b"), leaf("a", second)])
    assert caught.value.reason == "duplicate"
    assert store.size == 1
    store.append_many([leaf("b"), leaf("a", "outcome", outcome="unknown")])
