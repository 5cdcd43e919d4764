"""Enrolled credentials as they are kept: JSON, one file each, made once and not changed. No secret is among it."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fido2.webauthn import AttestedCredentialData

from signerd.errors import SignerdError
from signerd.verification.fido2 import ALGORITHMS, Credential
from signerd.verification.keys import PublicKey
from signerd_key_fido2.failures import fault, not_found
from signerd_key_fido2.folder import Folder

__all__ = ["LONGEST_ID", "SCHEME", "Enrolled", "Kind", "Raw", "Store", "Wrapped", "kind_of", "p256", "spki_of"]

Kind = Literal["credential", "raw", "unwrap"]

SCHEME: Final = "fido2:"
LONGEST_ID: Final = 1023
"""Bytes of a credential id (WebAuthn level 2, section 4)."""
_REFERENCE: Final = re.compile(r"fido2:(?:(unwrap|raw)/)?([A-Za-z0-9][A-Za-z0-9._-]{0,63})")
_KINDS: Final[dict[str | None, Kind]] = {None: "credential", "raw": "raw", "unwrap": "unwrap"}


class Wrapped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A software key that the credential's secret unwraps: ``spki`` is its public half, ``salt`` goes to the
    authenticator, ``sealed`` is PKCS#8 under AES-256-GCM with ``nonce``. ``verified``: the secret is the one that the
    authenticator gives for a verified user (CTAP 2.1, section 12.5: it keeps two)."""

    spki: bytes
    salt: bytes
    nonce: bytes
    sealed: bytes
    verified: bool


class Raw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that signs inside the authenticator: ``spki`` is its public half, ``handle`` and ``arguments`` (empty where
    none are needed) go to the authenticator with each digest, ``algorithm`` is the number of how it signs.
    ``attestation`` is the attestation object of the key, as it came: nobody has judged it."""

    spki: bytes
    handle: bytes
    arguments: bytes
    algorithm: int
    attestation: bytes


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
    raw: Raw | None = None

    @property
    def kind(self) -> Kind | None:
        """What it is enrolled for; None for what is two things at once."""
        if self.wrapped is not None:
            return "unwrap" if self.raw is None else None
        return "credential" if self.raw is None else "raw"

    @property
    def credential(self) -> Credential:
        """What its assertions are verified by."""
        return Credential(self.spki, self.rp_id, self.origin, self.user_verification)

    @property
    def public(self) -> PublicKey:
        """The public key of the credential, of the key that it unwraps, or of the one that was made beside it."""
        return PublicKey.from_spki((self.wrapped or self.raw or self).spki)

    @property
    def algorithm(self) -> str:
        """What signerd calls the key's algorithm."""
        return ALGORITHMS[self.public.algorithm] if self.kind == "credential" else self.public.algorithm


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
            if found.kind == kind_of(key) and found.algorithm:
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
        return f"{kind_of(key)}-{key.partition('/')[2] or key.removeprefix(SCHEME)}.json"


def kind_of(key: str) -> Kind:
    """Return what a reference is of; ``key.not_found``, ``reference``, for none of this backend's."""
    found = _REFERENCE.fullmatch(key)
    if found is None:
        text = "expected fido2:NAME, fido2:unwrap/NAME or fido2:raw/NAME, of letters, digits, dots, dashes"
        raise not_found("reference", text)
    return _KINDS[found[1]]


def spki_of(data: AttestedCredentialData) -> bytes:
    """Return the SPKI of a new credential's key; ``key.backend_fault``, ``device_protocol``, for one that nobody asked
    for (COSE, RFC 9053, section 7)."""
    cose = data.public_key
    with suppress(ValueError, KeyError, TypeError):
        if (cose[1], cose[3], cose[-1]) == (2, -7, 1):
            return p256(cose)
        if (cose[1], cose[3], cose[-1]) == (1, -8, 6):
            return _der(ed25519.Ed25519PublicKey.from_public_bytes(cose[-2]))
    raise fault("device_protocol", "a credential key that is neither P-256 nor Ed25519")


def p256(cose: Mapping[int, Any]) -> bytes:
    """Return the SPKI of a COSE key on P-256 (RFC 9053, section 7.1.1); ValueError, KeyError, TypeError for another."""
    if (cose[1], cose[-1]) != (2, 1):
        raise ValueError("no key on P-256")
    x, y = (int.from_bytes(cose[label], "big") for label in (-2, -3))
    return _der(ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())


def _der(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
