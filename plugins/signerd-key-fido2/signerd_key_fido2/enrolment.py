"""Enrolment: a new credential, which at once proves by an assertion that it is what it says to be."""

import secrets
from typing import Any, Final

from fido2 import cbor
from fido2.ctap2.base import AttestationResponse

from signerd.errors import Refusal
from signerd.verification.fido2 import decode_assertion, encode_assertion, verify_assertion
from signerd_key_fido2.credentials import Enrolled, Store, Wrapped, is_wrapped, spki_of
from signerd_key_fido2.failures import fault, forbidden
from signerd_key_fido2.settings import Settings
from signerd_key_fido2.touch import COSE_ALGORITHMS, Asked, Asker
from signerd_key_fido2.unwrap import SALT_BYTES, wrapped

__all__ = ["enrol"]

_UNWRAPPED: Final = "ES256"
_LONGEST_ID: Final = 1023
"""Bytes of a credential id (WebAuthn level 2, section 4)."""


def enrol(asker: Asker, store: Store, settings: Settings, key: str, algorithm: str) -> Enrolled:
    """Make a credential, have it sign once, and keep what was learnt under ``key``: two touches.

    ``algorithm`` is FIDO2-ES256 or FIDO2-Ed25519, of a key that is unwrapped ES256; empty is the first that the
    authenticator has. The credential is not discoverable, so it takes no room on the authenticator. Nothing is kept
    unless all of it went well, and nothing is overwritten.

    ``key.forbidden``: ``exists``, ``ambiguous_device``, ``no_secrets`` (no extension hmac-secret), ``no_verification``.
    ``key.algorithm_refused``: ``unknown_algorithm``, ``device_algorithm``. ``key.backend_fault``:
    ``assertion_refused``; and what :meth:`Asked.make` and :meth:`Asked.get` raise.
    """
    if not store.is_free(key):
        raise forbidden("exists", "there is a key of this name already")
    unwraps = is_wrapped(key)
    numbers = _numbers(algorithm, unwraps=unwraps)
    with asker.only() as asked:
        if unwraps and not asked.gives_secrets:
            raise forbidden("no_secrets", "the authenticator has no hmac-secret")
        user: dict[str, Any] = {"id": secrets.token_bytes(32), "name": key, "displayName": key}
        made = asked.make(settings.rp_id, user, numbers, secret=unwraps)
        enrolled = _read(asked, made, settings)
    # A second touch has its own time.
    with asker.of(enrolled.rp_id, enrolled.credential_id) as asked:
        proved = _proved(asked, enrolled, unwraps=unwraps)
    store.keep(key, proved)
    return proved


def _numbers(algorithm: str, *, unwraps: bool) -> list[int]:
    if not algorithm or (unwraps and algorithm == _UNWRAPPED):
        return list(COSE_ALGORITHMS.values())
    if unwraps or algorithm not in COSE_ALGORITHMS:
        raise Refusal("key.algorithm_refused", "unknown_algorithm", "an authenticator signs no such algorithm")
    return [COSE_ALGORITHMS[algorithm]]


def _read(asked: Asked, made: AttestationResponse, settings: Settings) -> Enrolled:
    data = made.auth_data.credential_data
    if data is None or not 1 <= len(data.credential_id) <= _LONGEST_ID:
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
    )


def _proved(asked: Asked, enrolled: Enrolled, *, unwraps: bool) -> Enrolled:
    """Return it with the counter of a first assertion and, where it unwraps, with a key of its own."""
    digest = secrets.token_bytes(32)
    salt = secrets.token_bytes(SALT_BYTES) if unwraps else b""
    response, secret = asked.get(
        enrolled.rp_id, enrolled.credential_id, digest, verified=enrolled.user_verification, salt=salt
    )
    try:
        sig = encode_assertion("ctap2", bytes(response.auth_data), b"", bytes(response.signature))
        # Whatever the counter begins with is above -1.
        counter = verify_assertion(sig, digest, enrolled.credential, -1).counter
    except Refusal as refusal:
        raise fault("assertion_refused", f"the first assertion of the new credential: {refusal}") from refusal
    held: Wrapped | None = None
    if unwraps:
        verified = decode_assertion(sig).user_verified
        held = wrapped(secret, enrolled.credential_id, salt, verified=verified)
    return Enrolled(
        **{name: getattr(enrolled, name) for name in enrolled.__struct_fields__} | {"counter": counter, "wrapped": held}
    )
