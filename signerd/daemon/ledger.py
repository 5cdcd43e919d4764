"""What the stories write their ends into: the sealer's link, with a cap on what refusals may take (T13)."""

from signerd.daemon.aggregate import Aggregate
from signerd.daemon.sealer_link import SealerLink
from signerd.wire.links import Close, RefusedRecord

__all__ = ["CappedLedger"]


class CappedLedger:
    """Ledger of :mod:`signerd.pipeline.services`. A refusal above the cap is counted, and its answer waits for
    nothing."""

    def __init__(self, sealer: SealerLink, aggregate: Aggregate) -> None:
        self._sealer = sealer
        self._aggregate = aggregate

    def refuse(self, refusal: RefusedRecord) -> None:
        """Record what ended before it was sealed, or count it."""
        if not self._aggregate.takes(refusal):
            self._sealer.refuse(refusal)

    def close(self, close: Close) -> None:
        """Record how a sealed request ended; never counted: what was sealed has its own record."""
        self._sealer.close(close)
