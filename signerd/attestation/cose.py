"""COSE_Sign1 (RFC 9052) over a Statement: what a key signs, and the tagged message with one signature.

Written deterministically (RFC 8949, section 4.2.1): tag 18, protected header ``{1: algorithm, 3: content type, 4: key
id}``, no unprotected header, the Statement's bytes, the signature as RFC 9053 has it. ``external_aad`` is empty. The
key id is the SHA-256 of the SubjectPublicKeyInfo, 32 bytes; it is a hint, and never decides trust.

CWT claims (header 15, RFC 9597) are not written: signerd knows no name of an issuer beyond its key's, and a Statement
names its subjects itself, one or many.
"""

from collections.abc import Mapping
from typing import Final, NoReturn

import msgspec

from signerd.attestation.algorithms import COSE_ALGORITHMS
from signerd.attestation.cbor import ARRAY, BYTES, TAG, Tagged, Value, cbor, head, read_cbor
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.errors import Refusal

__all__ = [
    "FIRST_BYTE",
    "LARGEST_COSE",
    "CoseSign1",
    "cose_head",
    "cose_tail",
    "parse_cose",
    "protected_header",
    "signature_structure",
]

LARGEST_COSE: Final = 192 * 1024 * 1024
"""Bytes. Nothing larger is parsed."""

COSE_SIGN1: Final = 18
"""The tag of a COSE_Sign1 message (RFC 9052, section 2)."""
FIRST_BYTE: Final = head(TAG, COSE_SIGN1)
"""What every message begins with; no JSON does."""

_ALGORITHM: Final = 1
_CRITICAL: Final = 2
_CONTENT_TYPE: Final = 3
_KEY_ID: Final = 4
_UNDERSTOOD: Final = frozenset({_ALGORITHM, _CRITICAL, _CONTENT_TYPE, _KEY_ID})


class CoseSign1(msgspec.Struct, frozen=True):
    """A message, decoded: ``protected`` are the header's own bytes, ``algorithm`` its number; the header says of itself
    which ``content_type`` (None: nothing) the payload has."""

    protected: bytes
    algorithm: int
    content_type: str | None
    payload: bytes
    signature: bytes


def protected_header(algorithm: str, key_id: bytes) -> bytes:
    """Return the encoded protected header for a key of that algorithm; KeyError where COSE has no number for it."""
    return cbor({_ALGORITHM: COSE_ALGORITHMS[algorithm], _CONTENT_TYPE: PAYLOAD_TYPE, _KEY_ID: key_id})


def signature_structure(protected: bytes, length: int) -> bytes:
    """Return all of the ``Sig_structure`` that stands before a payload of ``length`` bytes (RFC 9052, section 4.4).

    With the payload behind it, it is what a key signs.
    """
    return head(ARRAY, 4) + cbor("Signature1") + cbor(protected) + cbor(b"") + head(BYTES, length)


def cose_head(protected: bytes, length: int) -> bytes:
    """Return all of the message that stands before a payload of ``length`` bytes."""
    return FIRST_BYTE + head(ARRAY, 4) + cbor(protected) + cbor({}) + head(BYTES, length)


def cose_tail(signature: bytes) -> bytes:
    """Return all that stands behind the payload; ``signature`` is in the form of RFC 9053."""
    return cbor(signature)


def parse_cose(data: bytes | memoryview) -> CoseSign1:
    """Read a message by whomever it was written, in the one deterministic encoding.

    Refuses with ``verification.failed``: those of :func:`~signerd.attestation.cbor.read_cbor`, ``cose_too_large``,
    ``cose_untagged`` (the tag 18 is demanded), ``cose_malformed``, ``payload_detached``, ``header_repeated`` (a label
    in both headers), ``header_critical`` (one that must be understood and is not, or is named critical and is not
    there). Other headers are ignored, as RFC 9052 has it. Raises nothing else.
    """
    if len(data) > LARGEST_COSE:
        _refuse("cose_too_large", "the message is too large")
    message = read_cbor(data)
    if not isinstance(message, Tagged) or message.number != COSE_SIGN1:
        _refuse("cose_untagged", "not a tagged COSE_Sign1 message")
    match message.value:
        case (bytes() as encoded, dict() as unprotected, payload, bytes() as signature):
            pass
        case _:
            _refuse("cose_malformed", "not the four parts of a COSE_Sign1 message")
    if payload is None:
        _refuse("payload_detached", "the message does not hold its payload")
    if not isinstance(payload, bytes):
        _refuse("cose_malformed", "the payload is no byte string")
    # An empty header may be written as no bytes at all (section 3); it names no algorithm either way.
    protected = read_cbor(encoded) if encoded else {}
    if not isinstance(protected, dict):
        _refuse("cose_malformed", "the protected header is no map")
    if protected.keys() & unprotected.keys():
        _refuse("header_repeated", "a header stands in both the protected and the unprotected header")
    _check_critical(protected, unprotected)
    algorithm, content_type = protected.get(_ALGORITHM), protected.get(_CONTENT_TYPE)
    if not isinstance(algorithm, int) or isinstance(algorithm, bool):
        _refuse("cose_malformed", "the protected header names no algorithm by number")
    if not isinstance(content_type, str | None):
        _refuse("cose_malformed", "the content type is no media type")
    return CoseSign1(encoded, algorithm, content_type, payload, signature)


def _check_critical(protected: Mapping[int | str, Value], unprotected: Mapping[int | str, Value]) -> None:
    """Refuse what the header demands to be understood and is not (RFC 9052, section 3.1)."""
    if _CRITICAL in unprotected:
        _refuse("header_critical", "what is critical must be said in the protected header")
    if _CRITICAL not in protected:
        return
    named = protected[_CRITICAL]
    if not isinstance(named, tuple) or not named or not all(map(_is_label, named)):
        _refuse("cose_malformed", "the critical headers are no list of labels")
    if not set(named) <= _UNDERSTOOD & protected.keys():
        _refuse("header_critical", "a critical header is not understood, or not there")


def _is_label(value: Value) -> bool:
    # To Python true is 1, and would name the algorithm.
    return isinstance(value, int | str) and not isinstance(value, bool)


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public)
