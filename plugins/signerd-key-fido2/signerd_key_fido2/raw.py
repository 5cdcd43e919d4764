"""Keys inside an authenticator that sign a digest as it is: previewSign, a draft of a CTAP2 extension.

Version 4-SNAPSHOT-2025-08-21T15:00 of https://github.com/yubicolabs/webauthn-sign-extension, as far as fido2 2.2.1
knows it. The library drives it by its WebAuthn client alone, and calls that no stable API; here its CTAP2 maps are
written and read, which are few, and of the library only the derivation of ARKG is used.

A credential is made, and with it a signing key. Where the authenticator has ARKG (a scheme for deriving keys:
draft-bradleylundberg-cfrg-arkg-10), what it tells is a seed: the public key is derived from it here, once, and the
arguments that came of it go with each signature, by which the authenticator finds the private half. Nobody else can.
What its numbers mean may change with the draft. So nothing is believed: a new key signs once, and is kept only if that
verifies as ECDSA with SHA-256.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

from fido2 import cbor
from fido2.cose import ARKG_P256_PLACEHOLDER, ESP256_SPLIT_ARKG_PLACEHOLDER
from fido2.ctap2.base import AssertionResponse, AttestationResponse

from signerd_key_fido2.credentials import LONGEST_ID, Raw, p256
from signerd_key_fido2.failures import PROTOCOL, translated

__all__ = ["ESP256_SPLIT", "ESP256_SPLIT_ARKG", "EXTENSION", "generated", "generating", "signature_of", "signing"]

EXTENSION: Final = "previewSign"
ESP256_SPLIT: Final = -300
"""ECDSA over P-256 of a SHA-256 that another has computed: the number asked for by
draft-lundberg-cose-two-party-signing-algs-06, section "ECDSA". Not assigned; its successor,
draft-ietf-cose-split-signing-algs, is not finished."""
ESP256_SPLIT_ARKG: Final = ESP256_SPLIT_ARKG_PLACEHOLDER
"""The same with a key that was derived by ARKG-P256: -65539 in fido2 2.2.1, a placeholder after
draft-bradleylundberg-cfrg-arkg-10, section "COSE algorithms"."""
_ESP256: Final = -9
"""RFC 9864, section 2.1: what a derived key is for."""
_ES256: Final = -7
_DERIVED_FOR: Final = -3
"""The label of a seed that says which algorithm its keys are for."""
_CONTEXT: Final = b"signerd-key-fido2 raw v1"
"""ARKG takes at most 64 bytes."""
_HANDLE, _ALGORITHM, _FLAGS, _SIGNED, _ARGUMENTS, _ATTESTED = 2, 3, 4, 6, 7, 7
"""Labels of the maps. To be signed and the signature are both 6; 7 is arguments on the way there, and the attestation
object of the new key on the way back."""
_TOUCH, _TOUCH_AND_USER = 0b001, 0b101


def generating(*, verified: bool) -> dict[int, Any]:
    """Return what asks for a signing key that the authenticator uses for a touch alone and, where ``verified``, for a
    user that it has verified."""
    return {_ALGORITHM: [ESP256_SPLIT, ESP256_SPLIT_ARKG], _FLAGS: _TOUCH_AND_USER if verified else _TOUCH}


def generated(made: AttestationResponse) -> Raw:
    """Return the signing key that came with a new credential, derived where it is a seed.

    ``key.backend_fault``, ``device_protocol``: nothing came, or no P-256 key of an algorithm that was asked for.
    """
    try:
        algorithm = (made.auth_data.extensions or {})[EXTENSION][_ALGORITHM]
        attested = made.unsigned_extension_outputs[EXTENSION][_ATTESTED]
        data = AttestationResponse.from_dict(cbor.decode(attested)).auth_data.credential_data  # type: ignore[arg-type]
        if data is None or not 1 <= len(data.credential_id) <= LONGEST_ID:
            raise ValueError("a signing key without its data")
        key, arguments = data.public_key, b""
        if algorithm == ESP256_SPLIT_ARKG:
            if not isinstance(key, ARKG_P256_PLACEHOLDER) or key[_DERIVED_FOR] != _ESP256:
                raise ValueError("no seed of ARKG-P256 for ESP256")
            key, told = key.derive_public_key(secrets.token_bytes(32), _CONTEXT)
            arguments = cbor.encode(told)
        elif algorithm != ESP256_SPLIT:
            raise ValueError("an algorithm that nobody asked for")
        if key[3] not in (_ES256, _ESP256):
            raise ValueError("a key for another algorithm")
        return Raw(p256(key), bytes(data.credential_id), arguments, algorithm, bytes(attested))
    except PROTOCOL as exc:
        raise translated(exc, "reading a new signing key") from exc


def signing(held: Raw, digest: bytes) -> dict[int, Any]:
    """Return what asks for a signature of ``digest`` by this key."""
    asked: dict[int, Any] = {_HANDLE: held.handle, _SIGNED: digest}
    return {**asked, _ARGUMENTS: held.arguments} if held.arguments else asked


def signature_of(response: AssertionResponse) -> bytes:
    """Return the signature that came with an assertion; what :data:`PROTOCOL` has, where none did."""
    told: Mapping[str, Any] = response.auth_data.extensions or {}
    signature = told[EXTENSION][_SIGNED]
    if not isinstance(signature, bytes):
        raise TypeError("a signature that is no byte string")
    return signature
