import socket
from collections.abc import Iterator

import pytest

from fakes.sealing import HandClock
from signerd.daemon.aggregate import Aggregate
from signerd.daemon.ledger import CappedLedger
from signerd.daemon.sealer_link import SealerLink
from signerd.host.link import Link
from signerd.pipeline.services import Ledger
from signerd.wire.frames import encode_frame
from signerd.wire.links import Close, Opened, PeerFacts, RefusedRecord, RequestFacts


def refusal(audit_id: str, principal: str = "uid:1000") -> RefusedRecord:
    request = RequestFacts("sign.dsse", PeerFacts(1000, 1), "local", principal)
    return RefusedRecord(audit_id, request, "refused", "release.untrusted", "unknown")


@pytest.fixture
def sealer() -> Iterator[SealerLink]:
    """The link to a sealer that has opened."""
    ours, theirs = socket.socketpair()
    made = SealerLink(HandClock(), 10.0, lambda _: None)
    made.connect(Link(ours))
    theirs.sendall(encode_frame(Opened((), 0, {}, (), "process")))
    made.read()
    yield made
    made.lost()
    theirs.close()


def test_a_refusal_within_the_cap_is_queued_and_its_answer_waits_for_the_record(sealer: SealerLink) -> None:
    aggregate = Aggregate(10_000, 0.0)
    ledger: Ledger = CappedLedger(sealer, aggregate)
    ledger.refuse(refusal("a1"))
    assert sealer.when_recorded("a1", lambda _: None)
    assert len(aggregate) == 0


@pytest.mark.parametrize(("principal", "cap"), [("uid:1000", 1), ("", 10_000)])
def test_one_above_it_is_counted_and_its_answer_waits_for_nothing(sealer: SealerLink, principal: str, cap: int) -> None:
    aggregate = Aggregate(cap, 0.0)
    CappedLedger(sealer, aggregate).refuse(refusal("a1", principal))
    assert not sealer.when_recorded("a1", lambda _: None)
    assert len(aggregate) == 1


def test_how_a_sealed_request_ended_is_never_counted(sealer: SealerLink) -> None:
    aggregate = Aggregate(1, 0.0)
    sealer._released.add("a1")
    CappedLedger(sealer, aggregate).close(Close("a1", "signed"))
    assert sealer._closes == [Close("a1", "signed")]
    assert len(aggregate) == 0
