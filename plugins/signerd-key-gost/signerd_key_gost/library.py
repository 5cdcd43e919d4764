"""The system's libcrypto 3 and its engine ``gost``, by ctypes.

The library is one that this process may share with Python's own :mod:`ssl` and :mod:`hashlib`, so nothing is made
its default: only the methods of GOST keys are registered, for key types that nothing else has. cryptography brings an
OpenSSL of its own, which is not touched. An engine is the only way: the GOST provider of the same package has no
signatures, and OpenSSL 4 has no engines any more.
"""

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int, c_long, c_size_t, c_uint, c_ulong, c_void_p
from functools import cache
from typing import Final

from signerd.secret_files.key_files import fault
from signerd_key_gost.failures import unavailable

__all__ = ["Library", "library"]

_NAME: Final = "libcrypto.so.3"
_ENGINE: Final = b"gost"
_INSTALL: Final = "install OpenSSL 3 and its GOST engine (Debian and Ubuntu: libengine-gost-openssl)"
_DYNAMIC: Final = 0x00000400
"""OPENSSL_INIT_ENGINE_DYNAMIC (openssl/crypto.h): engines are looked for where this build of OpenSSL has them."""
_BIO_CTRL_INFO: Final = 3
_SIGNATURES: Final[dict[str, tuple[object, tuple[object, ...]]]] = {
    "BIO_ctrl": (c_long, (c_void_p, c_int, c_long, c_void_p)),
    "BIO_free": (c_int, (c_void_p,)),
    "BIO_new": (c_void_p, (c_void_p,)),
    "BIO_new_mem_buf": (c_void_p, (c_char_p, c_int)),
    "BIO_s_mem": (c_void_p, ()),
    "ENGINE_by_id": (c_void_p, (c_char_p,)),
    "ENGINE_get_digest": (c_void_p, (c_void_p, c_int)),
    "ENGINE_init": (c_int, (c_void_p,)),
    "ENGINE_register_pkey_asn1_meths": (c_int, (c_void_p,)),
    "ENGINE_register_pkey_meths": (c_int, (c_void_p,)),
    "ERR_clear_error": (None, ()),
    "ERR_error_string_n": (None, (c_ulong, c_char_p, c_size_t)),
    "ERR_get_error": (c_ulong, ()),
    "EVP_Digest": (c_int, (c_char_p, c_size_t, c_char_p, POINTER(c_uint), c_void_p, c_void_p)),
    "EVP_PKEY_CTX_ctrl_str": (c_int, (c_void_p, c_char_p, c_char_p)),
    "EVP_PKEY_CTX_free": (None, (c_void_p,)),
    "EVP_PKEY_CTX_new": (c_void_p, (c_void_p, c_void_p)),
    "EVP_PKEY_CTX_new_id": (c_void_p, (c_int, c_void_p)),
    "EVP_PKEY_free": (None, (c_void_p,)),
    "EVP_PKEY_keygen": (c_int, (c_void_p, POINTER(c_void_p))),
    "EVP_PKEY_keygen_init": (c_int, (c_void_p,)),
    "EVP_PKEY_sign": (c_int, (c_void_p, c_char_p, POINTER(c_size_t), c_char_p, c_size_t)),
    "EVP_PKEY_sign_init": (c_int, (c_void_p,)),
    "EVP_PKCS82PKEY": (c_void_p, (c_void_p,)),
    "EVP_PKEY2PKCS8": (c_void_p, (c_void_p,)),
    "EVP_aes_256_cbc": (c_void_p, ()),
    "OBJ_txt2nid": (c_int, (c_char_p,)),
    "OPENSSL_init_crypto": (c_int, (ctypes.c_uint64, c_void_p)),
    "PEM_read_bio_PKCS8": (c_void_p, (c_void_p, c_void_p, c_void_p, c_void_p)),
    "PEM_read_bio_PKCS8_PRIV_KEY_INFO": (c_void_p, (c_void_p, c_void_p, c_void_p, c_void_p)),
    "PEM_write_bio_PKCS8": (c_int, (c_void_p, c_void_p)),
    "PEM_write_bio_PKCS8_PRIV_KEY_INFO": (c_int, (c_void_p, c_void_p)),
    "PEM_write_bio_PUBKEY": (c_int, (c_void_p, c_void_p)),
    "PKCS8_PRIV_KEY_INFO_free": (None, (c_void_p,)),
    "PKCS8_decrypt": (c_void_p, (c_void_p, c_char_p, c_int)),
    "PKCS8_encrypt": (c_void_p, (c_int, c_void_p, c_char_p, c_int, c_void_p, c_int, c_int, c_void_p)),
    "X509_SIG_free": (None, (c_void_p,)),
    "i2d_PKCS8_PRIV_KEY_INFO_bio": (c_int, (c_void_p, c_void_p)),
}


