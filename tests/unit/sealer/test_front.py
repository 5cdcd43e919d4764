import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from fakes.front_end import STATEMENT, FrontEnd
from fakes.sealing import NOW, Bench, open_here
from signerd.errors import Fault, Refusal
from signerd.host.link import Link, LinkBroken, LinkClosed
from signerd.host.memfd import sealed_memfd
from signerd.sealer.front import OUTCOMES_PER_FRAME, Front, answer_of
from signerd.sealer.job import Violation
from signerd.wire.frames import encode_frame
from signerd.wire.links import (
    LINK_VERSION,
    AdminCall,
    Answer,
    Close,
    CloseMany,
    EntryCall,
    Open,
    PeerFacts,
    Query,
    RefusedRecord,
    RefuseMany,
    RequestFacts,
    SealedMany,
    SealMany,
)
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import PAYLOAD_INLINE

REQUEST = RequestFacts("sign.dsse", PeerFacts(1000, 1), "local", "uid:1000")


class Ends:
    """A Front over a real socket, and whoever holds the other end."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.bench = Bench()
        self.queries: list[Query] = []
        self.calls: list[AdminCall] = []
        self.link = Link(theirs)
        self.entries: list[EntryCall] = []
        hands = (self.queries.append, self.calls.append, self.entries.append)
        self.front = Front(self.link, self.bench.sealing, self.bench.macs, *hands)
        self.peer = FrontEnd(ours)
        self.peer.ring = {key.entry.key: key.entry for key in self.bench.keys}

    def opened(self) -> "Ends":
        self.peer.send(Open(LINK_VERSION, "test"))
        self.front.read()
        return self

    def close(self) -> None:
        self.bench.close()
        self.link.close()
        self.peer.link.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def test_open_comes_first_and_once(ends: Ends) -> None:
    opened = [ends.front.opened, ends.opened().front.opened]
    assert opened == [False, True]
    ends.peer.send(Open(LINK_VERSION, "again"))
    with pytest.raises(Violation, match="open_order"):
        ends.front.read()


@pytest.mark.parametrize("message", [CloseMany(()), RefuseMany(()), SealMany(()), Query(1, "t", {}, 0, 1)])
def test_nothing_comes_before_it(ends: Ends, message: msgspec.Struct) -> None:
    ends.peer.send(message)
    with pytest.raises(Violation, match="open_missing"):
        ends.front.read()
    assert not ends.queries


def test_messages_reach_whom_they_are_for(ends: Ends) -> None:
    ends.opened()
    item = ends.peer.item()
    query, call = Query(7, "local", {}, 0, 10), EntryCall(8, "local", "id1", 100)
    refused = RefusedRecord("r1", REQUEST, "refused", "quota.rate", "r")
    ends.peer.send(SealMany((item,)), query, call, RefuseMany((refused,)))
    ends.front.read()
    assert (ends.queries, ends.entries) == ([query], [call])
    ends.bench.turn()
    ends.bench.backend.answer()
    ends.front.flush()
    ends.peer.wait(ends.peer.outcomes)
    assert ends.peer.outcomes()[item.audit_id].ok is not None
    ends.peer.send(CloseMany((Close(item.audit_id, "signed"),)))
    ends.front.read()
    ends.bench.turn()
    assert ends.bench.kinds(item.audit_id) == ["decided", "outcome:signed"]
    assert ends.bench.kinds("r1") == ["refused:refused:quota.rate"]


@pytest.mark.parametrize(
    "body", [b"\xc1", b"", b"\x80", b"\x81\xa4type\xa5query", b"\x81\xa4type\xa3\xff\xff\xff", b"\x91" * 5000]
)
def test_a_frame_that_is_no_message_is_a_breach(ends: Ends, body: bytes) -> None:
    ends.opened()
    ends.peer.send_bytes(struct.pack(">I", len(body)) + body)
    with pytest.raises(Violation, match="frame_shape"):
        ends.front.read()


def test_descriptors_are_taken_or_closed(ends: Ends) -> None:
    ends.opened()
    payload = STATEMENT + b" " * PAYLOAD_INLINE
    before = open_here()
    fd = sealed_memfd("a", payload)
    sent: dict[str, Any] = {
        "descriptor_surplus": (SealMany((ends.peer.item(payload=Descriptor(0, len(payload))),)), [fd, fd]),
        "descriptor_index": (SealMany((ends.peer.item(payload=Descriptor(1, len(payload))),)), [fd]),
        "size_mismatch": (SealMany((ends.peer.item(payload=Descriptor(0, 5)),)), [fd]),
        "payload_type": (
            SealMany((ends.peer.item(payload=Descriptor(0, len(payload)), payload_type="x"),)),
            [fd],
        ),
    }
    for reason, (message, fds) in sent.items():
        ends.peer.send(message, fds=fds)
        with pytest.raises(Violation, match=reason):
            ends.front.read()
    os.close(fd)
    ends.bench.settle()
    ends.bench.sealing.give_up()
    ends.bench.settle()
    assert open_here() == before


def test_several_descriptors_in_one_frame(ends: Ends) -> None:
    ends.opened()
    payloads = [STATEMENT + b" " * (PAYLOAD_INLINE + n) for n in range(3)]
    fds = [sealed_memfd("a", payload) for payload in payloads]
    items = [ends.peer.item(payload=Descriptor(2 - n, len(payloads[2 - n]))) for n in range(3)]
    ends.peer.send(SealMany(tuple(items)), fds=fds)
    for fd in fds:
        os.close(fd)
    ends.front.read()
    ends.bench.settle()
    ends.bench.turn()
    ends.bench.backend.answer()
    ends.bench.settle()
    ends.front.flush()
    ends.peer.wait(lambda: len(ends.peer.outcomes()) == 3)
    for item in items:
        ok = ends.peer.outcomes()[item.audit_id].ok
        assert ok is not None
        assert isinstance(ok.signatures[0].bundle, Descriptor)
        assert ok.signatures[0].bundle.fd == 0, "an answer with descriptors has a frame of its own"


def test_an_inline_payload_has_its_limit(ends: Ends) -> None:
    ends.opened()
    at_it, above = (ends.peer.item(payload=bytes(PAYLOAD_INLINE + more)) for more in (0, 1))
    # More than a socket holds: somebody must send while the other reads.
    sending = threading.Thread(target=lambda: ends.peer.send(SealMany((at_it,)), SealMany((above,))))
    sending.start()

    def read_on() -> None:
        while select.select([ends.link], [], [], 20)[0]:
            ends.front.read()

    with pytest.raises(Violation, match="payload_inline") as caught:
        read_on()
    sending.join()
    assert caught.value.audit_id == above.audit_id
    ends.bench.turn()
    assert ends.bench.kinds(at_it.audit_id) == ["decided"]


def test_answers_leave_in_groups_as_soon_as_a_group_is_there(ends: Ends) -> None:
    ends.opened()
    ends.peer.send(SealMany(tuple(ends.peer.item() for _ in range(2 * OUTCOMES_PER_FRAME + 1))))
    ends.front.read()
    ends.bench.turn()
    ends.bench.sealing.answers.ready.clear()
    calls = ends.bench.backend.calls
    ends.bench.backend.calls = calls[: OUTCOMES_PER_FRAME - 1]
    ends.bench.backend.answer()
    ends.front.progress()
    assert not ends.link.wants_write
    assert len(ends.bench.sealing.answers.ready) == OUTCOMES_PER_FRAME - 1
    ends.bench.backend.calls = calls[OUTCOMES_PER_FRAME - 1 :]
    ends.bench.backend.answer()
    ends.front.progress()
    ends.peer.wait(lambda: len(ends.peer.outcomes()) == 2 * OUTCOMES_PER_FRAME + 1)
    assert [len(many.outcomes) for many in ends.peer.got(SealedMany)] == [OUTCOMES_PER_FRAME] * 2 + [1]


def test_what_could_not_be_recorded_is_said_of_each(ends: Ends) -> None:
    ends.opened()
    ends.bench.store.failing = Fault("audit.unavailable", "disk_full", "the audit log cannot be used")
    expired = ends.peer.item(principal_expires_at=NOW)
    ends.peer.send(SealMany((ends.peer.item(), expired)))
    ends.peer.send(RefuseMany((RefusedRecord("r1", REQUEST, "refused", "quota.rate", "r"),)))
    ends.front.read()
    ends.bench.sealing.turn()
    ends.front.flush()
    ends.peer.wait(lambda: len(ends.peer.outcomes()) == 2)
    assert {(o.error.code, o.recorded) for o in ends.peer.outcomes().values() if o.error} == {
        ("audit.unavailable", False)
    }


def test_the_end_of_the_link_and_its_breach_are_told_apart(ends: Ends) -> None:
    ends.opened()
    ends.peer.send_bytes(encode_frame(CloseMany(())) + b"\xff\xff\xff\xff")
    with pytest.raises(LinkBroken):
        ends.front.read()
    ends.peer.link.close()
    with pytest.raises(LinkClosed):
        ends.front.read()


def test_a_query_that_fails_is_answered() -> None:
    query = Query(3, "local", {}, 0, 10)

    def fail() -> Answer:
        raise Refusal("request.malformed", "page_out_of_range", "out of range")

    answer = answer_of(query, fail)
    assert answer.id == 3
    assert answer.error is not None
    assert (answer.error.code, answer.error.reason) == ("request.malformed", "page_out_of_range")
    assert answer_of(query, lambda: Answer(3, (b"x",), (0,))).records == (b"x",)
