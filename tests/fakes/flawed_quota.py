"""A quota store with one flaw, for the contract class that must find it; ``none`` is none, ``waits`` is none either."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import trio

from signerd.contracts.services import Charge, Remaining
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.clock import SystemClock
from signerd.pipeline.quota import MemoryQuotaStore

__all__ = ["FlawedStore"]

WAITS = ("waits", "leaks_on_cancel")
SAYS = ("bool", "says_nothing_left", "fault", "other_code", "no_details")
MANY = 1_000_000


class FlawedStore:
    def __init__(self, flaw: str) -> None:
        self.flaw = flaw
        self.inner = MemoryQuotaStore(SystemClock())

    def admit_many(self, charges: Sequence[Charge]) -> Any:
        return self._later(charges) if self.flaw in WAITS else self._admit_many(charges)

    def release_many(self, charges: Sequence[Charge], *, signed: bool) -> Any:
        altered = [self._altered(charge) for charge in charges]
        if self.flaw == "keeps_unsigned" and not signed:
            return None
        if self.flaw == "keeps_signed" and signed:
            return None
        self.inner.release_many(altered, signed=signed or self.flaw == "counts_unsigned")
        if self.flaw == "rate_back":
            for charge in altered:
                self.inner._states[charge.tenant].arrival = 0.0
        return True if self.flaw == "release_says" else self._nothing() if self.flaw == "waits" else None

    def seed(self, day: int, counts: dict[str, int]) -> Any:
        if self.flaw == "any_day":
            day = int(time.time()) // 86_400
        if self.flaw == "seed_adds":
            for tenant, count in counts.items():
                state = self.inner._states.get(tenant)
                counts = {**counts, tenant: count + (state.signed if state else 0)}
        if self.flaw == "seed_lowers":
            for tenant in counts:
                if tenant in self.inner._states:
                    self.inner._states[tenant].signed = 0
        if self.flaw != "seed_ignored":
            self.inner.seed(day, counts)
        return True if self.flaw == "seed_says" else self._nothing() if self.flaw == "waits" else None

    async def _nothing(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _later(self, charges: Sequence[Charge]) -> Any:
        if self.flaw == "waits":
            await trio.lowlevel.checkpoint()
        answer = self._admit_many(charges)
        if self.flaw == "leaks_on_cancel":
            await trio.lowlevel.checkpoint()
        return answer

    def _admit_many(self, charges: Sequence[Charge]) -> Any:
        answers: list[Remaining | SignerdError] = list(self.inner.admit_many([self._altered(c) for c in charges]))
        refused = [one for one in answers if isinstance(one, Refusal)]
        if self.flaw == "refusal_takes_slot":
            for charge, answer in zip(charges, answers, strict=True):
                if isinstance(answer, Refusal):
                    self.inner._states[charge.tenant].slots += 1
        elif self.flaw == "raises" and refused:
            raise refused[0]
        return [self._said(answer) for answer in answers] if self.flaw in SAYS else _cut(self.flaw, answers)

    def _said(self, answer: Remaining | SignerdError) -> object:
        if self.flaw == "bool":
            return isinstance(answer, Remaining)
        if isinstance(answer, Remaining):
            return Remaining(0, 0, 0) if self.flaw == "says_nothing_left" else answer
        refusals = {
            "fault": Fault("internal", "x", "no"),
            "other_code": Refusal("auth.required", "x", "no"),
            "no_details": Refusal("quota.rate", "x", "no"),
        }
        return refusals.get(self.flaw, answer)

    def _altered(self, charge: Charge) -> Charge:
        """The charge as this store takes it."""
        every: dict[str, dict[str, Any]] = {
            "no_slots": {"concurrency": MANY},
            "no_rate": {"rate": None if charge.rate is None else float(MANY), "burst": MANY},
            "slow_rate": {"rate": None if charge.rate is None else 1e-9},
            "no_daily": {"daily": None if charge.daily is None else MANY},
            "one_tenant": {"tenant": "all"},
            "per_plan": {"tenant": charge.tenant + charge.plan},
        }
        return msgspec.structs.replace(charge, **every.get(self.flaw, {}))


def _cut(flaw: str, answers: list[Remaining | SignerdError]) -> list[Remaining | SignerdError]:
    return answers[:1] if flaw == "first_only" else answers