class Library:
    """libcrypto with its engine ready. Raises as :func:`library` does."""

    def __init__(self) -> None:
        try:
            # dlopen's RTLD_LOCAL: its symbols are for whoever asks for them by this handle.
            self._crypto = ctypes.CDLL(_NAME, mode=os.RTLD_LOCAL | os.RTLD_NOW)
            for name, (result, arguments) in _SIGNATURES.items():
                function = getattr(self._crypto, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as exc:
            raise unavailable("engine_missing", f"{_NAME} cannot be used ({exc}): {_INSTALL}") from exc
        self._crypto.OPENSSL_init_crypto(_DYNAMIC, None)
        self.engine = self._crypto.ENGINE_by_id(_ENGINE)
        if not self.engine or not self._crypto.ENGINE_init(self.engine):
            raise unavailable("engine_missing", f"{_NAME} has no engine gost ({self._errors()}): {_INSTALL}")
        self.call("ENGINE_register_pkey_asn1_meths", self.engine)
        self.call("ENGINE_register_pkey_meths", self.engine)
        self._hashes = {bits: self._hash(bits) for bits in (256, 512)}

    def call(self, name: str, *arguments: object) -> int:
        """Return what the function ``name`` did, a pointer or a number above zero; ``key.backend_fault``,
        ``engine_failed``, where it failed."""
        result: int | None = getattr(self._crypto, name)(*arguments)
        if not result or result < 0:
            raise fault("engine_failed", f"{name}: {self._errors()}")
        return result

    def attempt(self, name: str, *arguments: object) -> int | None:
        """Return the pointer that the function ``name`` gave; None where it failed, and nobody is told why: OpenSSL's
        errors of a key file may quote it."""
        found: int | None = getattr(self._crypto, name)(*arguments)
        if not found:
            self._crypto.ERR_clear_error()
        return found

    def free(self, name: str, pointer: int) -> None:
        """Call the function ``name``, which cannot fail."""
        getattr(self._crypto, name)(pointer)

    def identifier(self, name: bytes) -> int:
        """Return OpenSSL's number of an object; ``engine_missing`` where it knows none of that name."""
        number: int = self._crypto.OBJ_txt2nid(name)
        if not number:
            raise unavailable("engine_missing", f"{_NAME} knows no {name.decode()}: {_INSTALL}")
        return number

    def hash(self, bits: int, message: bytes) -> bytes:
        """Return Streebog of ``message``."""
        digest, length = ctypes.create_string_buffer(64), c_uint(0)
        self.call("EVP_Digest", message, len(message), digest, ctypes.byref(length), self._hashes[bits], self.engine)
        return digest.raw[: length.value]

    def written(self, write: str, thing: int) -> bytes:
        """Return what the function ``write`` puts into a BIO for ``thing``."""
        bio = self.call("BIO_new", self.call("BIO_s_mem"))
        try:
            self.call(write, bio, thing)
            data = c_void_p()
            length = self.call("BIO_ctrl", bio, _BIO_CTRL_INFO, 0, ctypes.byref(data))
            assert data.value is not None
            return ctypes.string_at(data.value, length)
        finally:
            self.free("BIO_free", bio)

    def _hash(self, bits: int) -> int:
        return self.call("ENGINE_get_digest", self.engine, self.identifier(f"md_gost12_{bits}".encode()))

    def _errors(self) -> str:
        """Return OpenSSL's errors since the last time, the oldest first, and forget them."""
        texts, text = [], ctypes.create_string_buffer(256)
        while code := self._crypto.ERR_get_error():
            self._crypto.ERR_error_string_n(code, text, len(text))
            texts.append(text.value.decode("ascii", "replace"))
        return "; ".join(texts) or "no reason given"


@cache
def library() -> Library:
    """Return the library, loaded at the first call.

    ``key.backend_unavailable``, ``engine_missing``, where there is no libcrypto 3 or no such engine; asked again, it
    looks again.
    """
    return Library()
