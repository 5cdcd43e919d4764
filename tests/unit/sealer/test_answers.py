"""Answers: none before its record, and none forgotten."""

from signerd.sealer.answers import MOST_CROSSING, Answers
from signerd.wire.links import PeerFacts, RefusedRecord, RequestFacts
from signerd.wire.worker_calls import CallError

_FULL = CallError("audit.unavailable", "disk_full", "the audit log cannot be written")


def _answers() -> Answers[str]:
    return Answers(lambda audit_id, error: f"{audit_id} {error.code}")


def _refusal(audit_id: str) -> RefusedRecord:
    return RefusedRecord(audit_id, RequestFacts("r", PeerFacts(0, 0)), "refused", "key.revoked", "revoked")


def test_what_is_held_is_told_once_it_is_on_the_record() -> None:
    answers = _answers()
    answers.hold("held", "no")
    assert (answers.ready, answers.holds("held")) == ([], True)
    answers.note([_refusal("held"), _refusal("own")], None)
    assert answers.ready == [("no", ())]
    assert answers.recorded == [(("own",), None)]
    assert not answers.holds("held")


def test_without_a_record_everybody_is_told_so_instead() -> None:
    answers = _answers()
    answers.hold("held", "no")
    answers.note([_refusal("held"), _refusal("own")], _FULL)
    answers.deny("decided", _FULL)
    assert answers.ready == [("held audit.unavailable", ()), ("decided audit.unavailable", ())]
    assert answers.recorded == [(("own",), _FULL)]


def test_a_close_is_expected_once() -> None:
    answers = _answers()
    answers.expect_close("one")
    assert answers.expects_close("one")
    answers.closed("one")
    assert not answers.expects_close("one")


def test_of_closes_that_never_come_the_oldest_are_forgotten() -> None:
    answers = _answers()
    for number in range(MOST_CROSSING + 1):
        answers.expect_close(str(number))
    assert not answers.expects_close("0")
    assert answers.expects_close(str(MOST_CROSSING))
