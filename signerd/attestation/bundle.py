"""Sigstore bundle: one DSSE envelope with exactly one signature, or one signature over an artefact itself, and what
it is to be verified with.

Source: sigstore ``protobuf-specs`` (``sigstore_bundle.proto``, ``sigstore_common.proto``) in the JSON
mapping of protobuf. Bundles are written in the form of RFC 8785 with absent fields left out; they are read
by the rules that all of Sigstore's clients share, taken at their strictest.
"""

from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec

from signerd.attestation.canonical import canonical_json, canonicalise
from signerd.attestation.dsse import Envelope, Signature, decode_base64, encode_base64
from signerd.attestation.log_entry import LogEntry, LogEntryMessage, Message, log_entry_json, read_log_entry
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
    "with_log_entries",
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


class _KeyHint(Message, frozen=True):
    hint: str | None = None


class _Certificate(Message, frozen=True):
    raw_bytes: str


class _CertificateChain(Message, frozen=True):
    certificates: list[_Certificate] | None = None


class _Timestamp(Message, frozen=True):
    signed_timestamp: str


class _TimestampData(Message, frozen=True):
    rfc3161_timestamps: list[_Timestamp] | None = msgspec.field(default=None, name="rfc3161Timestamps")


class _Material(Message, frozen=True):
    public_key: _KeyHint | None = None
    certificate: _Certificate | None = None
    x509_certificate_chain: _CertificateChain | None = msgspec.field(
        default=None, name="x509CertificateChain"
    )
    tlog_entries: list[LogEntryMessage] | None = None
    timestamp_verification_data: _TimestampData | None = None


class _Signature(Message, frozen=True):
    sig: str
    keyid: str | None = None


class _Envelope(Message, frozen=True):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _Digest(Message, frozen=True):
    algorithm: str
    digest: str


class _MessageSignature(Message, frozen=True):
    signature: str
    message_digest: _Digest | None = None


class _Bundle(Message, frozen=True):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope | None = None
    message_signature: _MessageSignature | None = None


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


def keyful_bundle(
    payload_b64: bytes,
    payload_type: str,
    signature: bytes,
    hint: str,
    log_entries: Sequence[LogEntry] = (),
    timestamps: Sequence[bytes] = (),
) -> bytes:
    """Write a bundle that a public key verifies, as RFC 8785 bytes.

    ``payload_b64`` is the payload in standard base64, ``signature`` the raw signature (DER for ECDSA),
    ``hint`` the base64 of SHA-256 over the key's SPKI, as cosign writes it. There is no keyid: Go's DSSE
    verifier skips a signature whose keyid is not the one that it computed itself. ``timestamps`` are DER
    TimeStampResp.
    """
    return b"".join(
        (
            b'{"dsseEnvelope":',
            dsse_envelope_bytes(payload_b64, payload_type, signature),
            b',"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":',
            canonical_json(hint),
            b"}" if not log_entries and not timestamps else b"}," + _beside(log_entries, timestamps),
            b"}}",
        )
    )


def keyless_bundle(
    payload_b64: bytes,
    payload_type: str,
    signature: bytes,
    certificate: bytes,
    log_entries: Sequence[LogEntry] = (),
    timestamps: Sequence[bytes] = (),
) -> bytes:
    """Write a bundle that a certificate verifies, as RFC 8785 bytes: as :func:`keyful_bundle`, with the leaf's DER
    alone, as v0.3 demands."""
    return b"".join(
        (
            b'{"dsseEnvelope":',
            dsse_envelope_bytes(payload_b64, payload_type, signature),
            b',"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":"',
            encode_base64(certificate),
            b'"}' if not log_entries and not timestamps else b'"},' + _beside(log_entries, timestamps),
            b"}}",
        )
    )


def _beside(log_entries: Sequence[LogEntry], timestamps: Sequence[bytes]) -> bytes:
    """Write what proves more than the signature: members of ``verificationMaterial``, in the order of RFC 8785."""
    members = []
    if timestamps:
        stamps = [{"signedTimestamp": encode_base64(stamp).decode()} for stamp in timestamps]
        members.append(b'"timestampVerificationData":' + canonical_json({"rfc3161Timestamps": stamps}))
    if log_entries:
        members.append(b'"tlogEntries":[' + b",".join([log_entry_json(entry) for entry in log_entries]) + b"]")
    return b",".join(members)


def with_log_entries(bundle: bytes | memoryview, entries: Sequence[bytes | memoryview]) -> bytes:
    """Return a bundle with ``entries`` (``TransparencyLogEntry`` as JSON) beside those that it has, RFC 8785; one that
    it has already does not come twice, which no reader would take.

    Its envelope stays byte for byte what it was. Refuses as
    :func:`~signerd.attestation.canonical.canonicalise` does; ``verification.failed``, reason ``bundle_malformed``, for
    what has no material.
    """
    whole = canonicalise(bundle).value
    material = whole.get("verificationMaterial")
    beside = material.setdefault("tlogEntries", []) if isinstance(material, dict) else None
    if not isinstance(beside, list):
        _refuse("bundle_malformed", "a bundle without verification material")
    for entry in entries:
        added = canonicalise(entry).value
        if all(_place(one) != _place(added) for one in beside):
            beside.append(added)
    return canonical_json(whole)


def _place(entry: object) -> tuple[object, object]:
    return (entry.get("logId"), entry.get("logIndex")) if isinstance(entry, dict) else (None, None)


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


def _read_log_entries(entries: list[LogEntryMessage], minor: int) -> tuple[LogEntry, ...]:
    if len(entries) > MOST_LOG_ENTRIES:
        _refuse("too_many_log_entries", f"more than {MOST_LOG_ENTRIES} log entries")
    read = tuple(read_log_entry(entry) for entry in entries)
    if len({(entry.log_id, entry.log_index, entry.body) for entry in read}) != len(read):
        _refuse("duplicate_log_entry", "a log entry stands twice")
    for entry in read:
        if minor == 1 and entry.promise is None:
            _refuse("inclusion_promise_missing", "a log entry of a v0.1 bundle needs an inclusion promise")
        if minor > 1 and (entry.root_hash is None or not entry.checkpoint):
            _refuse("inclusion_proof_missing", "a log entry needs an inclusion proof with its checkpoint")
    return read


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


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public)
