"""Enrolment: a new credential, which at once proves by an assertion that it is what it says to be."""

import hashlib
import secrets
from typing import Any, Final

from fido2 import cbor
from fido2.ctap2.base import AttestationResponse

from signerd.errors import Refusal
from signerd.verification.fido2 import decode_assertion, encode_assertion, verify_assertion
from signerd_key_fido2.credentials import LONGEST_ID, Enrolled, Kind, Store, Wrapped, kind_of, spki_of
from signerd_key_fido2.failures import fault, forbidden
from signerd_key_fido2.raw import generated, generating, signing
from signerd_key_fido2.settings import Settings
from signerd_key_fido2.touch import COSE_ALGORITHMS, Asked, Asker
from signerd_key_fido2.unwrap import SALT_BYTES, wrapped

__all__ = ["enrol"]

_ORDINARY: Final = "ES256"
"""The algorithm of a key that is unwrapped, or that signs what it is given."""


def enrol(asker: Asker, store: Store, settings: Settings, key: str, algorithm: str) -> Enrolled:
    """Make a credential, have it sign once, and keep what was learnt under ``key``: two touches.

    ``algorithm`` is FIDO2-ES256 or FIDO2-Ed25519, of a key that is unwrapped or signs raw ES256; empty is the first
    that the authenticator has. The credential is not discoverable, so it takes no room on the authenticator. Nothing is
    kept unless all of it went well, and nothing is overwritten.

    ``key.forbidden``: ``exists``, ``ambiguous_device``, ``no_secrets`` (no extension hmac-secret), ``no_verification``.
    ``key.algorithm_refused``: ``unknown_algorithm``, ``device_algorithm``, ``raw_not_offered`` (no previewSign).
    ``key.backend_fault``: ``assertion_refused``, ``signature_refused``; and what :meth:`Asked.make` and
    :meth:`Asked.get` raise.
    """
    if not store.is_free(key):
        raise forbidden("exists", "there is a key of this name already")
    kind = kind_of(key)
    numbers = _numbers(algorithm, kind)
    with asker.only() as asked:
        if kind == "unwrap" and not asked.gives_secrets:
            raise forbidden("no_secrets", "the authenticator has no hmac-secret")
        if kind == "raw" and not asked.signs_raw:
            raise Refusal("key.algorithm_refused", "raw_not_offered", "the authenticator has no previewSign")
        user: dict[str, Any] = {"id": secrets.token_bytes(32), "name": key, "displayName": key}
        asked_for = generating(verified=settings.user_verification) if kind == "raw" else None
        made = asked.make(settings.rp_id, user, numbers, secret=kind == "unwrap", generating=asked_for)
        enrolled = _read(asked, made, settings, kind)
    # A second touch has its own time.
    with asker.of(enrolled.rp_id, enrolled.credential_id) as asked:
        proved = _proved(asked, enrolled, unwraps=kind == "unwrap")
    store.keep(key, proved)
    return proved


def _numbers(algorithm: str, kind: Kind) -> list[int]:
    ordinary = kind != "credential"
    if not algorithm or (ordinary and algorithm == _ORDINARY):
        return list(COSE_ALGORITHMS.values())
    if ordinary or algorithm not in COSE_ALGORITHMS:
        raise Refusal("key.algorithm_refused", "unknown_algorithm", "an authenticator signs no such algorithm")
    return [COSE_ALGORITHMS[algorithm]]


def _read(asked: Asked, made: AttestationResponse, settings: Settings, kind: Kind) -> Enrolled:
    data = made.auth_data.credential_data
    if data is None or not 1 <= len(data.credential_id) <= LONGEST_ID:
        raise fault("device_protocol", "a new credential without its data")
    return Enrolled(
        bytes(data.credential_id),
        spki_of(data),
        settings.rp_id,
        settings.origin,
        settings.user_verification,
        0,
        str(data.aaguid),
        tuple(str(name) for name in asked.ctap.info.transports),
        str(made.fmt),
        cbor.encode(made.att_stmt),
        raw=generated(made) if kind == "raw" else None,
    )


def _proved(asked: Asked, enrolled: Enrolled, *, unwraps: bool) -> Enrolled:
    """Return it with the counter of a first assertion and, where it unwraps, with a key of its own."""
    message = secrets.token_bytes(32)
    digest = hashlib.sha256(message).digest()
    salt = secrets.token_bytes(SALT_BYTES) if unwraps else b""
    response, given = asked.get(
        enrolled.rp_id,
        enrolled.credential_id,
        digest,
        verified=enrolled.user_verification,
        salt=salt,
        signing=signing(enrolled.raw, digest) if enrolled.raw else None,
    )
    try:
        sig = encode_assertion("ctap2", bytes(response.auth_data), b"", bytes(response.signature))
        # Whatever the counter begins with is above -1.
        counter = verify_assertion(sig, digest, enrolled.credential, -1).counter
    except Refusal as refusal:
        raise fault("assertion_refused", f"the first assertion of the new credential: {refusal}") from refusal
    if enrolled.raw:
        try:
            enrolled.public.verify(given, message)
        except Refusal as refusal:
            raise fault("signature_refused", f"the first signature of the new key: {refusal}") from refusal
    held: Wrapped | None = None
    if unwraps:
        verified = decode_assertion(sig).user_verified
        held = wrapped(given, enrolled.credential_id, salt, verified=verified)
    return Enrolled(
        **{name: getattr(enrolled, name) for name in enrolled.__struct_fields__} | {"counter": counter, "wrapped": held}
    )
