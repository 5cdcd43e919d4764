"""Sigstore bundle: one DSSE envelope with exactly one signature, or one signature over an artefact itself, and what
it is to be verified with.

Source: sigstore ``protobuf-specs`` (``sigstore_bundle.proto``, ``sigstore_common.proto``) in the JSON
mapping of protobuf. Bundles are written in the form of RFC 8785 with absent fields left out; they are read
by the rules that all of Sigstore's clients share, taken at their strictest.
"""

from typing import Annotated, Final, NoReturn

import msgspec

from signerd.attestation.canonical import canonical_json, canonicalise
from signerd.attestation.dsse import Envelope, Signature, decode_base64, encode_base64
from signerd.errors import Refusal

__all__ = [
    "LARGEST_BUNDLE",
    "MEDIA_TYPE",
    "MEDIA_TYPES",
    "MOST_LOG_ENTRIES",
    "MOST_TIMESTAMPS",
    "Bundle",
    "LogEntry",
    "MessageSignature",
    "dsse_envelope_bytes",
    "keyful_bundle",
    "keyless_bundle",
    "parse_bundle",
]

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"

MEDIA_TYPES: Final = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": 1,
    "application/vnd.dev.sigstore.bundle+json;version=0.2": 2,
    "application/vnd.dev.sigstore.bundle+json;version=0.3": 3,
    MEDIA_TYPE: 3,
}
"""Those that are read, with the minor version whose rules hold; only the last is written."""

LARGEST_BUNDLE: Final = 192 * 1024 * 1024
"""Bytes. Nothing larger is parsed."""

MOST_LOG_ENTRIES: Final = 32
MOST_TIMESTAMPS: Final = 32
"""Limits of sigstore-go."""


