import msgspec
import pytest

from fakes.services import (
    DIGEST,
    NEEDS_RELEASE,
    PEER,
    PRINCIPAL,
    TOOL,
    MemoryLedger,
    order,
    request,
    understood,
    world,
)
from signerd.errors import Fault, PluginError, Refusal
from signerd.pipeline.record import SUBJECTS_IN_RECORD, TEXT_IN_RECORD, Entry, ending, facts
from signerd.pipeline.request import SignRequest
from signerd.wire.links import Close, PeerFacts, RefusedRecord, RequestFacts, SubjectFacts
from signerd.wire.methods import Poe, Subject

Ending = tuple[str, str, str]
THROWN: list[tuple[BaseException, Ending]] = [
    (Refusal("quota.rate", "rate_exceeded", "no"), ("refused", "quota.rate", "rate_exceeded")),
    (Fault("request.deadline", "deadline", "no"), ("fault", "request.deadline", "deadline")),
    (Fault("request.cancelled", "hung_up", "no"), ("cancelled", "request.cancelled", "hung_up")),
    (
        PluginError("internal", "plugin_failed", plugin="predicate(x)", operator="secret"),
        ("fault", "internal", "plugin_failed"),
    ),
    (RuntimeError("secret"), ("fault", "internal", "defect")),
    (KeyboardInterrupt(), ("fault", "internal", "defect")),
    (GeneratorExit(), ("fault", "internal", "defect")),
    (MemoryError(), ("fault", "internal", "defect")),
]


async def scope(entry: Entry, error: BaseException | None, *, hand_over: bool) -> None:
    async with entry as inner:
        assert inner is entry
        if hand_over:
            inner.hand_over()
        if error is not None:
            raise error


def run(asked: SignRequest, error: BaseException | None, *, hand_over: bool) -> MemoryLedger:
    ledger = MemoryLedger()
    coroutine = scope(Entry(asked, PEER, ledger), error, hand_over=hand_over)
    with pytest.raises(BaseException) as caught:  # what is thrown in must come out, whatever it is
        coroutine.send(None)
    assert caught.value is error or (error is None and isinstance(caught.value, StopIteration))
    return ledger


@pytest.mark.parametrize(("error", "told"), THROWN)
def test_what_ends_before_the_sealer_has_it_is_one_leaf(error: BaseException, told: tuple[str, str, str]) -> None:
    assert ending(error) == told
    asked = request()
    ledger = run(asked, error, hand_over=False)
    outcome, code, reason = told
    assert ledger.written == [RefusedRecord("id", facts(asked, PEER), outcome, code, reason)]


@pytest.mark.parametrize(("error", "told"), THROWN)
def test_what_ends_while_the_sealer_has_it_is_closed(error: BaseException, told: tuple[str, str, str]) -> None:
    ledger = run(request(), error, hand_over=True)
    assert ledger.written == [Close("id", told[0], told[1])]


@pytest.mark.parametrize("hand_over", [False, True])
@pytest.mark.parametrize("error", [error for error, _ in THROWN])
def test_what_the_sealer_has_closed_itself_is_closed_once(error: BaseException, hand_over: bool) -> None:
    asked = request()
    asked.settled = True
    assert run(asked, error, hand_over=hand_over).written == []


def test_what_was_signed_is_closed_by_who_answers() -> None:
    assert run(request(), None, hand_over=True).written == []


def test_the_hand_over_says_what_the_sealer_is_to_write() -> None:
    asked = request()
    understood(world(), asked)
    assert Entry(asked, PEER, MemoryLedger()).hand_over() == facts(asked, PEER)


def test_facts_of_a_request_of_which_nothing_is_known() -> None:
    asked = request(traceparent="00-1")
    peer = msgspec.structs.replace(PEER, executable="/usr/bin/x", unit="x.service")
    assert facts(asked, peer) == RequestFacts(
        "sign.dsse", PeerFacts(1000, 4242, "/usr/bin/x", "x.service"), traceparent="00-1"
    )


def test_facts_of_a_request_that_was_not_understood() -> None:
    asked = request(principal=PRINCIPAL)
    assert facts(asked, PEER) == RequestFacts("sign.dsse", PeerFacts(1000, 4242), "acme", "uid:1000")


def test_facts_of_a_request_that_was_understood() -> None:
    asked = request(order(poe=Poe("jwt", "secret")), principal=PRINCIPAL, predicate_sha256="ab")
    understood(world(), asked)
    assert facts(asked, PEER) == RequestFacts(
        "sign.dsse",
        PeerFacts(1000, 4242),
        "acme",
        "uid:1000",
        subjects=(SubjectFacts("artefact", DIGEST),),
        subject_count=1,
        predicate_type=NEEDS_RELEASE,
        predicate_sha256="ab",
        scanner_digest=TOOL,
        poe="jwt",
        mode="keyful",
    )
    assert "secret" not in repr(facts(asked, PEER))


def test_a_record_names_few_subjects_and_counts_all() -> None:
    many = tuple(Subject(str(index), digest={"sha256": f"{index:064x}"}) for index in range(40))
    asked = request(order(subject=many), principal=PRINCIPAL)
    understood(world(), asked)
    told = facts(asked, PEER)
    assert told.subject_count == 40
    assert [subject.name for subject in told.subjects] == [str(index) for index in range(SUBJECTS_IN_RECORD)]


def test_a_record_repeats_no_long_text_of_the_callers() -> None:
    long = "x" * TEXT_IN_RECORD
    asked = request(
        order(subject=(Subject(long + "y", digest={"sha256": DIGEST}),)),
        principal=PRINCIPAL,
        traceparent=long + "y",
    )
    assert facts(asked, PEER).traceparent == long
    understood(world(), asked)
    told = facts(asked, PEER)
    assert (told.traceparent, told.subjects) == (long, (SubjectFacts(long, DIGEST),))


def test_a_subject_that_nobody_has_hashed_has_no_digest_in_the_record() -> None:
    asked = request(principal=PRINCIPAL)
    asked.params = order(subject=(Subject("a", fd=0, size=1),))
    understood(world(), asked)
    told = facts(asked, PEER)
    assert told.subjects == (SubjectFacts("a"),)
    assert msgspec.json.encode(told.subjects) == b'[{"name":"a"}]'
