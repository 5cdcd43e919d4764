"""ECDSA signatures as ``r ‖ s`` of fixed length, big-endian (RFC 9053, section 2.1); everywhere else they are DER."""

from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from signerd.errors import Refusal

__all__ = ["from_fixed", "to_fixed"]

_HALF: Final[Mapping[str, int]] = {"ES256": 32, "ES384": 48, "ES512": 66}
"""Bytes of ``r`` and of ``s``: those of the curve's order."""


def to_fixed(algorithm: str, signature: bytes) -> bytes:
    """Return a signature that verified in this form; that of another ``algorithm`` than ECDSA's as it is.

    Raises ValueError for what is no DER.
    """
    half = _HALF.get(algorithm)
    if half is None:
        return signature
    return b"".join([number.to_bytes(half, "big") for number in decode_dss_signature(signature)])


def from_fixed(algorithm: str, signature: bytes) -> bytes:
    """Return the signature in the form that keys verify; refuses (``verification.failed``, ``signature_invalid``) one
    of another length than its algorithm's."""
    half = _HALF.get(algorithm)
    if half is None:
        return signature
    if len(signature) != 2 * half:
        raise Refusal("verification.failed", "signature_invalid", "the signature is not of its algorithm's length")
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
