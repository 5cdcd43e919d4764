"""Whether a log entry proves that a signature stands in a log that is believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn

from signerd.attestation.bundle import LogEntry
from signerd.errors import Refusal
from signerd.verification import rekor1, rekor2
from signerd.verification.checkpoint import Witness, check_log_signature, count_witnesses, parse_checkpoint
from signerd.verification.merkle import leaf_hash, verify_inclusion
from signerd.verification.signed import Signed
from signerd.verification.trusted_root import Log

__all__ = ["Logged", "verify_log_entry"]

_V2_KINDS: Final = frozenset({"hashedrekord", "dsse"})


@dataclass(frozen=True, slots=True)
class Logged:
    """A proven entry: in which log, at which index, cosigned by how many of the witnesses asked about.

    ``at`` is the time that the log promised, None where it promises none, as Rekor v2 does.
    """

    log: Log
    index: int
    at: datetime | None
    witnesses: int


def verify_log_entry(
    entry: LogEntry, signed: Signed, logs: Sequence[Log], witnesses: Sequence[Witness] = ()
) -> Logged:
    """Verify that ``entry`` is about ``signed`` and stands in one of ``logs``.

    Rekor v2: inclusion proof under a checkpoint of the log, in whose host's name it is signed. Rekor v1: that,
    the promise, or both, whichever is there, at least one; the integrated time counts only if promised. Refuses
    with ``verification.failed``: ``log_unknown``; the reasons of ``rekor1.check_body``,
    ``rekor1.check_promise``, ``rekor2.check_body``, of the checkpoint's functions and ``inclusion_proof``;
    ``inclusion_proof_missing``, ``checkpoint_missing``, ``checkpoint_root`` and ``checkpoint_size`` (the
    proof is of another tree), ``log_entry_index``, ``log_window`` (at a time at which the log is not
    believed), ``log_entry_time``.
    """
    found = [log for log in logs if log.log_id == entry.log_id]
    if not found:
        _refuse("log_unknown", "the log entry is of no log of the trusted root")
    log = found[0]
    # "intoto" had a version of the same number in Rekor v1.
    newer = entry.version == rekor2.VERSION and entry.kind in _V2_KINDS
    check = rekor2.check_body if newer else rekor1.check_body
    check(entry, signed)
    included = entry.root_hash is not None
    cosigned = _check_inclusion(entry, log, witnesses, newer) if included else 0
    if newer:
        if not included:
            _refuse("inclusion_proof_missing", "the log entry has no inclusion proof")
        return Logged(log, entry.log_index, None, cosigned)
    if entry.promise is None:
        if not included:
            _refuse("inclusion_proof_missing", "the log entry has neither an inclusion proof nor a promise")
        return Logged(log, entry.log_index, None, cosigned)
    rekor1.check_promise(entry, log.key)
    at = _time(entry.integrated_time)
    if not any(candidate.believed(at) for candidate in found):
        _refuse("log_window", f"the log is not believed at {at.isoformat()}")
    return Logged(log, entry.log_index, at, cosigned)


def _check_inclusion(entry: LogEntry, log: Log, witnesses: Sequence[Witness], newer: bool) -> int:
    if not entry.checkpoint:
        _refuse("checkpoint_missing", "the inclusion proof has no checkpoint")
    if newer and entry.proof_index != entry.log_index:
        _refuse("log_entry_index", "the inclusion proof is of another index than the entry")
    checkpoint = parse_checkpoint(entry.checkpoint)
    check_log_signature(checkpoint, log.key, log.checkpoint_id[:4], log.host if newer else None)
    if checkpoint.size != entry.tree_size:
        _refuse("checkpoint_size", "the checkpoint is of another tree size than the inclusion proof")
    if checkpoint.root != entry.root_hash:
        _refuse("checkpoint_root", "the checkpoint has another root than the inclusion proof")
    verify_inclusion(
        leaf_hash(entry.body), entry.proof_index, checkpoint.size, entry.hashes, checkpoint.root
    )
    return count_witnesses(checkpoint, witnesses)


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        _refuse("log_entry_time", "the integrated time of the log entry is none")


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public) from None
