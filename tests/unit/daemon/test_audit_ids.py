import re
import time

from signerd.daemon.audit_ids import AuditIds


def test_an_id_is_28_hex_digits_that_begin_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = AuditIds()()
    assert re.fullmatch(r"[0-9a-f]{28}", made)
    assert before <= int(made[:12], 16) <= time.time_ns() // 1_000_000


def test_ids_are_unique_within_a_process_and_across_two() -> None:
    one, other = AuditIds(), AuditIds()
    made = [one() for _ in range(20_000)] + [other() for _ in range(20_000)]
    assert len(set(made)) == len(made)


def test_ids_sort_by_time() -> None:
    ids = AuditIds()
    first = ids()
    time.sleep(0.002)
    assert first < ids()
