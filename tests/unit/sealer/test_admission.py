import os
from typing import Any

import pytest

from fakes.sealing import Bench, SoftKey
from signerd.host.memfd import sealed_memfd
from signerd.sealer.admission import check_payload, keys_of
from signerd.sealer.job import Violation
from signerd.wire.links import DecisionFacts, KeyUse, ReleaseFacts
from signerd.wire.worker_calls import Descriptor

BENCH = Bench(SoftKey(), SoftKey("file:other", tenant="other"))
OURS, FOREIGN = BENCH.keys


def use(held: SoftKey, **changes: Any) -> KeyUse:
    fields = {"key": held.entry.key, "source": "file", "keyid": held.entry.keyid, "version": 1, **changes}
    return KeyUse(**fields)


def decision(*uses: KeyUse, tenant: str = "local") -> DecisionFacts:
    return DecisionFacts("uid:1000", tenant, "embedded", ReleaseFacts("asserted"), uses)


def refused(**changes: Any) -> str:
    with pytest.raises(Violation) as caught:
        keys_of(BENCH.item(**changes), BENCH.ring)
    return caught.value.reason


def test_the_keys_of_a_decision_are_found_in_its_order() -> None:
    (key,) = keys_of(BENCH.item(decision=decision(use(OURS))), BENCH.ring)
    assert key.entry == OURS.entry


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"payload_type": "text/plain", "decision": decision(use(OURS))}, "payload_type"),
        ({"decision": decision()}, "decision_shape"),
        ({"decision": decision(use(OURS), tenant="other")}, "decision_shape"),
        ({"decision": decision(use(FOREIGN))}, "foreign_key"),
        ({"decision": decision(use(OURS, key="file:x"))}, "foreign_key"),
        ({"decision": decision(use(OURS, keyid=""))}, "foreign_key"),
        ({"decision": decision(use(OURS, keyid="sha256:0"))}, "foreign_key"),
        ({"decision": decision(use(OURS, version=2))}, "foreign_key_version"),
    ],
)
def test_what_no_honest_front_end_names_is_a_violation(changes: dict[str, Any], reason: str) -> None:
    assert refused(**changes) == reason


def test_a_payload_is_sealed_and_of_the_size_that_is_named() -> None:
    fd = sealed_memfd("payload", b"{}")
    try:
        check_payload(BENCH.item(Descriptor(0, 2)), fd)
        for size in (0, 1, 3):
            with pytest.raises(Violation):
                check_payload(BENCH.item(Descriptor(0, size)), fd)
    finally:
        os.close(fd)
