"""The in-process quota store: GCRA rate, slots, and a count per UTC day."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from signerd.contracts.services import Charge, Clock, Remaining
from signerd.errors import Refusal, SignerdError

__all__ = ["MemoryQuotaStore"]

DAY_MS = 86_400_000


@dataclass(slots=True)
class _State:
    """``arrival`` is GCRA's theoretical arrival time (ITU-T I.371, annex A) in monotonic seconds."""

    arrival: float = 0.0
    slots: int = 0
    day: int = 0
    signed: int = 0


@dataclass(slots=True)
class MemoryQuotaStore:
    """Limits of one host, in memory, per tenant: a plan that changes takes rate, slots and count over.

    The daily counts come from the audit log (``seed``), so a restart resets none.
    """

    clock: Clock
    _states: dict[str, _State] = field(default_factory=dict)

    def admit_many(self, charges: Sequence[Charge]) -> Sequence[Remaining | SignerdError]:
        """Take a slot and charge the rate for each; a refusal stands at the index of what was refused."""
        outcomes: list[Remaining | SignerdError] = []
        for charge in charges:
            try:
                outcomes.append(self._admit(charge))
            except Refusal as refusal:
                outcomes.append(refusal)
        return outcomes

    def release_many(self, charges: Sequence[Charge], *, signed: bool) -> None:
        """Give the slots back; count against the day what was signed."""
        for charge in charges:
            state = self._state(charge)
            state.slots -= 1
            if signed:
                state.signed += 1

    def seed(self, day: int, counts: dict[str, int]) -> None:
        """Take the day's counts per tenant, as the audit log has them; none is lowered."""
        for tenant, count in counts.items():
            state = self._states.setdefault(tenant, _State())
            state.day, state.signed = day, max(count, state.signed if state.day == day else 0)

    def peek(self, charge: Charge) -> Remaining:
        """Return what is left, charging nothing."""
        state = self._state(charge)
        left = None
        if charge.rate is not None:
            ahead = max(0.0, state.arrival - self.clock.monotonic())
            left = max(0, int(charge.burst - ahead * charge.rate + 1e-9))
        daily = None if charge.daily is None else max(0, charge.daily - state.signed - state.slots)
        return Remaining(max(0, charge.concurrency - state.slots), left, daily)

    def _state(self, charge: Charge) -> _State:
        state = self._states.get(charge.tenant)
        if state is None:
            state = self._states[charge.tenant] = _State()
        day = self.clock.now_ms() // DAY_MS
        if state.day != day:
            state.day, state.signed = day, 0
        return state

    def _admit(self, charge: Charge) -> Remaining:
        state = self._state(charge)
        if state.slots >= charge.concurrency:
            raise _refusal("quota.concurrency", "too many requests at once", charge.concurrency, 0, 0)
        # Slots in use count too: what is being signed will be signed, and the limit holds across a burst.
        if charge.daily is not None and state.signed + state.slots >= charge.daily:
            reset = (state.day + 1) * DAY_MS
            raise _refusal("quota.daily", "the plan's signatures of this day are used up", charge.daily, 0, reset)
        if charge.rate is not None:
            self._charge_rate(state, charge.rate, charge.burst)
        state.slots += 1
        return self.peek(charge)

    def _charge_rate(self, state: _State, rate: float, burst: int) -> None:
        now = self.clock.monotonic()
        interval = 1.0 / rate
        arrival = max(state.arrival, now) + interval
        early = arrival - now - burst * interval
        if early > 1e-9:
            wait_ms = max(1, int(early * 1000) + 1)
            raise _refusal(
                "quota.rate",
                "the plan's rate is exceeded",
                burst,
                0,
                self.clock.now_ms() + wait_ms,
                retry_after_ms=wait_ms,
            )
        state.arrival = arrival


def _refusal(
    code: str, text: str, limit: int, remaining: int, reset_at: int, *, retry_after_ms: int | None = None
) -> Refusal:
    return Refusal(
        code,
        code.partition(".")[2] + "_exceeded",
        text,
        retry_after_ms=retry_after_ms,
        details={"limit": limit, "remaining": remaining, "reset_at": reset_at},
    )
