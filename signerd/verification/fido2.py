"""Assertions of FIDO2 authenticators: what proves that a person was there when a statement was signed.

An authenticator signs authenticatorData || SHA-256(clientData), never a DSSE PAE (CTAP 2.1, section 6.2; WebAuthn
level 2, section 6.3.3). So what stands as ``sig`` in an envelope is the whole evidence, in deterministic CBOR (RFC
8949, section 4.2.1): ``[fmt, authenticatorData, clientDataJSON, signature]``. The format is ``webauthn``, where the
challenge in clientDataJSON is SHA-256(PAE), or ``ctap2``, where clientDataJSON is empty and SHA-256(PAE) itself
stands for its hash. Neither can pass for the other: a PAE begins with ``DSSEv1``, clientDataJSON with a brace.

The CBOR is read here in the few lines that this one shape takes. A general decoder would accept other encodings of
the same values (another ``sig`` for the same signature), and nested, tagged and shared ones besides.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from signerd.attestation.canonical import canonicalise
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey

__all__ = [
    "ALGORITHMS",
    "LARGEST",
    "Assertion",
    "Credential",
    "decode_assertion",
    "encode_assertion",
    "verify_assertion",
]

ALGORITHMS: Final = {"ES256": "FIDO2-ES256", "Ed25519": "FIDO2-Ed25519"}
"""Algorithms of credential keys (COSE -7 and -8) and what such a key is called in signerd."""
LARGEST: Final = 16 * 1024
"""Bytes of an encoded assertion; an ordinary one has 300."""
Format = Literal["ctap2", "webauthn"]
_FORMATS: Final[dict[bytes, Format]] = {b"ctap2": "ctap2", b"webauthn": "webauthn"}
_ARRAY_OF_FOUR: Final = b"\x84"
_BYTES, _TEXT, _MAP = 2, 3, 5
"""Major types (RFC 8949, section 3.1)."""
_LONG_HEADS: Final = {24: (1, 24), 25: (2, 2**8)}
"""How many bytes hold the length, and the least that fits no shorter head (RFC 8949, section 4.2.1). No length here
takes more."""
_FIXED: Final = 37
"""rpIdHash (32), flags (1), signCount (4): WebAuthn level 2, section 6.1."""
_UP, _UV, _BE, _BS, _AT, _ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80
_TEXTS: Final = {
    "assertion_malformed": "not an assertion of a FIDO2 authenticator in deterministic CBOR",
    "rp_id": "the assertion is for another relying party",
    "no_user_presence": "nobody touched the authenticator",
    "no_user_verification": "the authenticator did not verify its user",
    "client_data": "clientDataJSON is not that of an assertion",
    "challenge": "the assertion is over another statement",
    "origin": "the assertion was made for another origin",
    "credential_algorithm": "only P-256 and Ed25519 credentials are used",
    "counter_back": "the authenticator's counter did not advance: it may have been copied",
}


@dataclass(frozen=True, slots=True)
class Credential:
    """What was enrolled: the credential's public key (SPKI, DER) and what its assertions are for.

    ``origin`` empty: no assertion of format ``webauthn`` is accepted. ``user_verification``: demanded of each.
    """

    spki: bytes
    rp_id: str
    origin: str
    user_verification: bool


@dataclass(frozen=True, slots=True)
class Assertion:
    """An assertion as read. ``signature`` is the authenticator's own; ``counter`` its signature counter, 0 where it
    keeps none."""

    fmt: Format
    authenticator_data: bytes
    client_data_json: bytes
    signature: bytes
    counter: int
    user_present: bool
    user_verified: bool


def encode_assertion(fmt: str, authenticator_data: bytes, client_data_json: bytes, signature: bytes) -> bytes:
    """Return the one encoding that :func:`decode_assertion` reads; refuses what that would not take."""
    parts = ((_TEXT, fmt.encode()), (_BYTES, authenticator_data), (_BYTES, client_data_json), (_BYTES, signature))
    if sum(len(part) for _, part in parts) > LARGEST:
        raise _refusal("assertion_malformed")
    encoded = _ARRAY_OF_FOUR + b"".join(_head(major, len(part)) + part for major, part in parts)
    decode_assertion(encoded)
    return encoded


def decode_assertion(sig: bytes) -> Assertion:
    """Read an assertion, of which nothing is verified yet.

    Refuses ``verification.failed``, ``assertion_malformed``: anything but the one deterministic encoding of the four
    parts, a format that is not known, authenticatorData with other bytes than its flags say, a credential in it, a
    backup state without eligibility (WebAuthn level 3, section 6.1.3), an empty signature, clientDataJSON in the
    wrong format, more than 16 KiB.
    """
    if len(sig) > LARGEST or sig[:1] != _ARRAY_OF_FOUR:
        raise _refusal("assertion_malformed")
    name, at = _string(sig, 1, _TEXT)
    data, at = _string(sig, at, _BYTES)
    client_data, at = _string(sig, at, _BYTES)
    signature, at = _string(sig, at, _BYTES)
    fmt = _FORMATS.get(name)
    if at != len(sig) or fmt is None or not signature or bool(client_data) != (fmt == "webauthn"):
        raise _refusal("assertion_malformed")
    flags = _flags(data)
    counter = int.from_bytes(data[33:_FIXED], "big")
    return Assertion(fmt, data, client_data, signature, counter, bool(flags & _UP), bool(flags & _UV))


def verify_assertion(sig: bytes, pae_sha256: bytes, credential: Credential, last_counter: int) -> Assertion:
    """Verify that the holder of ``credential`` approved the statement whose PAE has the digest ``pae_sha256``.

    ``last_counter`` is the counter of the last assertion that was accepted, or of the enrolment; the new one must be
    above it, unless both are 0 (WebAuthn level 2, section 7.2, step 21). Whoever accepts the assertion keeps its
    counter.

    Refuses ``verification.failed``: ``assertion_malformed``, ``rp_id``, ``no_user_presence``,
    ``no_user_verification``, ``client_data``, ``challenge``, ``origin``, ``credential_algorithm``,
    ``signature_not_der``, ``signature_invalid``, ``counter_back``; and a credential whose key is none, as
    :meth:`PublicKey.from_spki` does. ValueError for a digest that is not 32 bytes.
    """
    if len(pae_sha256) != hashlib.sha256().digest_size:
        raise ValueError("a SHA-256 has 32 bytes")
    assertion = decode_assertion(sig)
    if assertion.authenticator_data[:32] != hashlib.sha256(credential.rp_id.encode()).digest():
        raise _refusal("rp_id")
    if not assertion.user_present:
        raise _refusal("no_user_presence")
    if credential.user_verification and not assertion.user_verified:
        raise _refusal("no_user_verification")
    hashed = pae_sha256
    if assertion.fmt == "webauthn":
        _check_client_data(assertion.client_data_json, pae_sha256, credential.origin)
        hashed = hashlib.sha256(assertion.client_data_json).digest()
    key = PublicKey.from_spki(credential.spki)
    if key.algorithm not in ALGORITHMS:
        raise _refusal("credential_algorithm")
    key.verify(assertion.signature, assertion.authenticator_data + hashed)
    # After the signature: a counter that nobody signed accuses no authenticator.
    if (assertion.counter or last_counter) and assertion.counter <= last_counter:
        raise _refusal("counter_back")
    return assertion


def _check_client_data(text: bytes, challenge: bytes, origin: str) -> None:
    """Check the members of WebAuthn level 2, section 5.8.1; others may be there, as it demands."""
    try:
        given = canonicalise(text).value
    except Refusal:
        raise _refusal("client_data") from None
    # A page in somebody's frame has the right origin and another page around it (level 3, section 5.8.1).
    if given.get("type") != "webauthn.get" or given.get("crossOrigin", False) is not False or "topOrigin" in given:
        raise _refusal("client_data")
    if given.get("challenge") != base64.urlsafe_b64encode(challenge).rstrip(b"=").decode():
        raise _refusal("challenge")
    if not origin or given.get("origin") != origin:
        raise _refusal("origin")


def _flags(data: bytes) -> int:
    if len(data) < _FIXED:
        raise _refusal("assertion_malformed")
    flags = data[32]
    # An assertion has no attested credential data; extensions are a map, and what they say decides nothing here.
    extended = len(data) > _FIXED and data[_FIXED] >> 5 == _MAP
    fits = extended if flags & _ED else len(data) == _FIXED
    if not fits or flags & _AT or (flags & _BS and not flags & _BE):
        raise _refusal("assertion_malformed")
    return flags


def _string(data: bytes, at: int, major: int) -> tuple[bytes, int]:
    """Return the string of type ``major`` at ``at``, and where it ends."""
    if at >= len(data) or data[at] >> 5 != major:
        raise _refusal("assertion_malformed")
    length = data[at] & 0x1F
    at += 1
    if length >= 24:
        width, least = _LONG_HEADS.get(length, (0, 1))
        length = int.from_bytes(data[at : at + width], "big")
        at += width
        if length < least:
            raise _refusal("assertion_malformed")
    if at + length > len(data):
        raise _refusal("assertion_malformed")
    return data[at : at + length], at + length


def _head(major: int, length: int) -> bytes:
    if length < 24:
        return bytes([major << 5 | length])
    if length < 2**8:
        return bytes([major << 5 | 24, length])
    return bytes([major << 5 | 25]) + length.to_bytes(2, "big")


def _refusal(reason: str) -> Refusal:
    return Refusal("verification.failed", reason, _TEXTS[reason])
