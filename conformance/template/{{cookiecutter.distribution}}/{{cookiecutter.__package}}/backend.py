"""The hook and the backend: P-256 keys in PEM files, ``{{ cookiecutter.scheme }}:NAME`` is ``NAME.pem`` of one folder.

It runs in a key worker, may block, and decides nothing: signerd verifies each signature before it releases it.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from signerd.contracts import hookimpl
from signerd.contracts.values import KeyDescription, SignatureResult
from signerd.errors import Refusal
from signerd.secret_files.key_files import KeyFolder, fault, not_found

__all__ = ["Backend", "signerd_key_backends"]

_REFERENCE: Final = re.compile(r"{{ cookiecutter.scheme }}:([a-z0-9][a-z0-9-]{0,63})")
_DIGEST: Final = ec.ECDSA(Prehashed(SHA256()))


@hookimpl
def signerd_key_backends(settings: Mapping[str, object]) -> "Backend":
    """Introduce the backend; ValueError, which the operator reads, for settings that it does not understand."""
    directory = settings.get("directory")
    if settings.keys() != {"directory"} or not isinstance(directory, str) or not os.path.isabs(directory):
        raise ValueError("directory: the absolute path of the folder of keys, and nothing else, is expected")
    return Backend(KeyFolder(directory))


class Backend:
    """Finds a key at its first use, and keeps it. Refuses and fails with ``key.*`` codes only."""

    capabilities = ("generate",)

    def __init__(self, folder: KeyFolder) -> None:
        self._folder = folder
        self._keys: dict[str, tuple[ec.EllipticCurvePrivateKey, KeyDescription]] = {}

    def describe(self, key: str) -> KeyDescription:
        """Return the public half; ``prehash`` has signerd hand over the SHA-256 digest of what is to be signed."""
        return self._find(key)[1]

    def sign(self, key: str, message: bytes) -> SignatureResult:
        """Sign the digest; the signature is DER."""
        private, described = self._find(key)
        if len(message) != SHA256.digest_size:
            raise fault("digest_length", f"{len(message)} bytes are no SHA-256 digest")
        return SignatureResult(private.sign(message, _DIGEST), described.keyid)

    def generate(self, key: str, algorithm: str) -> KeyDescription:
        """Make a key that is there in full when this returns; one that is there already is never overwritten."""
        name = _name(key)
        if algorithm != "ES256":
            raise Refusal("key.algorithm_refused", "unknown_algorithm", "only ES256 keys are made here")
        private = ec.generate_private_key(ec.SECP256R1())
        self._folder.create(f"{name}.pem", private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return self.describe(key)

    def _find(self, key: str) -> tuple[ec.EllipticCurvePrivateKey, KeyDescription]:
        found = self._keys.get(key)
        if found is None:
            pem = self._folder.read(f"{_name(key)}.pem")
            try:
                private = load_pem_private_key(pem, None)
            except (ValueError, TypeError) as exc:  # TypeError: it wants a password
                raise fault("pem", f"{key} cannot be decoded: {exc}") from None
            if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
                raise Refusal("key.algorithm_refused", "key_type", "the key is not for ES256")
            spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            keyid = f"sha256:{hashlib.sha256(spki).hexdigest()}"
            found = private, KeyDescription("ES256", keyid, spki, self.capabilities, prehash="sha256")
            self._keys[key] = found
        return found


def _name(key: str) -> str:
    named = _REFERENCE.fullmatch(key)
    if named is None:
        raise not_found("reference", f"{key[:80]!r} is no reference of this backend")
    return named[1]
