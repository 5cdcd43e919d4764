"""Entries of a Rekor v1 log: the promise, and bodies of the kinds hashedrekord, dsse and intoto.

Source: ``rekor/pkg/types/*/v0.0.*/*_schema.json``. What an entry says is compared with what was signed: an
entry of something else proves nothing about this signature (GHSA-whqx-f9j3-ch6m).
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from signerd.attestation.bundle import LogEntry
from signerd.attestation.canonical import canonical_json, canonicalise
from signerd.attestation.dsse import decode_base64, encode_base64
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey
from signerd.verification.signed import Signed

__all__ = ["KINDS", "check_body", "check_promise"]

_PEM: Final = re.compile(
    rb"\s*-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\s([A-Za-z0-9+/=\s]+)-----END \1-----\s*"
)
_HASHES: Final = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}


def check_promise(entry: LogEntry, key: PublicKey) -> None:
    """Refuse (``log_promise``) unless the log with this ``key`` promised to include exactly this entry at
    its integrated time (the signed entry timestamp)."""
    if entry.promise is None:
        _refuse("log_promise", "the log entry has no promise")
    signed = canonical_json(
        {
            "body": encode_base64(entry.body).decode(),
            "integratedTime": entry.integrated_time,
            "logID": entry.log_id.hex(),
            "logIndex": entry.log_index,
        }
    )
    try:
        key.verify(entry.promise, signed)
    except Refusal:
        _refuse("log_promise", "the promise of the log entry is not by its log")


def check_body(entry: LogEntry, signed: Signed) -> None:
    """Refuse unless the entry's body is about this signature by this key over these bytes.

    Reasons, of ``verification.failed``: ``log_entry_kind``, ``log_entry_malformed``,
    ``log_entry_digest``, ``log_entry_signature``, ``log_entry_key``.
    """
    check = KINDS.get((entry.kind, entry.version))
    if check is None:
        _refuse("log_entry_kind", f"entries of kind {entry.kind} {entry.version} are not verified")
    try:
        body = canonicalise(entry.body).value
    except Refusal:
        _malformed()
    if (body.get("kind"), body.get("apiVersion")) != (entry.kind, entry.version):
        _refuse("log_entry_kind", "the body of the log entry is of another kind than the entry")
    check(_within(body, "spec"), signed)


def _hashedrekord(spec: Mapping[str, object], signed: Signed) -> None:
    # Of an envelope it is the digest of the PAE, as in Rekor v2.
    found = _within(spec, "data", "hash")
    if signed.algorithm is None or signed.digest is None:
        _refuse("log_entry_digest", f"a hashedrekord entry cannot be about a signature by {signed.key.algorithm}")
    if found.get("algorithm") != _HASHES[signed.algorithm] or found.get("value") != signed.digest.hex():
        _refuse("log_entry_digest", "the log entry is about another artefact or envelope")
    signature = _within(spec, "signature")
    _check_signature(_bytes(signature.get("content")), signed)
    _check_key(_bytes(_within(signature, "publicKey").get("content")), signed)


def _dsse(spec: Mapping[str, object], signed: Signed) -> None:
    _check_payload(_within(spec, "payloadHash"), signed)
    entry = _only(spec.get("signatures"))
    _check_signature(_bytes(entry.get("signature")), signed)
    _check_key(_bytes(entry.get("verifier")), signed)


def _intoto(spec: Mapping[str, object], signed: Signed) -> None:
    content = _within(spec, "content")
    _check_payload(_within(content, "payloadHash"), signed)
    envelope = _within(content, "envelope")
    if signed.envelope is None or envelope.get("payloadType") != signed.envelope.payload_type:
        _refuse("log_entry_digest", "the log entry is about another payload type")
    entry = _only(envelope.get("signatures"))
    # This kind encodes what stands in the envelope, base64 already, once more.
    try:
        signature = _bytes(_bytes(entry.get("sig")).decode("ascii"))
    except UnicodeDecodeError:
        _malformed()
    _check_signature(signature, signed)
    _check_key(_bytes(entry.get("publicKey")), signed)


KINDS: Final[Mapping[tuple[str, str], Callable[[Mapping[str, object], Signed], None]]] = {
    ("hashedrekord", "0.0.1"): _hashedrekord,
    ("dsse", "0.0.1"): _dsse,
    ("intoto", "0.0.2"): _intoto,
}
"""The kinds and versions of entry that are verified. ``intoto`` 0.0.1 holds no signature to compare."""


def _check_payload(found: Mapping[str, object], signed: Signed) -> None:
    if signed.envelope is None:
        _refuse("log_entry_kind", "the log entry is about an envelope, the bundle is not")
    digest = hashlib.sha256(signed.envelope.payload).hexdigest()
    if found.get("algorithm") != "sha256" or found.get("value") != digest:
        _refuse("log_entry_digest", "the log entry is about another payload")


def _check_signature(found: bytes, signed: Signed) -> None:
    if found != signed.signature:
        _refuse("log_entry_signature", "the log entry is about another signature")


def _check_key(pem: bytes, signed: Signed) -> None:
    match = _PEM.fullmatch(pem)
    der = None if match is None else decode_base64(b"".join(match[2].split()).decode())
    if match is None or der is None:
        _malformed()
    if match[1] == b"CERTIFICATE":
        same = der == signed.certificate
    else:
        same = signed.certificate is None and der == signed.key.spki
    if not same:
        _refuse("log_entry_key", "the log entry is about a signature by another key")


def _within(value: Mapping[str, object], *names: str) -> Mapping[str, object]:
    found: object = value
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        _malformed()
    return found


def _only(value: object) -> Mapping[str, object]:
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], dict):
        _refuse("log_entry_signature", "the log entry is not about exactly one signature")
    return value[0]


def _bytes(value: object) -> bytes:
    data = decode_base64(value) if isinstance(value, str) else None
    if data is None:
        _malformed()
    return data


def _malformed() -> NoReturn:
    _refuse("log_entry_malformed", "the body of the log entry is not one of its kind")


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public) from None
