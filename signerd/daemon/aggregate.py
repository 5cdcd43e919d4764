"""Refusals that are counted instead of recorded one by one, or whoever may connect could fill the disk (T13).

Three kinds: what was refused before a principal was known, what was refused to a method that reads, and what a bound
principal was refused after its uid had used up its minute's bytes of single records. One record per uid, tenant, code
and minute says how many. Pure: whoever owns it asks for the records when the minute is over.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from signerd.wire.links import PeerFacts, RefusedRecord, RequestFacts

__all__ = ["MOST_KEYS", "NOBODY", "SEVERAL", "Aggregate"]

MINUTE_S: Final = 60.0
MOST_KEYS: Final = 1024
"""Counts that are kept apart; the uids of what comes beyond stand together under :data:`NOBODY`."""
NOBODY: Final = 2**32 - 1
"""The uid that no process can have: (uid_t)-1."""
SEVERAL: Final = "*"
"""Stands in a record where the requests that it counts did not agree."""
ROW_BYTES: Final = 256
"""What a record takes beside its facts: its fixed fields, its columns and its places in the indices."""

_encode: Final = msgspec.json.Encoder().encode


class _Count:
    __slots__ = ("count", "method", "outcome", "pid", "principal", "reason")

    def __init__(self, request: RequestFacts, outcome: str, reason: str) -> None:
        self.count = 0
        self.method = request.method
        self.outcome = outcome
        self.pid = request.peer.pid
        self.principal = request.principal
        self.reason = reason


class Aggregate:
    """Counts of one minute, from ``now`` on; ``bytes_per_minute`` is what one uid's single refusals may take in the
    log."""

    def __init__(self, bytes_per_minute: int, now: float) -> None:
        self._bytes_per_minute = bytes_per_minute
        self._minute = int(now // MINUTE_S)
        self._counts: dict[tuple[int, str, str], _Count] = {}
        self._spent: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def takes(self, refusal: RefusedRecord) -> bool:
        """Count ``refusal`` here if it gets no record of its own; False says that it is to be recorded by itself.

        It is counted where nobody is bound, and above the minute's bytes of its uid.
        """
        uid = refusal.request.peer.uid
        if refusal.request.principal and (uid in self._spent or len(self._spent) < MOST_KEYS):
            spent = self._spent.get(uid, 0) + len(_encode(refusal)) + ROW_BYTES
            if spent <= self._bytes_per_minute:
                self._spent[uid] = spent
                return False
        self.count(refusal.request, refusal.outcome, refusal.code, refusal.reason)
        return True

    def count(self, request: RequestFacts, outcome: str, code: str, reason: str) -> None:
        """Count one more that was refused."""
        key = (request.peer.uid, request.tenant, code)
        if key not in self._counts and len(self._counts) >= MOST_KEYS:
            # One entry for each code, and there is a fixed number of codes.
            key = (NOBODY, "", code)
        counted = self._counts.get(key)
        if counted is None:
            counted = self._counts[key] = _Count(request, outcome, reason)
        counted.count += 1
        if counted.method != request.method:
            counted.method = SEVERAL
        if counted.reason != reason:
            counted.reason = SEVERAL
        if counted.outcome != outcome:
            counted.outcome = "fault"
        if counted.principal != request.principal:
            counted.principal = ""
        if counted.pid != request.peer.pid:
            counted.pid = 0

    def flush(self, now: float, ids: Callable[[], str], *, early: bool = False) -> list[RefusedRecord]:
        """Return the records of a minute that is over at ``now`` (monotonic seconds), or of an unfinished one too.

        ``ids`` names them. A pid of 0 and an empty principal stand where the counted requests had several.
        """
        minute = int(now // MINUTE_S)
        if minute == self._minute and not early:
            return []
        self._minute = minute
        self._spent.clear()
        counts, self._counts = self._counts, {}
        return [
            RefusedRecord(
                ids(),
                RequestFacts(each.method, PeerFacts(uid, each.pid), tenant, each.principal),
                each.outcome,
                code,
                each.reason,
                each.count,
            )
            for (uid, tenant, code), each in counts.items()
        ]
