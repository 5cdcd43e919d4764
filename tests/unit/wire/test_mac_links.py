import msgspec
import pytest

from signerd.wire.links import KeyUse, PeerFacts, RequestFacts
from signerd.wire.mac_links import MacDecision, Maced, MacedMany, MacItem, MacMany, MacOutcome
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import CallError

DECISION = MacDecision("uid:1", "acme", "default", KeyUse("hmac:k", "hmac", "id", 1), "HMAC-SM3", "signing", 3)
FACTS = RequestFacts("hmac.compute", PeerFacts(1, 2), "acme", "uid:1", purpose="signing", key="hmac:k")


@pytest.mark.parametrize(
    "message",
    [
        MacMany((MacItem("a", FACTS, DECISION, b"abc", 5),)),
        MacMany((MacItem("b", FACTS, DECISION, Descriptor(0, 3), 5, b"m", 7),)),
        MacedMany((MacOutcome("a", Maced(mac=b"m")), MacOutcome("b", Maced(valid=True)), MacOutcome("c", Maced()))),
        MacedMany((MacOutcome("d", error=CallError("internal", "x", "y"), recorded=False),)),
    ],
)
def test_they_cross(message: msgspec.Struct) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=MacMany | MacedMany) == message


def test_what_is_not_degraded_says_nothing_of_it() -> None:
    assert "degraded" not in msgspec.to_builtins(DECISION)
