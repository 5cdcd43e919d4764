"""The trusted root: which authorities and logs are believed, and when.

Source: sigstore ``protobuf-specs`` (``sigstore_trustroot.proto``) in the JSON mapping of protobuf, as strict
as sigstore-go reads it: no unknown field, a start date for every log, a chain and a window for every authority.
A trusted root says what is genuine; it names nobody who may sign.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NoReturn
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from signerd.attestation.canonical import canonicalise
from signerd.attestation.dsse import decode_base64
from signerd.errors import Refusal
from signerd.verification.certificates import Authority, load_certificate, within
from signerd.verification.keys import PublicKey

__all__ = ["LARGEST_TRUSTED_ROOT", "MEDIA_TYPES", "Log", "TrustedRoot", "parse_trusted_root"]

MEDIA_TYPES: Final = frozenset(
    {
        "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
        "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    }
)

LARGEST_TRUSTED_ROOT: Final = 4 * 1024 * 1024
"""Bytes. Nothing larger is parsed."""

_MOST: Final = 256
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_KEY_DETAILS: Final = {
    "PKIX_ECDSA_P256_SHA_256": "ES256",
    "PKIX_ECDSA_P384_SHA_384": "ES384",
    "PKIX_ECDSA_P521_SHA_512": "ES512",
    "PKIX_ED25519": "Ed25519",
    "PKIX_RSA_PKCS1V15_2048_SHA256": "RSA-PKCS1-SHA256",
    "PKIX_RSA_PKCS1V15_3072_SHA256": "RSA-PKCS1-SHA256",
    "PKIX_RSA_PKCS1V15_4096_SHA256": "RSA-PKCS1-SHA256",
    # Deprecated: a bare PKCS#1 key. The public staging root still has one.
    "PKCS1_RSA_PKCS1V5": "RSA-PKCS1-SHA256",
}


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A protobuf message: a field it does not define is an error for every protojson reader."""


class _Window(_Message, frozen=True):
    start: str | None = None
    end: str | None = None


class _Key(_Message, frozen=True):
    raw_bytes: str
    key_details: str
    valid_for: _Window | None = None


class _Id(_Message, frozen=True):
    key_id: str


class _Log(_Message, frozen=True):
    public_key: _Key
    log_id: _Id
    base_url: str = ""
    hash_algorithm: str = "SHA2_256"
    checkpoint_key_id: _Id | None = None
    operator: str | None = None


class _Name(_Message, frozen=True):
    organization: str = ""
    common_name: str = ""


class _Certificate(_Message, frozen=True):
    raw_bytes: str


class _Chain(_Message, frozen=True):
    certificates: list[_Certificate]


class _Authority(_Message, frozen=True):
    cert_chain: _Chain
    valid_for: _Window
    subject: _Name | None = None
    uri: str = ""
    operator: str | None = None


class _Root(_Message, frozen=True):
    media_type: str
    tlogs: list[_Log] | None = None
    certificate_authorities: list[_Authority] | None = None
    ctlogs: list[_Log] | None = None
    timestamp_authorities: list[_Authority] | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """A transparency or certificate-transparency log: its key, its id, and when it is believed.

    ``host`` is the bare host name of its URL, without a port: what a Rekor v2 checkpoint is signed as. The first
    four bytes of ``checkpoint_id`` are the hint of its signature lines.
    """

    url: str
    host: str
    log_id: bytes
    checkpoint_id: bytes
    key: PublicKey
    start: datetime
    end: datetime | None

    def believed(self, at: datetime) -> bool:
        """Tell whether the log is believed for what happened at this time; both ends are included."""
        return within(at, self.start, self.end)


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """What is believed. ``logs`` and ``ct_logs`` are found by the id that an entry or SCT names."""

    logs: tuple[Log, ...]
    certificate_authorities: tuple[Authority, ...]
    ct_logs: tuple[Log, ...]
    timestamp_authorities: tuple[Authority, ...]


