"""The draft extension previewSign as an authenticator has it (version 4-SNAPSHOT-2025-08-21T15:00 of the draft)."""

import hashlib
import os
from collections.abc import Collection
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor
from fido2.cose import ES256
from fido2.ctap import CtapError
from fido2.webauthn import Aaguid, AttestedCredentialData, AuthenticatorData

from fakes.arkg import derive_private_key
from fakes.ctaphid import Status

__all__ = ["EXTENSION", "RAW_ALGORITHMS", "SigningKey"]

EXTENSION = "previewSign"
SPLIT, SPLIT_ARKG, ARKG_P256, ARKG_SEED, ESP256 = -300, -65539, -65700, -65537, -9
RAW_ALGORITHMS = (SPLIT, SPLIT_ARKG)
ERR = CtapError.ERR
FLAG = AuthenticatorData.FLAG
TOUCH_AND_USER = 0b101


def _made() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _cose(private: ec.EllipticCurvePrivateKey) -> dict[int, Any]:
    return {**ES256.from_cryptography_key(private.public_key()), 3: ESP256}


class SigningKey:
    """What is made beside a credential: a key, or two of which others are derived."""

    def __init__(self, asked: dict[int, Any], offered: Collection[int]) -> None:
        wanted = next((each for each in asked[3] if each in offered), None)
        if wanted is None:
            raise Status(ERR.UNSUPPORTED_ALGORITHM)
        if asked[4] not in (0b000, 0b001, TOUCH_AND_USER):
            raise Status(ERR.INVALID_OPTION)
        self.algorithm: int = wanted
        self.flags: int = asked[4]
        self.handle = os.urandom(48)
        self.private, self.kem = _made(), _made()

    def told(self, rp_id: str) -> tuple[dict[int, Any], dict[int, Any]]:
        """Return what is told of it, signed and unsigned."""
        public = _cose(self.private)
        if self.algorithm == SPLIT_ARKG:
            public = {1: ARKG_SEED, 3: ARKG_P256, -1: public, -2: _cose(self.kem), -3: ESP256}
        data = AttestedCredentialData.create(Aaguid.NONE, self.handle, public)  # type: ignore[arg-type]
        hashed = hashlib.sha256(rp_id.encode()).digest()
        made = AuthenticatorData.create(hashed, FLAG.UP | FLAG.AT, 0, bytes(data), None)
        return {3: self.algorithm, 4: self.flags}, {7: cbor.encode({1: "none", 2: bytes(made), 3: {}})}

    def signed(self, asked: dict[int, Any], flags: int, flaws: Collection[str]) -> dict[int, Any]:
        """Return the signature of a digest."""
        if self.flags & FLAG.UP and not flags & FLAG.UP and "no presence" not in flaws:
            raise Status(ERR.UP_REQUIRED)
        if self.flags & FLAG.UV and not flags & FLAG.UV:
            raise Status(ERR.PUAT_REQUIRED)
        if asked.get(2) != self.handle or len(asked.get(6, b"")) != SHA256().digest_size:
            raise Status(ERR.INVALID_OPTION)
        private = _made() if "another raw key" in flaws else self._used(asked)
        digest = os.urandom(32) if "another digest" in flaws else asked[6]
        return {6: private.sign(digest, ec.ECDSA(Prehashed(SHA256())))}

    def _used(self, asked: dict[int, Any]) -> ec.EllipticCurvePrivateKey:
        if self.algorithm == SPLIT:
            return self.private
        if 7 not in asked:
            raise Status(ERR.MISSING_PARAMETER)
        arguments: Any = cbor.decode(asked[7])
        if arguments.get(3) != SPLIT_ARKG:
            raise Status(ERR.INVALID_CREDENTIAL)
        try:
            return derive_private_key(self.private, self.kem, arguments[-1], arguments[-2])
        except ValueError:
            raise Status(ERR.INVALID_CREDENTIAL) from None