Int64 = Annotated[str, msgspec.Meta(pattern=r"\A(?:0|-?[1-9][0-9]{0,18})\Z")]
"""A 64-bit integer: a string in protobuf's JSON mapping; sigstore-python refuses a number."""


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A protobuf message: a field it does not define is an error for every protojson reader."""


class _KeyHint(_Message, frozen=True):
    hint: str | None = None


class _Certificate(_Message, frozen=True):
    raw_bytes: str


class _CertificateChain(_Message, frozen=True):
    certificates: list[_Certificate] | None = None


class _LogId(_Message, frozen=True):
    key_id: str


class _KindVersion(_Message, frozen=True):
    kind: str
    version: str


class _InclusionPromise(_Message, frozen=True):
    signed_entry_timestamp: str


class _Checkpoint(_Message, frozen=True):
    envelope: str


class _InclusionProof(_Message, frozen=True):
    root_hash: str
    tree_size: Int64
    checkpoint: _Checkpoint | None = None
    log_index: Int64 | None = None
    hashes: list[str] | None = None


class _LogEntry(_Message, frozen=True):
    log_id: _LogId
    kind_version: _KindVersion
    canonicalized_body: str
    log_index: Int64 | None = None
    integrated_time: Int64 | None = None
    inclusion_promise: _InclusionPromise | None = None
    inclusion_proof: _InclusionProof | None = None


class _Timestamp(_Message, frozen=True):
    signed_timestamp: str


class _TimestampData(_Message, frozen=True):
    rfc3161_timestamps: list[_Timestamp] | None = msgspec.field(default=None, name="rfc3161Timestamps")


class _Material(_Message, frozen=True):
    public_key: _KeyHint | None = None
    certificate: _Certificate | None = None
    x509_certificate_chain: _CertificateChain | None = msgspec.field(
        default=None, name="x509CertificateChain"
    )
    tlog_entries: list[_LogEntry] | None = None
    timestamp_verification_data: _TimestampData | None = None


class _Signature(_Message, frozen=True):
    sig: str
    keyid: str | None = None


class _Envelope(_Message, frozen=True):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _Digest(_Message, frozen=True):
    algorithm: str
    digest: str


class _MessageSignature(_Message, frozen=True):
    signature: str
    message_digest: _Digest | None = None


class _Bundle(_Message, frozen=True):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope | None = None
    message_signature: _MessageSignature | None = None


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


class MessageSignature(msgspec.Struct, frozen=True):
    """A signature over an artefact; ``algorithm`` (``SHA2_256`` and so on) and ``digest`` are what the bundle says of
    it, None where it says nothing."""

    signature: bytes
    algorithm: str | None
    digest: bytes | None


class Bundle(msgspec.Struct, frozen=True):
    """A bundle, decoded. Either ``hint`` is a str (a key signed) or ``certificates`` holds DER, the leaf
    first; ``content`` is the signed envelope, or the signature over an artefact."""

    media_type: str
    hint: str | None
    certificates: tuple[bytes, ...]
    content: Envelope | MessageSignature
    log_entries: tuple[LogEntry, ...]
    timestamps: tuple[bytes, ...]


def dsse_envelope_bytes(payload_b64: bytes, payload_type: str, signature: bytes) -> bytes:
    """Write the ``dsseEnvelope`` object of a bundle alone, as RFC 8785 bytes: one signature, no keyid.

    Its SHA-256 is ``envelope_sha256``: the same before and after a log entry or a stamp is added.
    """
    return b"".join(
        (
            b'{"payload":"',
            payload_b64,
            b'","payloadType":',
            canonical_json(payload_type),
            b',"signatures":[{"sig":"',
            encode_base64(signature),
            b'"}]}',
        )
    )


def keyful_bundle(payload_b64: bytes, payload_type: str, signature: bytes, hint: str) -> bytes:
    """Write a bundle that a public key verifies, as RFC 8785 bytes.

    ``payload_b64`` is the payload in standard base64, ``signature`` the raw signature (DER for ECDSA),
    ``hint`` the base64 of SHA-256 over the key's SPKI, as cosign writes it. There is no keyid: Go's DSSE
    verifier skips a signature whose keyid is not the one that it computed itself.
    """
    return b"".join(
        (
            b'{"dsseEnvelope":',
            dsse_envelope_bytes(payload_b64, payload_type, signature),
            b',"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":',
            canonical_json(hint),
            b"}}}",
        )
    )


def keyless_bundle(payload_b64: bytes, payload_type: str, signature: bytes, certificate: bytes) -> bytes:
    """Write a bundle that a certificate verifies, as RFC 8785 bytes: as :func:`keyful_bundle`, with the leaf's DER
    alone, as v0.3 demands."""
    return b"".join(
        (
            b'{"dsseEnvelope":',
            dsse_envelope_bytes(payload_b64, payload_type, signature),
            b',"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":"',
            encode_base64(certificate),
            b'"}}}',
        )
    )


def parse_bundle(text: bytes | memoryview) -> Bundle:
    """Read a bundle, v0.1 to v0.3.

    Refuses with ``verification.failed``: ``bundle_too_large`` (192 MiB, before parsing), every reason of
    ``canonicalise``, ``media_type``, ``bundle_malformed`` (a missing or unknown field, a number for an
    int64), ``content_count`` (not exactly one of envelope and message signature), ``signature_count`` (an
    envelope has exactly one), ``base64_malformed`` (other than standard
    and padded), ``material_count`` (not exactly one of key hint, certificate and chain),
    ``certificate_chain`` (v0.3 has a leaf alone), ``too_many_log_entries``, ``too_many_timestamps``,
    ``duplicate_log_entry``, ``duplicate_timestamp``, ``inclusion_promise_missing`` (v0.1),
    ``inclusion_proof_missing`` (v0.2 and later, with its checkpoint), ``int64_range``. Raises nothing else.
    ``null`` stands for an absent field.
    """
    if len(text) > LARGEST_BUNDLE:
        _refuse("bundle_too_large", f"the bundle is larger than {LARGEST_BUNDLE} bytes")
    try:
        value = canonicalise(text).value
    except Refusal as refusal:
        raise Refusal(
            "verification.failed", refusal.reason, refusal.public, details=refusal.details
        ) from None
    minor = MEDIA_TYPES.get(str(value.get("mediaType")))
    if minor is None:
        _refuse("media_type", "the media type is not that of a Sigstore bundle up to v0.3")
    try:
        read = msgspec.convert(value, _Bundle)
    except msgspec.ValidationError as exc:
        raise Refusal(
            "verification.failed",
            "bundle_malformed",
            "the bundle does not have the fields of one",
            operator=str(exc),
        ) from None
    content: Envelope | MessageSignature
    if read.dsse_envelope is not None and read.message_signature is None:
        content = _read_envelope(read.dsse_envelope)
    elif read.message_signature is not None and read.dsse_envelope is None:
        content = _read_message(read.message_signature)
    else:
        _refuse("content_count", "a bundle holds one envelope or one signature over an artefact")
    hint, certificates = _read_material(read.verification_material, minor)
    return Bundle(
        read.media_type,
        hint,
        certificates,
        content,
        _read_log_entries(read.verification_material.tlog_entries or [], minor),
        _read_timestamps(read.verification_material.timestamp_verification_data),
    )


def _read_envelope(envelope: _Envelope) -> Envelope:
    if len(envelope.signatures) != 1:
        _refuse("signature_count", "a bundle's envelope has exactly one signature")
    (signature,) = envelope.signatures
    return Envelope(
        envelope.payload_type,
        _base64(envelope.payload),
        (Signature(_base64(signature.sig), signature.keyid or None),),
    )


def _read_message(message: _MessageSignature) -> MessageSignature:
    said = message.message_digest
    return MessageSignature(
        _base64(message.signature),
        None if said is None else said.algorithm,
        None if said is None else _base64(said.digest),
    )


def _read_material(material: _Material, minor: int) -> tuple[str | None, tuple[bytes, ...]]:
    chain = material.x509_certificate_chain
    if (material.public_key, material.certificate, chain).count(None) != 2:
        _refuse("material_count", "a bundle names exactly one key or certificate")
    if material.public_key is not None:
        return material.public_key.hint or "", ()
    if material.certificate is not None:
        return None, (_base64(material.certificate.raw_bytes),)
    if minor >= 3 or chain is None or not chain.certificates:
        _refuse(
            "certificate_chain",
            "a v0.3 bundle holds the leaf certificate alone, an older one at least a leaf",
        )
    return None, tuple(_base64(certificate.raw_bytes) for certificate in chain.certificates)


def _read_log_entries(entries: list[_LogEntry], minor: int) -> tuple[LogEntry, ...]:
    if len(entries) > MOST_LOG_ENTRIES:
        _refuse("too_many_log_entries", f"more than {MOST_LOG_ENTRIES} log entries")
    read = tuple(_read_log_entry(entry) for entry in entries)
    if len({(entry.log_id, entry.log_index, entry.body) for entry in read}) != len(read):
        _refuse("duplicate_log_entry", "a log entry stands twice")
    for entry in read:
        if minor == 1 and entry.promise is None:
            _refuse("inclusion_promise_missing", "a log entry of a v0.1 bundle needs an inclusion promise")
        if minor > 1 and (entry.root_hash is None or not entry.checkpoint):
            _refuse("inclusion_proof_missing", "a log entry needs an inclusion proof with its checkpoint")
    return read


def _read_log_entry(entry: _LogEntry) -> LogEntry:
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


def _read_timestamps(data: _TimestampData | None) -> tuple[bytes, ...]:
    found = (data.rfc3161_timestamps if data else None) or []
    if len(found) > MOST_TIMESTAMPS:
        _refuse("too_many_timestamps", f"more than {MOST_TIMESTAMPS} timestamps")
    read = tuple(_base64(timestamp.signed_timestamp) for timestamp in found)
    if len(set(read)) != len(read):
        _refuse("duplicate_timestamp", "a timestamp stands twice")
    return read


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
