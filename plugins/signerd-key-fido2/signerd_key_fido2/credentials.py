"""Enrolled credentials as they are kept: JSON, one file each, made once and not changed. No secret is among it."""

import re
from contextlib import suppress
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fido2.webauthn import AttestedCredentialData

from signerd.errors import SignerdError
from signerd.verification.fido2 import ALGORITHMS, Credential
from signerd.verification.keys import PublicKey
from signerd_key_fido2.failures import fault, not_found
from signerd_key_fido2.folder import Folder

__all__ = ["SCHEME", "Enrolled", "Store", "Wrapped", "is_wrapped", "spki_of"]

SCHEME: Final = "fido2:"
_REFERENCE: Final = re.compile(r"fido2:(unwrap/)?([A-Za-z0-9][A-Za-z0-9._-]{0,63})")


class Wrapped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A software key that the credential's secret unwraps: ``spki`` is its public half, ``salt`` goes to the
    authenticator, ``sealed`` is PKCS#8 under AES-256-GCM with ``nonce``. ``verified``: the secret is the one that the
    authenticator gives for a verified user (CTAP 2.1, section 12.5: it keeps two)."""

    spki: bytes
    salt: bytes
    nonce: bytes
    sealed: bytes
    verified: bool


class Enrolled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was learnt at enrolment. ``spki`` is the credential's public key; ``counter`` was in its first assertion.

    ``attestation`` is the format of the attestation statement and ``statement`` its CBOR, as they came: whose make
    the authenticator is was not judged.
    """

    credential_id: bytes
    spki: bytes
    rp_id: str
    origin: str
    user_verification: bool
    counter: int
    aaguid: str
    transports: tuple[str, ...]
    attestation: str
    statement: bytes
    wrapped: Wrapped | None = None

    @property
    def credential(self) -> Credential:
        """What its assertions are verified by."""
        return Credential(self.spki, self.rp_id, self.origin, self.user_verification)

    @property
    def public(self) -> PublicKey:
        """The public key of the credential, or of the key that it unwraps."""
        return PublicKey.from_spki(self.spki if self.wrapped is None else self.wrapped.spki)

    @property
    def algorithm(self) -> str:
        """What signerd calls the key's algorithm."""
        return ALGORITHMS[self.public.algorithm] if self.wrapped is None else self.public.algorithm


class Store:
    """The files of one folder of state."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def load(self, key: str) -> Enrolled:
        """Return what is kept of ``key``.

        ``key.not_found``: ``reference`` (no name of this backend's), ``no_such_key``. ``key.backend_fault``:
        ``credential_malformed``, and what :class:`Folder` raises.
        """
        name = self.name(key)
        text = self._folder.read(name)
        if text is None:
            raise not_found("no_such_key", f"{self._folder.place(name)} is not there: enrol it first")
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, SignerdError, KeyError):
            found = msgspec.json.decode(text, type=Enrolled)
            if (found.wrapped is not None) == is_wrapped(key) and found.algorithm:
                return found
        raise fault("credential_malformed", f"{self._folder.place(name)} holds no credential")

    def is_free(self, key: str) -> bool:
        """Whether nothing is kept under ``key``; refuses a reference as :meth:`load` does."""
        return self._folder.read(self.name(key)) is None

    def keep(self, key: str, enrolled: Enrolled) -> str:
        """Write it down for good, over nothing else: ``key.forbidden``, ``exists``. Returns the file's path."""
        name = self.name(key)
        self._folder.create(name, msgspec.json.format(msgspec.json.encode(enrolled)))
        return self._folder.place(name)

    def name(self, key: str) -> str:
        """Return the name of the file of ``key``."""
        found = _REFERENCE.fullmatch(key)
        if found is None:
            raise not_found("reference", "expected fido2:NAME or fido2:unwrap/NAME, of letters, digits, dots, dashes")
        return f"{'unwrap' if found[1] else 'credential'}-{found[2]}.json"


def is_wrapped(key: str) -> bool:
    """Whether the reference is that of a key that is unwrapped."""
    return key.startswith(f"{SCHEME}unwrap/")


def spki_of(data: AttestedCredentialData) -> bytes:
    """Return the SPKI of a new credential's key; ``key.backend_fault``, ``device_protocol``, for one that nobody asked
    for (COSE, RFC 9053, section 7)."""
    cose = data.public_key
    with suppress(ValueError, KeyError, TypeError):
        if (cose[1], cose[3], cose[-1]) == (2, -7, 1):
            x, y = (int.from_bytes(cose[label], "big") for label in (-2, -3))
            return _der(ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
        if (cose[1], cose[3], cose[-1]) == (1, -8, 6):
            return _der(ed25519.Ed25519PublicKey.from_public_bytes(cose[-2]))
    raise fault("device_protocol", "a credential key that is neither P-256 nor Ed25519")


def _der(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
