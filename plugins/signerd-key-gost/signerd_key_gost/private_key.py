"""Private keys in OpenSSL's hands: from PKCS#8 in PEM and back, made anew, and how they sign."""

import ctypes
import os
from collections.abc import Callable
from typing import Final

from signerd.errors import Refusal, SignerdError
from signerd.secret_files.key_files import fault
from signerd.secret_files.pkcs8 import password_for
from signerd.verification.der import INTEGER, OCTET_STRING, OID, DerError, Reader
from signerd.verification.gost import GOST_KEY, PARAMETER_SETS, check_signable
from signerd.verification.keys import PublicKey
from signerd_key_gost.library import Library

__all__ = ["LAYOUT", "PARAMETERS", "PrivateKey", "make_key", "read_key"]

LAYOUT: Final = "s || r, each big-endian"
"""How the engine writes a signature, which is how RFC 9215, section 3 and X.509 do: it goes out as it is."""
PARAMETERS: Final = {
    "GOST3410-2012-256": {
        "TC26-256-A": b"TCA",
        "TC26-256-B": b"TCB",
        "TC26-256-C": b"TCC",
        "TC26-256-D": b"TCD",
        "CryptoPro-A": b"A",
    },
    "GOST3410-2012-512": {"TC26-512-A": b"A", "TC26-512-B": b"B", "TC26-512-C": b"C"},
}
"""The parameter sets that keys are made with, and the engine's names of them."""
_TYPES: Final = {"GOST3410-2012-256": b"gost2012_256", "GOST3410-2012-512": b"gost2012_512"}
_ITERATIONS: Final = 210_000
"""Of PBKDF2: some 50 ms, once for each key and start of the worker."""
_SALT_BYTES: Final = 16
_CHALLENGE: Final = b"signerd-key-gost v1: this private key and the public key that it gives are one pair\n"
"""Signed once for each key that is opened. What the sealer frames begins with ``DSSEv1`` (DSSE) or 0x84
(COSE), and never as this does."""


