"""The checks of one verification, each with its outcome, and what came of them together."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from signerd.attestation.statement import Subject
from signerd.errors import Refusal

__all__ = ["Check", "Checks", "Outcome", "Verification", "printable"]

Outcome = Literal["passed", "failed", "skipped"]

_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its stable name, how it ended, a sentence in printable ASCII, and for a failure a stable
    reason."""

    name: str
    outcome: Outcome
    detail: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of it. ``verified`` holds when the signature passed and no check failed.

    All but the first two are set only if verified: what an unverified document says of itself is not passed on.
    ``predicate_type``, ``subjects`` and ``statement`` (the payload's bytes) are those of an envelope. Who
    signed: ``keyid`` always (of the certificate's key too), ``san`` and ``issuer`` for a certificate. What was
    proven beside the signature: ``times`` (promised by a log or stamped), how many ``log_entries`` and
    ``timestamps``, and ``witnesses``, how many of those asked about cosigned (the most of any entry).
    """

    verified: bool
    checks: tuple[Check, ...]
    predicate_type: str | None = None
    subjects: tuple[Subject, ...] = ()
    statement: bytes | None = None
    keyid: str | None = None
    san: str | None = None
    issuer: str | None = None
    times: tuple[datetime, ...] = ()
    log_entries: int = 0
    timestamps: int = 0
    witnesses: int = 0

    @property
    def failure(self) -> Check | None:
        """The first check that failed."""
        return next((check for check in self.checks if check.outcome == "failed"), None)

    @property
    def transparency(self) -> Outcome:
        """How the check of the log entries ended; skipped where it was not made."""
        return next((check.outcome for check in self.checks if check.name == "transparency"), "skipped")

    def require(self) -> "Verification":
        """Return itself where it is verified; else refuse with ``verification.failed`` and the reason of the
        first check that failed."""
        failure = self.failure
        if failure is not None:
            raise Refusal("verification.failed", failure.reason, f"{failure.name}: {failure.detail}")
        return self


class Checks:
    """The checks of one verification, in the order in which they were made."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made: list[Check] = []

    def passed(self, name: str, detail: str) -> None:
        """Add one that passed."""
        self.made.append(Check(name, "passed", printable(detail)))

    def skipped(self, name: str, detail: str) -> None:
        """Add one that was not made."""
        self.made.append(Check(name, "skipped", printable(detail)))

    def failed(self, name: str, reason: str, detail: str) -> None:
        """Add one that failed."""
        self.made.append(Check(name, "failed", printable(detail), reason))

    def refused(self, name: str, refusal: Refusal) -> None:
        """Add one that failed by ``refusal``."""
        self.failed(name, refusal.reason, refusal.public)

    @property
    def any_failed(self) -> bool:
        """Whether any of them failed."""
        return any(check.outcome == "failed" for check in self.made)

    def unverified(self) -> Verification:
        """Return the verification that ended here."""
        return Verification(False, tuple(self.made))


def printable(text: str) -> str:
    """Give text that a stranger wrote in printable ASCII, everything else escaped, cut at 200
    characters."""
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return _NOT_PRINTABLE.sub(lambda match: match.group().encode("unicode_escape").decode(), cut)
