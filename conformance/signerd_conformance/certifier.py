"""The private key of whoever runs the kit, PKCS#8 in PEM: read and used here and nowhere else."""

import getpass
import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from signerd.errors import Refusal
from signerd.verification.keys import PublicKey

__all__ = ["CertifierKey"]

_MOST_KEY_BYTES: Final = 64 * 1024
_ECDSA: Final = {"ES256": ec.ECDSA(SHA256()), "ES384": ec.ECDSA(SHA384()), "ES512": ec.ECDSA(SHA512())}


class CertifierKey:
    """The runner's private key."""

    def __init__(self, private: object) -> None:
        """Take a key of the cryptography library; Refusal for one of an algorithm that signerd does not use."""
        if not isinstance(private, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
            raise Refusal("key.algorithm_refused", "key_type", "an EC, Ed25519 or RSA key is expected")
        self._private = private
        spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public = PublicKey.from_spki(spki)

    @classmethod
    def read(cls, path: Path, password_file: Path | None = None) -> "CertifierKey":
        """Read PKCS#8 in PEM. An encrypted key is opened with the content of ``password_file``, less one newline at its
        end, or else with what is typed at the terminal.

        Raises OSError, or ValueError for a file that others can read, no such key or a wrong password.
        """
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ValueError(f"{path}: a private key must be closed to group and others: chmod 600")
            text = file.read(_MOST_KEY_BYTES)
        password = None
        if b"BEGIN ENCRYPTED PRIVATE KEY" in text:
            given = password_file.read_bytes() if password_file else getpass.getpass(f"Password of {path}: ").encode()
            password = given.removesuffix(b"\n")
        elif b"BEGIN PRIVATE KEY" not in text:
            raise ValueError(f"{path}: a private key in PKCS#8 and PEM is expected")
        try:
            return cls(load_pem_private_key(text, password))
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise ValueError(f"{path}: the key cannot be opened ({type(exc).__name__})") from exc

    def sign(self, message: bytes) -> bytes:
        """Sign with the one algorithm of the key's type."""
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return self._private.sign(message)
        if isinstance(self._private, rsa.RSAPrivateKey):
            return self._private.sign(message, padding.PKCS1v15(), SHA256())
        return self._private.sign(message, _ECDSA[self.public.algorithm])