class PrivateKey:
    """A key that has proved its public half to our own verifier. It stays in memory for as long as the process lives;
    one thread at a time."""

    def __init__(self, crypto: Library, pointer: int) -> None:
        """Take ``pointer`` over. ``key.algorithm_refused`` for a key of another kind; ``key.backend_fault``,
        ``public_key_mismatch``, for an engine that does not sign as its public key says."""
        self._crypto = crypto
        self._pointer = pointer
        self.public = _public_of(crypto.written("PEM_write_bio_PUBKEY", pointer))
        self._bits = int(self.public.algorithm[-3:])
        self._signing = crypto.call("EVP_PKEY_CTX_new", pointer, crypto.engine)
        crypto.call("EVP_PKEY_sign_init", self._signing)
        try:
            self.public.verify(self.sign(_CHALLENGE), _CHALLENGE)
        except Refusal as refusal:
            raise fault("public_key_mismatch", f"what the engine signs does not verify ({refusal.reason})") from refusal

    def sign(self, message: bytes) -> bytes:
        """Return the signature over ``message``, hashed by Streebog of the key's size; in :data:`LAYOUT`.

        ``key.forbidden``, ``gost_payload_too_large``, above what a verifier takes.
        """
        check_signable(message)
        digest = self._crypto.hash(self._bits, message)
        signature, length = ctypes.create_string_buffer(self._bits // 4), ctypes.c_size_t(self._bits // 4)
        self._crypto.call("EVP_PKEY_sign", self._signing, signature, ctypes.byref(length), digest, len(digest))
        return signature.raw[: length.value]

    def pem(self, password: bytes | None) -> bytes:
        """Return the key as PKCS#8 in PEM, encrypted (PBES2: PBKDF2 with HMAC-SHA-256, AES-256-CBC) with ``password``
        where there is one."""
        crypto = self._crypto
        plain = crypto.call("EVP_PKEY2PKCS8", self._pointer)
        try:
            if not password:
                return crypto.written("PEM_write_bio_PKCS8_PRIV_KEY_INFO", plain)
            salt = os.urandom(_SALT_BYTES)
            cipher = crypto.call("EVP_aes_256_cbc")
            encrypted = crypto.call(
                "PKCS8_encrypt", -1, cipher, password, len(password), salt, len(salt), _ITERATIONS, plain
            )
        finally:
            crypto.free("PKCS8_PRIV_KEY_INFO_free", plain)
        try:
            return crypto.written("PEM_write_bio_PKCS8", encrypted)
        finally:
            crypto.free("X509_SIG_free", encrypted)


def read_key(crypto: Library, text: bytes, password: Callable[[], bytes | None]) -> PrivateKey:
    """Return the key in ``text``; ``password`` is asked for an encrypted one only.

    ``key.backend_fault`` with reason ``file_format`` (not one PKCS#8 PEM block, or not a number of the parameter set),
    ``password_missing``, ``password_wrong``; ``key.algorithm_refused`` (``key_type``, ``curve``) for a key of another
    kind.
    """
    secret = password_for(text, password)
    info = _opened(crypto, text.lstrip(), secret)
    try:
        _check_private(crypto.written("i2d_PKCS8_PRIV_KEY_INFO_bio", info))
        return PrivateKey(crypto, crypto.call("EVP_PKCS82PKEY", info))
    finally:
        crypto.free("PKCS8_PRIV_KEY_INFO_free", info)


def _opened(crypto: Library, text: bytes, secret: bytes | None) -> int:
    """Return the PKCS#8 structure in a PEM text, decrypted where there is a ``secret``."""
    kind = "PKCS8_PRIV_KEY_INFO" if secret is None else "PKCS8"
    bio = crypto.call("BIO_new_mem_buf", text, len(text))
    try:
        found = crypto.attempt(f"PEM_read_bio_{kind}", bio, None, None, None)
    finally:
        crypto.free("BIO_free", bio)
    if found is None:
        raise fault("file_format", "a key file cannot be read as PKCS#8 in PEM")
    if secret is None:
        return found
    try:
        info = crypto.attempt("PKCS8_decrypt", found, secret, len(secret))
    finally:
        crypto.free("X509_SIG_free", found)
    if info is None:
        raise fault("password_wrong", "a key file does not open with the configured password, or is damaged")
    return info


def _check_private(der: bytes) -> None:
    """Demand a private number of the parameter set's size, above zero and below the order.

    The engine itself takes other lengths, none at all too, for numbers that nobody wrote.
    """
    try:
        info = Reader(der).inside()
        info.take(INTEGER)
        algorithm = info.inside()
        identifier, parameters = algorithm.take(OID).whole, algorithm.inside().take(OID).whole
        octets = info.take(OCTET_STRING).content
    except DerError:
        raise Refusal(
            "key.algorithm_refused", "key_type", "the key is of a kind that this backend does not use"
        ) from None
    chosen = next((one for one in PARAMETER_SETS if one.oid == parameters), None)
    if chosen is None or identifier != GOST_KEY + bytes([chosen.bits // 256]):
        raise Refusal("key.algorithm_refused", "curve", "the key's parameter set is not one that this backend uses")
    # RFC 9215 says nothing of private keys; the engine writes the number little-endian, as a token hands it over.
    if len(octets) != chosen.curve.size or not 0 < int.from_bytes(octets, "little") < chosen.curve.q:
        raise fault("file_format", "a key file has a private number that is none of its parameter set")


def make_key(crypto: Library, algorithm: str, parameters: str) -> PrivateKey:
    """Make a new key of the parameter set ``parameters``; ``key.algorithm_refused``, ``unknown_algorithm``, for another
    algorithm than the two."""
    named = PARAMETERS.get(algorithm)
    if named is None:
        raise Refusal(
            "key.algorithm_refused", "unknown_algorithm", "the key's algorithm is not one that this backend makes"
        )
    context = crypto.call("EVP_PKEY_CTX_new_id", crypto.identifier(_TYPES[algorithm]), crypto.engine)
    try:
        crypto.call("EVP_PKEY_keygen_init", context)
        crypto.call("EVP_PKEY_CTX_ctrl_str", context, b"paramset", named[parameters])
        made = ctypes.c_void_p()
        crypto.call("EVP_PKEY_keygen", context, ctypes.byref(made))
    finally:
        crypto.free("EVP_PKEY_CTX_free", context)
    assert made.value is not None
    return PrivateKey(crypto, made.value)


def _public_of(pem: bytes) -> PublicKey:
    """Read the public half; of another kind of key ``key.algorithm_refused``."""
    try:
        public = PublicKey.from_pem(pem)
    except SignerdError as error:
        if error.code.startswith("key."):
            raise
        raise fault("engine_failed", f"the engine wrote a public key that cannot be read ({error.reason})") from error
    if public.algorithm not in PARAMETERS:
        raise Refusal("key.algorithm_refused", "key_type", "the key is of a kind that this backend does not use")
    return public
