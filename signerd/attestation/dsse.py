"""DSSE v1.0.2: the pre-authentication encoding that is signed, and the envelope with one signature or more.

An envelope is read as the DSSE document says: base64 in the standard or the URL-safe alphabet, unknown
fields ignored. It is written with standard padded base64, in the form of RFC 8785. ``keyid`` is a hint that
nothing authenticates; it never decides trust.
"""

import binascii
import re
from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec

from signerd.attestation.canonical import canonical_json, canonicalise
from signerd.errors import Refusal

__all__ = [
    "MOST_SIGNATURES",
    "Envelope",
    "Signature",
    "decode_base64",
    "encode_base64",
    "encode_envelope",
    "is_media_type",
    "pae",
    "pae_header",
    "parse_envelope",
]

MOST_SIGNATURES: Final = 64
"""How many signatures of one envelope are looked at: each costs the reader a verification."""


_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


class Signature(msgspec.Struct, frozen=True):
    """One signature over the PAE; ``keyid`` is what the signer wrote, or None."""

    sig: bytes
    keyid: str | None


class Envelope(msgspec.Struct, frozen=True):
    """A DSSE envelope, decoded: the payload's own bytes and every signature in its order."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]


def is_media_type(text: str) -> bool:
    """Tell whether ``text`` is a media type without parameters (RFC 6838, section 4.2), as a ``payloadType`` should
    be."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def pae_header(payload_type: str, length: int) -> bytes:
    """Give all of the PAE that stands before a payload of ``length`` bytes. Lengths count bytes, not
    characters."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d " % (len(kind), kind, length)


def pae(payload_type: str, payload: bytes | memoryview) -> bytes:
    """Give the pre-authentication encoding (DSSE ``protocol.md``, Signature Definition): the bytes that are
    signed."""
    return b"".join((pae_header(payload_type, len(payload)), payload))


def encode_base64(data: bytes | memoryview) -> bytes:
    """Encode in standard, padded base64 without line ends (RFC 4648, section 4)."""
    return binascii.b2a_base64(data, newline=False)


def decode_base64(text: str) -> bytes | None:
    """Decode standard, padded base64, and nothing that would not be written the same again: None for all
    else."""
    try:
        data = binascii.a2b_base64(text)
        # Spaces, missing padding and stray bits at the end give the same bytes; only one spelling is taken.
        return data if encode_base64(data) == text.encode() else None
    except ValueError:
        return None


def encode_envelope(payload_b64: bytes, payload_type: str, signatures: Sequence[Signature]) -> bytes:
    """Write an envelope as RFC 8785 JSON from the payload in standard base64; signatures keep their
    order."""
    entries = [
        {"sig": encode_base64(signature.sig).decode()}
        if signature.keyid is None
        else {"keyid": signature.keyid, "sig": encode_base64(signature.sig).decode()}
        for signature in signatures
    ]
    return b"".join(
        (
            b'{"payload":"',
            payload_b64,
            b'","payloadType":',
            canonical_json(payload_type),
            b',"signatures":',
            canonical_json(entries),
            b"}",
        )
    )


def parse_envelope(text: bytes | memoryview) -> Envelope:
    """Read an envelope by whomever it was written; the inverse of :func:`encode_envelope`.

    Refuses with ``verification.failed``: every reason of ``canonicalise``, ``envelope_malformed``,
    ``base64_malformed``, ``no_signature``, ``too_many_signatures`` (64). Raises nothing else.
    """
    try:
        value = canonicalise(text).value
    except Refusal as refusal:
        raise Refusal(
            "verification.failed", refusal.reason, refusal.public, details=refusal.details
        ) from None
    payload_type, payload, found = (value.get(field) for field in ("payloadType", "payload", "signatures"))
    if not isinstance(payload_type, str) or not isinstance(payload, str) or not isinstance(found, list):
        _refuse("envelope_malformed", "the envelope lacks payload, payloadType or signatures")
    if not found:
        _refuse("no_signature", "the envelope has no signature")
    if len(found) > MOST_SIGNATURES:
        _refuse("too_many_signatures", f"the envelope has more than {MOST_SIGNATURES} signatures")
    return Envelope(payload_type, _decode_either(payload), tuple(_read_signature(entry) for entry in found))


def _read_signature(entry: object) -> Signature:
    if not isinstance(entry, dict):
        _refuse("envelope_malformed", "a signature must be an object")
    sig, keyid = entry.get("sig"), entry.get("keyid")
    if not isinstance(sig, str) or not isinstance(keyid, str | None):
        _refuse("envelope_malformed", "a signature needs a sig, and its keyid must be a string")
    return Signature(_decode_either(sig), keyid)


def _decode_either(text: str) -> bytes:
    standard = text.replace("-", "+").replace("_", "/") if "+" not in text and "/" not in text else text
    data = decode_base64(standard)
    if data is None:
        _refuse("base64_malformed", "the envelope holds text that is not padded base64")
    return data


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public)
