"""The hook of this plugin and the backend itself: references to credentials, credentials to assertions."""

import hashlib
import os
import secrets
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from fido2.ctap2.base import AssertionResponse
from fido2.webauthn import CollectedClientData

from signerd.contracts import hookimpl
from signerd.contracts.providers import KeyBackend
from signerd.contracts.values import Enrolment, KeyDescription, SignatureResult
from signerd.errors import Refusal
from signerd.verification.fido2 import encode_assertion, verify_assertion
from signerd_key_fido2.credentials import Enrolled, Raw, Store, kind_of
from signerd_key_fido2.enrolment import enrol
from signerd_key_fido2.failures import fault, forbidden
from signerd_key_fido2.folder import Folder
from signerd_key_fido2.latch import PinLatch
from signerd_key_fido2.raw import signing
from signerd_key_fido2.settings import understand
from signerd_key_fido2.touch import Asker
from signerd_key_fido2.unwrap import unwrapped

__all__ = ["CONFIRMED", "Fido2Backend", "signerd_key_backends"]

CONFIRMED: Final = "SIGNERD_PIN_CONFIRMED"
_DIGEST: Final = ec.ECDSA(Prehashed(SHA256()))


@hookimpl
def signerd_key_backends(settings: Mapping[str, object]) -> KeyBackend:
    """Introduce the backend; ValueError for settings that it does not understand."""
    return Fido2Backend(settings)


class Fido2Backend:
    """Credentials of authenticators (``fido2:NAME``), the software keys that they unwrap (``fido2:unwrap/NAME``), and
    keys that stay in them and sign what they are given (``fido2:raw/NAME``).

    An authenticator is opened for each call and let go after it: a person may take it away. Every error is a ``key.*``
    code.
    """

    capabilities: tuple[str, ...] = ("enrol", "presence")

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._settings = understand(settings)
        folder = Folder(self._settings.state)
        latch = PinLatch(folder)
        # Set by the sealer for one start alone, after an admin's `admin.confirm pin`; nobody's configuration has it.
        if os.environ.pop(CONFIRMED, ""):
            latch.confirm()
        self._store = Store(folder)
        self._asker = Asker(self._settings, latch)
        self._unwrapped: dict[str, tuple[Enrolled, ec.EllipticCurvePrivateKey]] = {}

    def describe(self, key: str) -> KeyDescription:
        """Return what was enrolled; no authenticator is asked. Refuses as :meth:`Store.load`, and ``key.forbidden``,
        ``raw_sign_off``."""
        self._allow(key)
        return self._described(self._store.load(key))

    def sign(self, key: str, message: bytes) -> SignatureResult:
        """Sign the digest: by an assertion, or with the key in the authenticator, for which a touch is waited for each
        time, or with the unwrapped key, for which only the first call waits.

        ``key.backend_unavailable``: ``device_absent``, ``device_lost``, ``no_touch``, ``denied``. ``key.not_found``,
        ``not_on_device``. ``key.forbidden``, ``no_verification``, ``raw_sign_off``. ``key.backend_fault``:
        ``digest_length``, ``device_…``, ``pin_…``, ``assertion_refused`` (what came is no assertion of this credential
        over this digest), ``unwrap_failed``.
        """
        self._allow(key)
        enrolled = self._store.load(key)
        if len(message) != hashlib.sha256().digest_size:
            raise fault("digest_length", "this key signs the SHA-256 digest of a message, which has 32 bytes")
        if enrolled.wrapped is not None:
            return SignatureResult(self._opened(key, enrolled).sign(message, _DIGEST), enrolled.public.keyid)
        if enrolled.raw is not None:
            return SignatureResult(self._signed_raw(enrolled, enrolled.raw, message), enrolled.public.keyid)
        client_data, hashed = b"", message
        if enrolled.origin:
            collected = CollectedClientData.create("webauthn.get", message, enrolled.origin)
            client_data, hashed = bytes(collected), collected.hash
        with self._asker.of(enrolled.rp_id, enrolled.credential_id) as asked:
            response, _ = asked.get(
                enrolled.rp_id, enrolled.credential_id, hashed, verified=enrolled.user_verification
            )
        return SignatureResult(_accepted(enrolled, response, client_data, message), enrolled.public.keyid)

    def enrol(self, key: str, algorithm: str) -> Enrolment:
        """Enrol the authenticator under a reference that is free; see :func:`signerd_key_fido2.enrolment.enrol`.

        ``key.forbidden``, ``raw_sign_off``: of a key that is to sign raw, which is not allowed.
        """
        self._allow(key)
        enrolled = enrol(self._asker, self._store, self._settings, key, algorithm)
        credential = enrolled.credential
        return Enrolment(
            self._described(enrolled),
            credential.rp_id,
            credential.origin,
            credential.user_verification,
            enrolled.counter,
            enrolled.aaguid,
            enrolled.attestation,
        )

    def _described(self, enrolled: Enrolled) -> KeyDescription:
        public = enrolled.public
        return KeyDescription(enrolled.algorithm, public.keyid, public.spki, self.capabilities, (), "sha256")

    def _allow(self, key: str) -> None:
        if kind_of(key) == "raw" and not self._settings.raw_sign:
            raise forbidden("raw_sign_off", "this backend signs by no draft extension", "raw_sign is not true")

    def _signed_raw(self, enrolled: Enrolled, held: Raw, digest: bytes) -> bytes:
        """Return the signature, which is not verified here: whoever asks does, as of any key. That somebody touched the
        authenticator is told by the assertion around it, over a random number, so that it approves nothing."""
        hashed = secrets.token_bytes(32)
        with self._asker.of(enrolled.rp_id, enrolled.credential_id) as asked:
            response, signature = asked.get(
                enrolled.rp_id,
                enrolled.credential_id,
                hashed,
                verified=enrolled.user_verification,
                signing=signing(held, digest),
            )
        _accepted(enrolled, response, b"", hashed)
        return signature

    def _opened(self, key: str, enrolled: Enrolled) -> ec.EllipticCurvePrivateKey:
        known = self._unwrapped.get(key)
        # A file that was replaced holds another key, and that one needs its own touch.
        if known is not None and known[0] == enrolled:
            return known[1]
        held = enrolled.wrapped
        assert held is not None
        with self._asker.of(enrolled.rp_id, enrolled.credential_id) as asked:
            _, secret = asked.get(
                enrolled.rp_id,
                enrolled.credential_id,
                secrets.token_bytes(32),
                verified=held.verified,
                salt=held.salt,
            )
        private = unwrapped(secret, enrolled.credential_id, held)
        self._unwrapped[key] = enrolled, private
        return private


def _accepted(enrolled: Enrolled, response: AssertionResponse, client_data: bytes, digest: bytes) -> bytes:
    """Return the evidence that an assertion is; ``key.backend_fault``, ``assertion_refused``, for one that is none."""
    fmt = "webauthn" if client_data else "ctap2"
    try:
        sig = encode_assertion(fmt, bytes(response.auth_data), client_data, bytes(response.signature))
        verify_assertion(sig, digest, enrolled.credential, enrolled.counter)
    except Refusal as refusal:
        raise fault("assertion_refused", f"the authenticator's assertion: {refusal}") from refusal
    return sig
