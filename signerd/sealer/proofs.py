"""Whether what a publisher brought is a proof about one signature: checked again, as for every worker (T17, T24)."""

from signerd.attestation.log_entry import LogEntry, parse_log_entry
from signerd.errors import Refusal
from signerd.verification import rekor2
from signerd.verification.merkle import leaf_hash, verify_inclusion
from signerd.verification.signed import Signed
from signerd.verification.stamp import parse_stamp

__all__ = ["proof_of"]


def proof_of(kind: str, signed: Signed, proof: bytes) -> LogEntry | bytes:
    """Return the log entry or the stamp; refuses one that is not about this very signature."""
    if kind == "stamp":
        stamp = parse_stamp(proof)
        if stamp.hash(signed.signature).digest() != stamp.imprint:
            raise _foreign("a stamp over other bytes")
        return proof
    entry = parse_log_entry(proof)
    if entry.version != rekor2.VERSION or entry.root_hash is None or not entry.checkpoint:
        raise _foreign("an entry without a proof")
    rekor2.check_body(entry, signed)
    verify_inclusion(leaf_hash(entry.body), entry.proof_index, entry.tree_size, entry.hashes, entry.root_hash)
    return entry


def _foreign(what: str) -> Refusal:
    return Refusal("verification.failed", "proof_foreign", what)
