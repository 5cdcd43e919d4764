import time

from signerd.daemon.audit_ids import AuditIds


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = AuditIds()
    made = [ids() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(len(one) == 28 and int(one, 16) >= 0 and one == one.lower() for one in made)
    assert [one[:12] for one in made] == sorted(one[:12] for one in made)
    assert abs(int(made[-1][:12], 16) - time.time() * 1000) < 5000


def test_two_processes_do_not_meet() -> None:
    """Each starts its numbers at random: the second half of the id is what tells them apart."""
    assert AuditIds()()[12:] != AuditIds()()[12:]
