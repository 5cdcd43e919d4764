"""The entry of a transparency log, as a bundle carries it and a Rekor v2 log answers it.

Source: sigstore ``protobuf-specs`` (``sigstore_rekor.proto``, ``TransparencyLogEntry``), in protobuf's JSON mapping.
Values are kept as they came; absent and null members are the same and are left out where it is written, and so is an
integrated time of zero.
"""

from typing import Annotated, NoReturn

import msgspec

from signerd.attestation.canonical import canonical_json, canonicalise
from signerd.attestation.dsse import decode_base64, encode_base64
from signerd.errors import Refusal

__all__ = ["Int64", "LogEntry", "LogEntryMessage", "Message", "log_entry_json", "parse_log_entry", "read_log_entry"]

Int64 = Annotated[str, msgspec.Meta(pattern=r"\A(?:0|-?[1-9][0-9]{0,18})\Z")]
"""A 64-bit integer: a string in protobuf's JSON mapping; sigstore-python refuses a number."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A protobuf message: a field it does not define is an error for every protojson reader."""


class _LogId(Message, frozen=True):
    key_id: str


class _KindVersion(Message, frozen=True):
    kind: str
    version: str


class _InclusionPromise(Message, frozen=True):
    signed_entry_timestamp: str


class _Checkpoint(Message, frozen=True):
    envelope: str


class _InclusionProof(Message, frozen=True):
    root_hash: str
    tree_size: Int64
    checkpoint: _Checkpoint | None = None
    log_index: Int64 | None = None
    hashes: list[str] | None = None


class LogEntryMessage(Message, frozen=True):
    """``TransparencyLogEntry``, of the fields of a bundle."""

    log_id: _LogId
    kind_version: _KindVersion
    canonicalized_body: str
    log_index: Int64 | None = None
    integrated_time: Int64 | None = None
    inclusion_promise: _InclusionPromise | None = None
    inclusion_proof: _InclusionProof | None = None


class LogEntry(msgspec.Struct, frozen=True):
    """A transparency-log entry as it stands in a bundle: read, not yet verified.

    ``proof_index`` is the leaf that the inclusion proof is of: in Rekor v1 counted from the start of the log's
    shard, where ``log_index`` counts from the first shard's.
    """

    log_id: bytes
    log_index: int
    kind: str
    version: str
    body: bytes
    integrated_time: int
    promise: bytes | None
    checkpoint: str | None
    root_hash: bytes | None
    tree_size: int
    hashes: tuple[bytes, ...]
    proof_index: int


def parse_log_entry(text: bytes) -> LogEntry:
    """Read one ``TransparencyLogEntry``.

    Refuses with ``verification.failed``: every reason of ``canonicalise``, ``log_entry_malformed`` (a missing or
    unknown field, a number for an int64), ``base64_malformed``, ``int64_range``. Raises nothing else.
    """
    try:
        value = canonicalise(text).value
    except Refusal as refusal:
        raise Refusal("verification.failed", refusal.reason, refusal.public, details=refusal.details) from None
    try:
        message = msgspec.convert(value, LogEntryMessage)
    except msgspec.ValidationError as exc:
        raise Refusal(
            "verification.failed", "log_entry_malformed", "not the fields of a log entry", operator=str(exc)
        ) from None
    return read_log_entry(message)


def log_entry_json(entry: LogEntry) -> bytes:
    """Write ``entry`` as RFC 8785 bytes: what :func:`parse_log_entry` reads as the same value."""
    proof: dict[str, object] = {}
    if entry.root_hash is not None:
        proof = {"rootHash": _text(entry.root_hash), "treeSize": str(entry.tree_size)}
        if entry.checkpoint is not None:
            proof["checkpoint"] = {"envelope": entry.checkpoint}
        proof["logIndex"] = str(entry.proof_index)
        if entry.hashes:
            proof["hashes"] = [_text(node) for node in entry.hashes]
    told: dict[str, object] = {
        "logId": {"keyId": _text(entry.log_id)},
        "kindVersion": {"kind": entry.kind, "version": entry.version},
        "canonicalizedBody": _text(entry.body),
        "logIndex": str(entry.log_index),
    }
    if entry.integrated_time:
        told["integratedTime"] = str(entry.integrated_time)
    if entry.promise is not None:
        told["inclusionPromise"] = {"signedEntryTimestamp": _text(entry.promise)}
    if proof:
        told["inclusionProof"] = proof
    return canonical_json(told)


def read_log_entry(entry: LogEntryMessage) -> LogEntry:
    """Return the entry that a message is; refuses ``base64_malformed`` and ``int64_range``."""
    promise, proof = entry.inclusion_promise, entry.inclusion_proof
    return LogEntry(
        log_id=_base64(entry.log_id.key_id),
        log_index=_int64(entry.log_index),
        kind=entry.kind_version.kind,
        version=entry.kind_version.version,
        body=_base64(entry.canonicalized_body),
        integrated_time=_int64(entry.integrated_time),
        promise=None if promise is None else _base64(promise.signed_entry_timestamp),
        checkpoint=proof.checkpoint.envelope if proof and proof.checkpoint else None,
        root_hash=None if proof is None else _base64(proof.root_hash),
        tree_size=0 if proof is None else _int64(proof.tree_size),
        hashes=() if proof is None else tuple(_base64(node) for node in proof.hashes or ()),
        proof_index=0 if proof is None else _int64(proof.log_index),
    )


def _text(data: bytes) -> str:
    return encode_base64(data).decode()


def _base64(text: str) -> bytes:
    data = decode_base64(text)
    if data is None:
        _refuse("base64_malformed", "the bundle holds text that is not standard padded base64")
    return data


def _int64(text: str | None) -> int:
    number = int(text or 0)
    if not -(2**63) <= number < 2**63:
        _refuse("int64_range", "the bundle holds an integer of more than 64 bits")
    return number


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public)
