"""What stands beside a signature: log entries, timestamps, and the chain and SCTs of a certificate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from signerd.attestation.bundle import Bundle
from signerd.errors import Refusal
from signerd.verification.certificates import CODE_SIGNING, SigningCertificate, build_chain
from signerd.verification.checkpoint import Witness
from signerd.verification.checks import Checks
from signerd.verification.log_entry import verify_log_entry
from signerd.verification.sct import verify_embedded_scts
from signerd.verification.signed import Signed
from signerd.verification.stamp import verify_stamp
from signerd.verification.trusted_root import Log, TrustedRoot

__all__ = [
    "Evidence",
    "Requirements",
    "check_certificate",
    "check_log_entries",
    "check_log_windows",
    "check_timestamps",
]

_AHEAD: Final = timedelta(minutes=5)
"""How far a clock of a log or authority may run before ours."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What must be proven beside the signature: at least so many log entries and timestamps; an SCT in a
    certificate; and, of one log entry, the cosignatures of at least ``witness_threshold`` of ``witnesses``."""

    log_entries: int = 1
    timestamps: int = 0
    sct: bool = True
    witnesses: Sequence[Witness] = ()
    witness_threshold: int = 0


@dataclass(slots=True)
class Evidence:
    """What was proven so far; ``untimed`` are the logs of entries whose time no log promised."""

    times: list[datetime] = field(default_factory=list)
    untimed: list[Log] = field(default_factory=list)
    log_entries: int = 0
    timestamps: int = 0
    witnesses: int = 0


def check_log_entries(
    checks: Checks,
    found: Evidence,
    bundle: Bundle,
    signed: Signed,
    root: TrustedRoot,
    requirements: Requirements,
    now: datetime,
) -> None:
    """Make the checks ``transparency`` and, where asked for, ``witnesses``.

    An entry of a log that the root does not know counts for nothing; any other that does not verify fails.
    """
    told: list[str] = []
    unknown = 0
    for entry in bundle.log_entries:
        try:
            logged = verify_log_entry(entry, signed, root.logs, requirements.witnesses)
            if logged.at is None:
                found.untimed.append(logged.log)
            else:
                _check_clock(logged.at, now)
                found.times.append(logged.at)
        except Refusal as refusal:
            if refusal.reason != "log_unknown":
                checks.refused("transparency", refusal)
                return
            unknown += 1
            continue
        found.log_entries += 1
        found.witnesses = max(found.witnesses, logged.witnesses)
        told.append(f"{logged.log.host} {logged.index}")
    if found.log_entries < requirements.log_entries:
        reason = "log_unknown" if unknown else "log_entry_missing"
        checks.failed(
            "transparency",
            reason,
            f"{found.log_entries} log entries of logs of the trusted root, {requirements.log_entries} needed",
        )
    elif told:
        checks.passed("transparency", ", ".join(told))
    else:
        checks.skipped("transparency", f"{unknown} log entries, of logs that are not known")
    if requirements.witness_threshold:
        detail = f"{found.witnesses} known witnesses cosigned, {requirements.witness_threshold} needed"
        if found.witnesses < requirements.witness_threshold:
            checks.failed("witnesses", "witnesses_missing", detail)
        else:
            checks.passed("witnesses", detail)


def check_timestamps(
    checks: Checks,
    found: Evidence,
    bundle: Bundle,
    signed: Signed,
    root: TrustedRoot,
    requirements: Requirements,
    now: datetime,
) -> None:
    """Make the check ``timestamp``.

    A stamp by an authority that the root does not know counts for nothing; any other that does not verify
    fails.
    """
    unknown = 0
    stamped: list[datetime] = []
    for response in bundle.timestamps:
        try:
            at = verify_stamp(response, signed.signature, root.timestamp_authorities)
            _check_clock(at, now)
        except Refusal as refusal:
            if refusal.reason != "stamp_authority_unknown":
                checks.refused("timestamp", refusal)
                return
            unknown += 1
            continue
        stamped.append(at)
    found.times.extend(stamped)
    found.timestamps = len(stamped)
    if found.timestamps < requirements.timestamps:
        reason = "stamp_authority_unknown" if unknown else "timestamp_missing"
        checks.failed(
            "timestamp",
            reason,
            f"{found.timestamps} timestamps of the trusted root's authorities, {requirements.timestamps} needed",
        )
    elif stamped:
        checks.passed("timestamp", ", ".join(at.isoformat() for at in stamped))
    else:
        checks.skipped("timestamp", f"{unknown} timestamps, of authorities that are not known")


def check_log_windows(checks: Checks, found: Evidence, now: datetime) -> None:
    """Make the check ``log_window`` where entries tell no time of their own: each of their logs must be believed at
    some proven time or, where nothing proves one, still: whoever has the key of a log that has ended could have made
    the entry today."""
    if not found.untimed:
        return
    for log in found.untimed:
        if not any(log.believed(at) for at in found.times or [now]):
            detail = "at any proven time" if found.times else "any more, and nothing proves when it was signed"
            checks.failed("log_window", "log_window", f"log {log.host} is not believed {detail}")
            return
    checks.passed("log_window", ", ".join(log.host for log in found.untimed))


def check_certificate(
    checks: Checks,
    found: Evidence,
    leaf: SigningCertificate,
    root: TrustedRoot,
    requirements: Requirements,
) -> None:
    """Make the checks ``certificate`` (a chain at every proven time, of which there must be one) and ``sct``."""
    if not found.times:
        checks.failed("certificate", "no_trusted_time", "nothing proves when this certificate signed")
        return
    try:
        chains = [
            build_chain(leaf.certificate, root.certificate_authorities, at, CODE_SIGNING) for at in found.times
        ]
    except Refusal as refusal:
        checks.refused("certificate", refusal)
        return
    checks.passed("certificate", f"valid at {', '.join(at.isoformat() for at in found.times)}")
    if not requirements.sct:
        checks.skipped("sct", "not asked for")
        return
    try:
        # A root may name the leaf itself as its anchor; then it stands in for its issuer, whom nobody knows.
        issuer = chains[0][min(1, len(chains[0]) - 1)]
        count = verify_embedded_scts(leaf.certificate, issuer, root.ct_logs)
    except Refusal as refusal:
        checks.refused("sct", refusal)
        return
    checks.passed("sct", f"{count} by logs of the trusted root")


def _check_clock(at: datetime, now: datetime) -> None:
    if at > now + _AHEAD:
        raise Refusal("verification.failed", "time_in_future", f"{at.isoformat()} has not come yet")
