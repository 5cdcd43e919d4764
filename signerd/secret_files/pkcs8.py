"""PKCS#8 in PEM (RFC 5208, RFC 7468): whether a text is one such key, and what opens it."""

from collections.abc import Callable
from typing import Final

from signerd.secret_files.key_files import fault

__all__ = ["password_for"]

_PLAIN: Final = b"-----BEGIN PRIVATE KEY-----"
_ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def password_for(text: bytes, password: Callable[[], bytes | None]) -> bytes | None:
    """Return what opens the key in ``text``, None for one that is not encrypted: then ``password`` is not asked.

    ``key.backend_fault``: ``file_format`` (not one PKCS#8 block), ``password_missing``.
    """
    stripped = text.lstrip()
    encrypted = stripped.startswith(_ENCRYPTED)
    if text.count(b"-----BEGIN ") != 1 or not (encrypted or stripped.startswith(_PLAIN)):
        raise fault("file_format", "a key file holds exactly one PKCS#8 key in PEM")
    secret = password() if encrypted else None
    if encrypted and not secret:
        raise fault("password_missing", "a key file is encrypted and no password is configured")
    return secret
