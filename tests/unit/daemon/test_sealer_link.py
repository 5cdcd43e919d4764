import os
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from fakes.services import PEER, FakeClock, Hand, World, request, world
from signerd.daemon.sealer_link import BYTES_PER_FRAME, ITEMS_PER_FRAME, SealerLink, told
from signerd.daemon.story import Story
from signerd.errors import Fault, SignerdError
from signerd.host.link import Link, LinkClosed
from signerd.host.memfd import sealed_memfd
from signerd.pipeline.evidence import Signed
from signerd.pipeline.sign import sign as signing
from signerd.pipeline.waits import SealWait
from signerd.wire.backends import BackendChanged, BackendState
from signerd.wire.frames import encode_frame
from signerd.wire.links import (
    LINK_VERSION,
    Answer,
    Close,
    CloseMany,
    Open,
    Opened,
    PeerFacts,
    Query,
    Recorded,
    RefusedRecord,
    RefuseMany,
    RequestFacts,
    SealedMany,
    SealMany,
    SealOutcome,
    StillVerifying,
)
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import CallError

SILENT_S = 5.0
OPENED = Opened((), 1, {}, (), "process")
_decode = msgspec.msgpack.Decoder(Open | SealMany | CloseMany | RefuseMany | Query)


class Side:
    """A link, and the sealer's end of it in the test's hand."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.clock = FakeClock()
        self.news: list[msgspec.Struct] = []
        self.link = SealerLink(self.clock, SILENT_S, self.news.append)
        self.sealer = Link(theirs)
        self.link.connect(Link(ours))

    def opened(self) -> "Side":
        assert self.heard() == [Open(LINK_VERSION, "signerd")]
        self.say(OPENED)
        return self

    def say(self, message: msgspec.Struct, fds: tuple[int, ...] = ()) -> None:
        self.sealer.queue(encode_frame(message), fds)
        self.sealer.flush()
        self.link.read()

    def heard(self) -> list[Any]:
        self.link.flush()
        self.fds: list[tuple[int, ...]] = []
        messages = []
        while found := self.sealer.read():  # a message with descriptors ends a read
            for frame, fds in found:
                messages.append(_decode.decode(frame))
                self.fds.append(fds)
        return messages


@pytest.fixture
def side() -> Iterator[Side]:
    before = set(os.listdir("/proc/self/fd"))
    made = Side()
    yield made
    made.link.lost()
    made.sealer.close()
    assert set(os.listdir("/proc/self/fd")) <= before


class Linked(Hand):
    """A hand that gives seals to the link."""

    def __init__(self, link: SealerLink) -> None:
        super().__init__()
        self._link = link

    def seal(self, story: Any, wait: SealWait) -> None:  # type: ignore[override]
        self.wait = wait

        def ended(result: Any) -> None:
            if isinstance(result, SignerdError):
                story.request.settled = True
                story.throw(result)
            else:
                story.resume(result)

        self._link.seal(wait.item, wait.fd, ended)

    def forget(self, story: Any, wait: Any) -> None:
        self._link.forget(wait.item.audit_id)


def sign(side: Side, audit_id: str = "id") -> tuple[Any, Linked, World]:
    given = world()
    asked = request()
    asked.audit_id = audit_id
    hand = Linked(side.link)
    story = Story(asked, signing(asked, PEER, given.services), hand, lambda _story, _result: None)
    story.start()
    return story, hand, given


def code(hand: Hand) -> str:
    (end,) = hand.ends
    assert isinstance(end, SignerdError)
    return f"{end.code}/{end.reason}"


def refusal(audit_id: str) -> RefusedRecord:
    request = RequestFacts("sign.dsse", PeerFacts(1, 2))
    return RefusedRecord(audit_id, request, "refused", "predicate.invalid", "not_json")


def test_open_is_said_first_and_nothing_is_asked_before_the_answer(side: Side) -> None:
    _, hand, _ = sign(side)
    assert code(hand) == "audit.unavailable/sealer_down"
    side.opened()
    assert side.news == [OPENED]
    assert side.link.connected


def test_what_waits_goes_in_arrays_in_order(side: Side) -> None:
    side.opened()
    stories = [sign(side, f"{number:04}") for number in range(ITEMS_PER_FRAME + 3)]
    groups = side.heard()
    assert [len(group.items) for group in groups] == [ITEMS_PER_FRAME, 3]
    assert [item.audit_id for group in groups for item in group.items] == [f"{n:04}" for n in range(len(stories))]
    assert side.heard() == []


def test_large_payloads_are_cut_into_frames_below_the_links_limit(side: Side) -> None:
    side.opened()
    story, hand, _ = sign(side)
    assert isinstance(hand.wait, SealWait)
    for number in range(4):
        item = msgspec.structs.replace(hand.wait.item, audit_id=str(number), payload=b"x" * (BYTES_PER_FRAME // 2 - 1))
        side.link.seal(item, None, story.resume)
    sizes = []
    for _ in range(60):
        sizes += [sum(len(item.payload) for item in group.items) for group in side.heard()]
    assert len(sizes) >= 2
    assert max(sizes) <= BYTES_PER_FRAME


def test_a_payload_by_descriptor_goes_alone_with_a_descriptor_of_its_own(side: Side) -> None:
    side.opened()
    story, hand, _ = sign(side, "small")
    assert isinstance(hand.wait, SealWait)
    fd = sealed_memfd("payload", b"12345")
    item = msgspec.structs.replace(hand.wait.item, audit_id="large", payload=Descriptor(0, 5))
    side.link.seal(item, fd, story.resume)
    os.close(fd)  # the story may be over before the frame leaves
    groups = side.heard()
    assert sorted([item.audit_id for item in group.items] for group in groups) == [["large"], ["small"]]
    (own,) = [fds for fds in side.fds if fds]
    assert os.pread(own[0], 5, 0) == b"12345"
    os.close(own[0])


def test_outcomes_step_their_stories(side: Side) -> None:
    side.opened()
    good, bad = sign(side, "good"), sign(side, "bad")
    side.heard()
    sealed, _ = good[2].sealer.seal(good[1].wait)  # type: ignore[arg-type]  # it waits for the sealer
    error = CallError("key.backend_unavailable", "worker_down", "later", "pid 7")
    side.say(SealedMany((SealOutcome("bad", error=error), SealOutcome("good", ok=sealed))))
    assert isinstance(good[1].ends[0], Signed)
    assert code(bad[1]) == "key.backend_unavailable/worker_down"
    assert bad[0].request.settled, "the sealer wrote the end itself"


def test_an_outcome_for_one_that_was_cut_short_is_dropped_with_its_descriptors(side: Side) -> None:
    side.opened()
    story, hand, given = sign(side)
    side.heard()
    sealed, _ = given.sealer.seal(hand.wait)  # type: ignore[arg-type]
    story.cut_short(Fault("request.cancelled", "cancelled", "cancelled"))
    fd = sealed_memfd("bundle", b"x")
    side.say(SealedMany((SealOutcome("id", ok=sealed),)), (fd,))
    assert code(hand) == "request.cancelled/cancelled"


def test_a_signed_record_is_closed_once(side: Side) -> None:
    side.opened()
    _, hand, given = sign(side)
    side.heard()
    sealed, _ = given.sealer.seal(hand.wait)  # type: ignore[arg-type]
    side.say(SealedMany((SealOutcome("id", ok=sealed),)))
    side.link.close(Close("id", "signed"))
    side.link.close(Close("id", "signed"))
    side.link.close(Close("another sealer's", "signed"))
    assert side.heard() == [CloseMany((Close("id", "signed"),))]


def test_a_refusal_is_told_once_it_is_durable_or_why_it_is_not(side: Side) -> None:
    side.opened()
    told_: list[SignerdError | None] = []
    for audit_id in ("a", "b"):
        side.link.refuse(refusal(audit_id))
        assert side.link.when_recorded(audit_id, told_.append) is True
    assert side.link.when_recorded("c", told_.append) is False
    (sent,) = side.heard()
    assert [one.audit_id for one in sent.items] == ["a", "b"]
    assert told_ == []
    side.say(Recorded(("a",)))
    assert told_ == [None]
    side.say(Recorded(("b",), CallError("audit.unavailable", "disk_full", "no")))
    assert told_[1] is not None
    assert told_[1].reason == "disk_full"


def test_a_query_gets_its_page(side: Side) -> None:
    side.opened()
    pages: list[Answer | SignerdError] = []
    side.link.query("acme", {"audit_id": "x"}, 3, 10, pages.append)
    (query,) = side.heard()
    assert (query.tenant, query.filters, query.cursor, query.limit) == ("acme", {"audit_id": "x"}, 3, 10)
    side.say(Answer(query.id + 1))  # nobody asked
    side.say(Answer(query.id, (b"leaf",), (4,)))
    assert [page.records for page in pages if isinstance(page, Answer)] == [(b"leaf",)]


def test_when_the_sealer_is_lost_everybody_is_answered(side: Side) -> None:
    side.opened()
    _, sent, _ = sign(side, "sent")
    side.heard()
    story, queued, _ = sign(side, "queued")
    assert isinstance(queued.wait, SealWait)
    fd = sealed_memfd("payload", b"12345")
    item = msgspec.structs.replace(queued.wait.item, audit_id="large", payload=Descriptor(0, 5))
    side.link.seal(item, fd, story.resume)
    os.close(fd)
    answers: list[Any] = []
    side.link.refuse(refusal("r"))
    side.link.when_recorded("r", answers.append)
    side.link.query("acme", {}, 0, 1, answers.append)
    side.sealer.close()
    with pytest.raises(LinkClosed):
        side.link.read()
    side.link.lost()
    assert code(sent) == "audit.unavailable/sealer_lost"
    assert queued.ends
    assert [answer.reason for answer in answers] == ["sealer_lost"] * 2
    assert not side.link.connected
    side.link.refuse(refusal("later"))
    assert side.link.when_recorded("later", answers.append) is True
    side.link.query("acme", {}, 0, 1, answers.append)
    assert [answer.reason for answer in answers[2:]] == ["sealer_down"] * 2
    assert all(answer.code == "audit.unavailable" for answer in answers)


def test_silence_is_measured_by_who_waits_longest(side: Side) -> None:
    side.opened()
    assert not side.link.silent(side.clock.monotonic() + 100)
    story, _, _ = sign(side)
    assert not side.link.silent(side.clock.monotonic() + SILENT_S)
    assert side.link.silent(side.clock.monotonic() + SILENT_S + 1)
    story.cut_short(Fault("request.deadline", "deadline", "over"))
    assert side.link.silent(side.clock.monotonic() + SILENT_S + 1), "a sealer that hangs shows all the same"


def test_a_sealer_that_says_what_takes_it_long_is_not_silent(side: Side) -> None:
    side.opened()
    sign(side)
    begun = side.clock.monotonic()
    side.clock.seconds += SILENT_S
    side.say(StillVerifying(("id", "never-heard-of")))
    assert not side.link.silent(begun + SILENT_S + 1)
    assert not side.link.silent(begun + 2 * SILENT_S)
    assert side.link.silent(begun + 2 * SILENT_S + 1)


@pytest.mark.parametrize("raw", [b"\x80", b"\xc1", msgspec.msgpack.encode({"type": "sealed_many", "outcomes": 5})])
def test_a_frame_out_of_shape_ends_the_link(side: Side, raw: bytes) -> None:
    side.opened()
    side.sealer.queue(len(raw).to_bytes(4, "big") + raw)
    side.sealer.flush()
    with pytest.raises(LinkClosed):
        side.link.read()


def test_news_is_what_nobody_asked_for(side: Side) -> None:
    side.opened()
    changed = BackendChanged(BackendState("soft", "file", up=False))
    side.say(changed)
    assert side.news == [OPENED, changed]


def test_an_error_is_the_exception_that_it_was() -> None:
    error = told(CallError("key.revoked", "revoked", "no longer", "by whom"))
    assert (error.code, error.reason, error.public) == ("key.revoked", "revoked", "no longer")
    assert "by whom" in str(error)


def test_an_error_keeps_its_details_and_when_to_ask_again(side: Side) -> None:
    side.opened()
    story, hand, _ = sign(side)
    side.heard()
    touch = CallError("key.presence_required", "touch", "touch it")
    told = {"approval_id": "ab", "expires_at": 5}
    side.say(SealedMany((SealOutcome("id", error=touch, details=told, retry_after_ms=1000),)))
    (end,) = hand.ends
    assert isinstance(end, SignerdError)
    assert end.details == {"reason": "touch", **told}
    assert end.retry_after_ms == 1000
    del story
