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
from signerd.secret_files.key_files import fault
from signerd.secret_files.pkcs8 import password_for

__all__ = ["decode", "encode"]


def decode(text: bytes, password: Callable[[], bytes | None]) -> PrivateKeyTypes:
    """Return the key in ``text``; ``password`` is asked for an encrypted one only.

    ``key.backend_fault`` with reason ``file_format`` (not one PKCS#8 PEM block), ``password_missing``,
    ``password_wrong``; ``key.algorithm_refused`` with reason ``key_type`` for a kind of key that cannot be
    read.
    """
    secret = password_for(text, password)
    try:
        return load_pem_private_key(text, secret)
    except UnsupportedAlgorithm:
        raise Refusal("key.algorithm_refused", "key_type", "the key is of a kind that is not used") from None
    except (ValueError, TypeError):
        if secret is not None:
            # Wrong padding after decryption and a damaged file look alike.
            raise fault("password_wrong", "a key file does not open with the configured password") from None
        raise fault("file_format", "a key file cannot be read as PKCS#8") from None


def encode(key: PrivateKeyTypes, password: bytes | None) -> bytes:
    """Return ``key`` as PKCS#8 PEM, encrypted with ``password`` where there is one."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
