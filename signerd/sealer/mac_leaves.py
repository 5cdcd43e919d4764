"""The ``decided`` leaf of a MAC, as :mod:`signerd.sealer.leaves` has that of a signature."""

from typing import Final

import msgspec

from signerd.contracts.services import Leaf
from signerd.sealer.leaves import LEAF_VERSION
from signerd.wire.links import RequestFacts
from signerd.wire.mac_links import MacDecision, MacItem

__all__ = ["decided_mac_leaf"]

_encode: Final = msgspec.json.Encoder(order="sorted").encode


class _Decided(msgspec.Struct, frozen=True, omit_defaults=True):
    audit_id: str
    decision: MacDecision
    kind: str
    request: RequestFacts
    time: int
    v: int


def decided_mac_leaf(item: MacItem, time: int) -> Leaf:
    """Return the leaf. It has the size of what was read, and nothing of its bytes: a digest of a short text would give
    it away, and who may read the log is not who may read that."""
    decided = _Decided(item.audit_id, item.decision, "decided", item.request, time, LEAF_VERSION)
    return Leaf(_encode(decided), item.audit_id, "decided", item.decision.tenant, time)
