import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from signerd.host.supervision import BACKOFF_FIRST, BACKOFF_LONGEST, START_LIMIT, State, Supervision


def running(*, first_retry_at_once: bool = False) -> Supervision:
    worker = Supervision(first_retry_at_once=first_retry_at_once)
    worker.started(0.0)
    worker.answered()
    return worker


def test_a_new_worker_is_started_at_once_and_is_up_with_its_first_answer() -> None:
    worker = Supervision()
    assert worker.start_due(0.0)
    assert not worker.up
    worker.started(0.0)
    assert worker.state is State.STARTING
    assert not worker.start_due(100.0)
    worker.answered()
    assert worker.up


def test_what_never_answers_is_restarted_ever_more_slowly_up_to_the_longest_delay() -> None:
    worker = Supervision()
    now, delays = 0.0, []
    for _ in range(40):
        worker.started(now)
        worker.died(now)
        retry_at = worker.next_look()
        assert retry_at is not None
        assert not worker.start_due(retry_at - 0.001)
        assert worker.start_due(retry_at)
        delays.append(retry_at - now)
        now = retry_at
    assert delays[:3] == pytest.approx([BACKOFF_FIRST, 2 * BACKOFF_FIRST, 4 * BACKOFF_FIRST])
    assert delays[-1] == pytest.approx(BACKOFF_LONGEST)
    assert max(delays) == pytest.approx(BACKOFF_LONGEST)


def test_the_delays_are_those_that_were_asked_for() -> None:
    worker = Supervision(first_s=2.0, longest_s=5.0)
    delays = []
    for _ in range(3):
        worker.started(0.0)
        worker.died(0.0)
        delays.append(worker.next_look())
    assert delays == [2.0, 4.0, 5.0]


def test_an_answer_forgets_earlier_deaths() -> None:
    worker = Supervision()
    for _ in range(6):
        worker.started(0.0)
        worker.died(0.0)
    worker.started(100.0)
    worker.answered()
    worker.died(100.0)
    assert worker.next_look() == pytest.approx(100.0 + BACKOFF_FIRST)


def test_a_liar_that_describes_well_each_time_is_put_off_further_each_time() -> None:
    worker = Supervision()
    delays = []
    for _ in range(4):
        worker.started(0.0)
        worker.answered()
        worker.condemn()
        worker.died(0.0)
        delays.append(worker.next_look())
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8])


def test_the_first_retry_is_at_once_where_asked_for_and_only_after_good_service() -> None:
    worker = running(first_retry_at_once=True)
    worker.died(5.0)
    assert worker.start_due(5.0)
    worker.started(5.0)
    worker.died(5.1)
    assert not worker.start_due(5.1)
    assert worker.next_look() == pytest.approx(5.1 + 2 * BACKOFF_FIRST)


def test_one_missed_deadline_is_forgiven_two_in_a_row_are_not() -> None:
    worker = running()
    assert not worker.missed()
    worker.answered()
    assert not worker.missed()
    assert not worker.must_die
    assert worker.missed()
    worker.answered()
    assert worker.must_die, "an answer after the sentence does not lift it"


def test_the_next_process_is_not_blamed_for_the_one_before() -> None:
    worker = running()
    worker.condemn()
    worker.died(1.0)
    assert not worker.must_die
    worker.started(2.0)
    worker.answered()
    assert not worker.missed()


def test_a_worker_that_does_not_come_up_must_die() -> None:
    worker = Supervision()
    worker.started(1.0)
    assert worker.next_look() == pytest.approx(1.0 + START_LIMIT)
    assert not worker.look(1.0 + START_LIMIT - 0.01)
    assert worker.look(1.0 + START_LIMIT)


def test_two_processes_at_once_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="runs already"):
        running().started(1.0)


def test_events_of_a_worker_that_is_down_change_nothing() -> None:
    worker = Supervision()
    worker.answered()
    assert not worker.missed()
    assert not worker.missed()
    worker.condemn()
    assert not worker.must_die
    assert worker.state is State.DOWN


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: never two processes, and never quicker than the backoff allows."""

    def __init__(self) -> None:
        super().__init__()
        self.worker = Supervision(first_retry_at_once=True)
        self.now = 0.0
        self.deaths_without_service = 0

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.worker.look(self.now)

    @precondition(lambda self: self.worker.start_due(self.now))
    @rule()
    def start(self) -> None:
        self.worker.started(self.now)

    @rule()
    def answer(self) -> None:
        self.worker.answered()

    @rule()
    def miss(self) -> None:
        self.worker.missed()

    @rule()
    def lie(self) -> None:
        self.worker.condemn()

    @precondition(lambda self: self.worker.state is not State.DOWN)
    @rule()
    def die(self) -> None:
        served_well = self.worker.up and not self.worker.must_die
        self.worker.died(self.now)
        retry_at = self.worker.next_look()
        assert retry_at is not None
        assert self.now <= retry_at <= self.now + BACKOFF_LONGEST + 1e-6
        if not served_well:
            assert retry_at >= self.now + BACKOFF_FIRST - 1e-6

    @invariant()
    def down_is_never_up_and_never_condemned(self) -> None:
        if self.worker.state is State.DOWN:
            assert not self.worker.up
            assert not self.worker.must_die


TestAnyOrder = AnyOrder.TestCase
