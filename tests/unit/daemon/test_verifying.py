from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from msgspec import UNSET, Raw

from fakes.services import PEER, PRINCIPAL, FakeClock
from signerd.daemon.session import Session
from signerd.daemon.verifier import Job, Owner, Verifier
from signerd.daemon.verifying import Verifying
from signerd.errors import Fault, SignerdError
from signerd.host.config_limits import Limits
from signerd.wire.messages import Request, Response
from signerd.wire.methods import BundleVerified, VerifiedBatch, VerifyBatch, VerifyBundle
from signerd.wire.worker_calls import BundleJudged

GOOD = BundleVerified(True, (), "skipped", ())
LARGE = BundleVerified(True, (), "skipped", ("x" * 1024 * 1024,))
ASKED = VerifyBundle(b"{}", key="PEM")


class Heard:
    """A session, and what it was answered by request id."""

    principal, peer, descriptors = PRINCIPAL, PEER, 0

    def __init__(self) -> None:
        self.said: dict[int, Any] = {}
        self.session = cast("Session", self)

    def answer(self, response: Response) -> None:
        assert response.id not in self.said
        self.said[response.id] = response.result

    def refuse(self, request_id: int, error: SignerdError) -> None:
        assert request_id not in self.said
        self.said[request_id] = error.reason


class Desk:
    def __init__(self, **limits: Any) -> None:
        self.jobs: list[Job] = []
        self.forgotten: list[Job] = []
        self.full = False
        self.told: list[str] = []
        self.woken = 0
        self.clock = FakeClock()
        queue = cast("Verifier", SimpleNamespace(ask=self._ask, drop=self._drop))
        self.verifying = Verifying(queue, Limits(**limits), self.clock, self._wake)
        self.heard = Heard()

    def _ask(self, job: Job) -> None:
        if self.full:
            raise Fault("daemon.overloaded", "verifying_queue", "too many bundles at once")
        self.jobs.append(job)

    def _drop(self, owner: Owner, jobs: list[Job]) -> None:
        assert owner == (PRINCIPAL.tenant, PRINCIPAL.name)
        self.forgotten += jobs

    def _wake(self) -> None:
        self.woken += 1

    def ask(self, params: msgspec.Struct, request_id: int = 1, deadline_ms: int | None = None) -> None:
        method = "verify.batch" if isinstance(params, VerifyBatch) else "verify.bundle"
        raw = Raw(msgspec.msgpack.encode(params))
        request = Request(request_id, method, raw, UNSET if deadline_ms is None else deadline_ms)
        self.verifying.start(self.heard.session, request, (), lambda error: self.told.append(error.reason))

    def batch(self, count: int) -> None:
        self.ask(VerifyBatch.of([ASKED] * count))

    @property
    def outcomes(self) -> list[str]:
        batch = msgspec.msgpack.decode(self.heard.said[1], type=VerifiedBatch)
        return [each.error.details["reason"] if each.error else "ok" for each in batch.outcomes]  # type: ignore[index,misc]


def test_a_job_says_whose_it_is_and_its_end_is_the_answer() -> None:
    desk = Desk()
    desk.ask(ASKED)
    (job,) = desk.jobs
    assert (job.call.tenant, job.call.bundle, job.call.key, job.call.policy) == (PRINCIPAL.tenant, b"{}", "PEM", None)
    assert (len(desk.verifying), desk.heard.said, desk.woken) == (1, {}, 1)
    job.done(BundleJudged(1, GOOD), ())
    assert msgspec.msgpack.decode(desk.heard.said[1], type=BundleVerified) == GOOD
    assert (len(desk.verifying), desk.told) == (0, [])


def test_a_refusal_is_told_once() -> None:
    desk = Desk()
    desk.full = True
    desk.ask(ASKED)
    assert (desk.heard.said, desk.told) == ({1: "verifying_queue"}, ["verifying_queue"])


def test_a_batch_answers_when_its_last_has_ended() -> None:
    desk = Desk()
    desk.batch(3)
    for job in reversed(desk.jobs[1:]):
        job.done(BundleJudged(1, GOOD), ())
    assert desk.heard.said == {}
    desk.jobs[0].done(Fault("internal", "verifying_worker", "the bundle cannot be verified"), ())
    assert desk.outcomes == ["verifying_worker", "ok", "ok"]
    assert desk.told == ["verifying_worker"]


def test_an_answer_is_never_larger_than_a_frame() -> None:
    desk = Desk()
    desk.batch(5)
    for job in desk.jobs:
        job.done(BundleJudged(1, LARGE), ())
    assert len(desk.heard.said[1]) < 4 * 1024 * 1024
    assert desk.outcomes == ["ok", "ok", "answer_too_large", "answer_too_large", "answer_too_large"]


@pytest.mark.parametrize(("count", "reason"), [(0, "batch_items"), (3, "batch_items")])
def test_a_batch_has_its_bounds(count: int, reason: str) -> None:
    desk = Desk(batch_items=2)
    desk.batch(count)
    assert (desk.heard.said, desk.jobs) == ({1: reason}, [])


def test_a_deadline_a_cancel_and_a_hang_up_let_go_of_the_jobs() -> None:
    desk = Desk()
    desk.ask(ASKED, 1, deadline_ms=500)
    desk.ask(ASKED, 2)
    desk.ask(ASKED, 3)
    desk.verifying.tick(desk.clock.monotonic() + 0.4)
    assert desk.heard.said == {}
    desk.verifying.tick(desk.clock.monotonic() + 0.6)
    assert desk.heard.said == {1: "deadline"}
    desk.verifying.cancel(desk.heard.session, 2)
    desk.verifying.cancel(desk.heard.session, 99)
    desk.verifying.hang_up(desk.heard.session)
    assert desk.forgotten == desk.jobs
    assert len(desk.verifying) == 0