@lru_cache(maxsize=16)
def parse_trusted_root(text: bytes) -> TrustedRoot:
    """Read a ``trusted_root.json``; the same bytes are parsed once and their value shared.

    Refuses with ``verification.failed``: ``trusted_root_too_large`` (4 MiB), ``trusted_root_media_type``,
    ``trusted_root_malformed`` (JSON, a missing or unknown field, base64, a time, more than 256 of a kind),
    ``trusted_root_log_start`` (a log without the date from which it holds), ``trusted_root_hash`` (a log
    that does not hash with SHA-256), ``trusted_root_key`` (a key that is not what its details say, or of a
    kind that is not used), ``trusted_root_chain`` (no certificate, or one that cannot be read). Raises
    nothing else.
    """
    if len(text) > LARGEST_TRUSTED_ROOT:
        _refuse("trusted_root_too_large", f"a trusted root of more than {LARGEST_TRUSTED_ROOT} bytes")
    try:
        value = canonicalise(text).value
        if value.get("mediaType") not in MEDIA_TYPES:
            _refuse("trusted_root_media_type", "the media type is not that of a trusted root")
        read = msgspec.convert(value, _Root)
    except msgspec.ValidationError as exc:
        _malformed(str(exc))
    except Refusal as refusal:
        if refusal.code == "verification.failed":
            raise
        _malformed(refusal.public)
    except TypeError:
        # An unhashable media type.
        _malformed("mediaType is not a string")
    logs, ct_logs = read.tlogs or [], read.ctlogs or []
    authorities, stampers = read.certificate_authorities or [], read.timestamp_authorities or []
    if max(len(logs), len(ct_logs), len(authorities), len(stampers)) > _MOST:
        _malformed(f"more than {_MOST} of a kind")
    return TrustedRoot(
        tuple(map(_read_log, logs)),
        tuple(map(_read_authority, authorities)),
        tuple(map(_read_log, ct_logs)),
        tuple(map(_read_authority, stampers)),
    )


def _read_log(log: _Log) -> Log:
    window = log.public_key.valid_for
    if window is None or window.start is None:
        _refuse("trusted_root_log_start", f"log {log.base_url} lacks the start of its validity")
    if log.hash_algorithm != "SHA2_256":
        _refuse("trusted_root_hash", f"log {log.base_url} hashes with {log.hash_algorithm}")
    try:
        host = urlsplit(log.base_url).hostname or ""
    except ValueError:
        _malformed("baseUrl is not a URL")
    start, end = _time(window.start), None if window.end is None else _time(window.end)
    log_id = _base64(log.log_id.key_id)
    signs = log_id if log.checkpoint_key_id is None else _base64(log.checkpoint_key_id.key_id)
    return Log(log.base_url, host, log_id, signs, _read_key(log.public_key), start, end)


def _read_key(found: _Key) -> PublicKey:
    algorithm = _KEY_DETAILS.get(found.key_details)
    der = _base64(found.raw_bytes)
    try:
        loaded = load_der_public_key(der)
        key = PublicKey.from_spki(loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except (ValueError, TypeError, UnsupportedAlgorithm, Refusal):
        key = None
    if key is None or key.algorithm != algorithm:
        _refuse("trusted_root_key", f"not a key of a kind that is used, by its details {found.key_details}")
    return key


def _read_authority(authority: _Authority) -> Authority:
    certificates = authority.cert_chain.certificates
    if not certificates or len(certificates) > _MOST:
        _refuse("trusted_root_chain", f"authority {authority.uri} has no chain")
    try:
        chain = tuple(load_certificate(_base64(certificate.raw_bytes)) for certificate in certificates)
    except Refusal as refusal:
        _refuse("trusted_root_chain", f"authority {authority.uri}: {refusal.public}")
    window, name = authority.valid_for, authority.subject or _Name()
    return Authority(
        name.common_name or name.organization,
        authority.uri,
        chain,
        None if window.start is None else _time(window.start),
        None if window.end is None else _time(window.end),
    )


def _time(text: str) -> datetime:
    """Read an RFC 3339 time; digits beyond the microsecond are dropped."""
    try:
        if not _TIME.fullmatch(text):
            raise ValueError("not of the form of RFC 3339")
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        _malformed(f"a time: {exc}")


def _base64(text: str) -> bytes:
    data = decode_base64(text)
    if data is None:
        _malformed("text that is not standard padded base64")
    return data


def _malformed(why: str) -> NoReturn:
    _refuse("trusted_root_malformed", f"not a trusted root: {why}")


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public) from None
