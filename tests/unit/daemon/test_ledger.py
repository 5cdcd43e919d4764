from fakes.services import FakeClock
from signerd.daemon.aggregate import Aggregate
from signerd.daemon.ledger import CappedLedger
from signerd.daemon.sealer_link import SealerLink
from signerd.wire.links import PeerFacts, Refusal, RequestFacts


def refused(audit_id: str, principal: str = "uid:1000") -> Refusal:
    facts = RequestFacts("sign.dsse", PeerFacts(1000, 7), "acme", principal)
    return Refusal(audit_id, facts, "refused", "predicate.invalid", "not_json")


def test_a_refusal_of_a_principal_waits_for_its_record_one_of_nobody_is_counted() -> None:
    link = SealerLink(FakeClock(), 5, lambda _: None)
    aggregate = Aggregate(100_000, 0)
    ledger = CappedLedger(link, aggregate)
    ledger.refuse(refused("a"))
    ledger.refuse(refused("b", principal=""))
    assert len(aggregate) == 1
    told: list[object] = []
    assert link.when_recorded("a", told.append) is True
    assert link.when_recorded("b", told.append) is False
