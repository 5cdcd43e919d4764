import json

import pytest

from fakes.sealing import NOW, Bench, HandClock, ListStore
from signerd.contracts.services import Leaf
from signerd.errors import Fault, SignerdError
from signerd.sealer.group import OUTCOME_S, RETRY_S, Group, Groups, closing_leaf
from signerd.sealer.job import Job
from signerd.wire.links import PeerFacts, RefusedRecord, RequestFacts

REQUEST = RequestFacts("sign.dsse", PeerFacts(1000, 1), "local", "uid:1000")
DISK_FULL = Fault("audit.unavailable", "disk_full", "the audit log cannot be used")


class Desk:
    def __init__(self) -> None:
        self.bench = Bench()
        self.clock = HandClock()
        self.store = ListStore()
        self.groups: Groups[Job] = Groups(self.store, self.clock)
        self.ended: list[tuple[Group[Job], int | SignerdError]] = []

    def job(self) -> Job:
        item = self.bench.item()
        made = Job(item, tuple(key.pinned() for key in self.bench.keys), 2000.0)
        made.hash_inline(b"{}")
        made.signatures = [None] * len(made.keys)
        return made

    def commit(self) -> None:
        self.groups.commit(lambda group, result: self.ended.append((group, result)))

    def kinds(self) -> list[str]:
        return [leaf.kind for leaf in self.store.leaves]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refusal(audit_id: str) -> RefusedRecord:
    return RefusedRecord(audit_id, REQUEST, "refused", "quota.rate", "rate")


def closed(job: Job, outcome: str, code: str = "") -> Leaf:
    return closing_leaf(job, outcome, code, NOW, delivered=outcome == "signed")


def test_nothing_is_committed_where_nothing_waits(desk: Desk) -> None:
    desk.commit()
    assert (desk.ended, desk.groups.next_look()) == ([], None)


def test_a_group_is_one_commit_in_the_order_of_outcomes_refusals_decisions(desk: Desk) -> None:
    earlier = desk.job()
    desk.groups.decide(earlier)
    desk.commit()
    desk.groups.decide(desk.job())
    desk.groups.refuse(refusal("r1"))
    earlier.bundle_digests = ("ab" * 32,)
    desk.groups.close(closed(earlier, "signed"))
    desk.commit()
    assert desk.kinds() == ["decided", "outcome", "refused", "decided"]
    (_, first), (group, second) = desk.ended
    assert (first, second) == (0, 1)
    assert len(group.decided) == 1
    assert json.loads(desk.store.leaves[1].text)["bundle_sha256"] == ["ab" * 32]


def test_the_decision_is_digested_as_it_is_written(desk: Desk) -> None:
    job = desk.job()
    desk.groups.decide(job)
    desk.commit()
    leaf = json.loads(desk.store.leaves[0].text)
    assert leaf["statement_sha256"] == job.statement_sha256
    assert len(job.decision_digest) == 64
    assert leaf["time"] == NOW


def test_outcomes_wait_for_company_but_not_for_long(desk: Desk) -> None:
    job = desk.job()
    desk.groups.decide(job)
    desk.commit()
    desk.groups.close(closed(job, "signed"))
    look = desk.groups.next_look()
    assert look is not None
    assert 0 < look - desk.clock.monotonic() <= OUTCOME_S
    desk.commit()
    assert desk.kinds() == ["decided"]
    desk.clock.move(OUTCOME_S)
    desk.commit()
    assert desk.kinds() == ["decided", "outcome"]


@pytest.mark.parametrize("what", ["decision", "refusal"])
def test_an_answer_waits_for_nothing(desk: Desk, what: str) -> None:
    if what == "decision":
        desk.groups.decide(desk.job())
    else:
        desk.groups.refuse(refusal("r1"))
    look = desk.groups.next_look()
    assert look is not None
    assert look <= desk.clock.monotonic()
    desk.commit()
    assert len(desk.store.leaves) == 1


def test_where_the_log_cannot_be_written_outcomes_are_kept_in_order_and_tried_again(desk: Desk) -> None:
    jobs = [desk.job() for _ in range(3)]
    for job in jobs:
        desk.groups.decide(job)
    desk.commit()
    desk.store.failing = DISK_FULL
    for job in jobs[:2]:
        desk.groups.close(closed(job, "signed"))
    desk.groups.refuse(refusal("r1"))
    desk.commit()
    assert desk.ended[-1][1] is DISK_FULL
    desk.groups.close(closed(jobs[2], "cancelled", "request.cancelled"))
    look = desk.groups.next_look()
    assert look is not None
    assert look == pytest.approx(desk.clock.monotonic() + RETRY_S)
    desk.store.failing = None
    desk.clock.move(RETRY_S)
    desk.commit()
    assert [leaf.audit_id for leaf in desk.store.leaves[3:]] == [job.item.audit_id for job in jobs]


def test_the_rest_is_appended_without_what_was_never_decided(desk: Desk) -> None:
    job = desk.job()
    desk.groups.decide(job)
    desk.commit()
    desk.groups.close(closed(job, "unknown"))
    desk.groups.refuse(refusal("r1"))
    desk.groups.decide(desk.job())
    assert desk.groups.append_rest() is None
    assert desk.kinds() == ["decided", "outcome", "refused"]
    assert desk.groups.append_rest() is None
    assert len(desk.store.leaves) == 3


def test_one_id_too_many_costs_the_others_nothing(desk: Desk) -> None:
    job = desk.job()
    desk.groups.decide(job)
    desk.commit()
    desk.groups.close(closed(job, "unknown"))
    desk.groups.refuse(refusal(job.item.audit_id))
    desk.groups.refuse(refusal("r1"))
    failure = desk.groups.append_rest()
    assert failure is not None
    assert failure.reason == "duplicate"
    assert [(leaf.kind, leaf.audit_id) for leaf in desk.store.leaves[1:]] == [
        ("outcome", job.item.audit_id),
        ("refused", "r1"),
    ]


def test_a_log_that_is_gone_is_said_so(desk: Desk) -> None:
    desk.store.failing = DISK_FULL
    desk.groups.refuse(refusal("r1"))
    assert desk.groups.append_rest() is DISK_FULL
