"""PKCS#8 in PEM (RFC 5208, RFC 7468), encrypted or not: text to key and back."""

from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from signerd.errors import Refusal
from signerd_key_file.files import fault

__all__ = ["decode", "encode"]

_PLAIN = b"-----BEGIN PRIVATE KEY-----"
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def decode(text: bytes, password: Callable[[], bytes | None]) -> PrivateKeyTypes:
    """Return the key in ``text``; ``password`` is asked for an encrypted one only.

    ``key.backend_fault`` with reason ``file_format`` (not one PKCS#8 PEM block), ``password_missing``,
    ``password_wrong``; ``key.algorithm_refused`` with reason ``key_type`` for a kind of key that cannot be
    read.
    """
    stripped = text.lstrip()
    encrypted = stripped.startswith(_ENCRYPTED)
    if text.count(b"-----BEGIN ") != 1 or not (encrypted or stripped.startswith(_PLAIN)):
        raise fault("file_format", "a key file holds exactly one PKCS#8 key in PEM")
    secret = password() if encrypted else None
    if encrypted and not secret:
        raise fault("password_missing", "a key file is encrypted and no password is configured")
    try:
        return load_pem_private_key(text, secret)
    except UnsupportedAlgorithm:
        raise Refusal("key.algorithm_refused", "key_type", "the key is of a kind that is not used") from None
    except (ValueError, TypeError):
        if encrypted:
            # Wrong padding after decryption and a damaged file look alike.
            raise fault("password_wrong", "a key file does not open with the configured password") from None
        raise fault("file_format", "a key file cannot be read as PKCS#8") from None


def encode(key: PrivateKeyTypes, password: bytes | None) -> bytes:
    """Return ``key`` as PKCS#8 PEM, encrypted with ``password`` where there is one."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
