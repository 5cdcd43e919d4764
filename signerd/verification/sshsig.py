"""SSHSIG: signatures that ``ssh-keygen -Y sign`` makes over a file, in a namespace (OpenSSH PROTOCOL.sshsig)."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from signerd.attestation.dsse import decode_base64
from signerd.errors import Refusal
from signerd.verification.ssh_keys import SshPublicKey, SshReader

__all__ = ["LARGEST", "SshSignature"]

LARGEST: Final = 16 * 1024
"""Characters of an armoured signature; one of RSA with 8192 bits has some 3,000."""
_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_ARMOUR: Final = re.compile(
    r"-----BEGIN SSH SIGNATURE-----\n((?:[A-Za-z0-9+/=]+\n)+)-----END SSH SIGNATURE-----\n?", re.ASCII
)
_HASHES: Final[dict[str, Callable[[bytes], "hashlib._Hash"]]] = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_TEXTS: Final = {
    "too_large": "the signature is too large",
    "not_armoured": "expected an armoured SSH signature, as ssh-keygen -Y sign writes it, and nothing else",
    "base64": "the base64 of the signature is malformed",
    "magic": "this is no SSH signature",
    "version": "the version of the SSH signature is not 1",
    "reserved": "the reserved field of the SSH signature is not empty",
    "hash_algorithm": "the message must be hashed with sha256 or sha512",
    "namespace": "the signature was made in another namespace",
}


@dataclass(frozen=True, slots=True)
class SshSignature:
    """A signature as read, of which nothing is verified yet; ``key`` is what it says to be made with.

    ``signature`` is the wire form that :meth:`SshPublicKey.verify` takes.
    """

    key: SshPublicKey
    namespace: str
    hash_algorithm: str
    signature: bytes

    @classmethod
    def parse(cls, armoured: str) -> Self:
        """Read an armoured signature; lines end with LF, and nothing stands before or after it.

        Refuses ``verification.failed``: ``too_large``, ``not_armoured``, ``base64``, ``magic``, ``version``,
        ``reserved``, ``hash_algorithm``, and what :class:`SshPublicKey` refuses of a key and its fields.
        """
        if len(armoured) > LARGEST:
            raise _refusal("too_large")
        found = _ARMOUR.fullmatch(armoured)
        if found is None:
            raise _refusal("not_armoured")
        blob = decode_base64(found[1].replace("\n", ""))
        if blob is None:
            raise _refusal("base64")
        reader = SshReader(blob)
        if reader.take(len(_MAGIC)) != _MAGIC:
            raise _refusal("magic")
        if reader.uint32() != _VERSION:
            raise _refusal("version")
        key = SshPublicKey.from_blob(reader.string())
        namespace = reader.name()
        if reader.string():
            # A later OpenSSH may say there what a signature is restricted to; who ignores it would not obey it.
            raise _refusal("reserved")
        algorithm = reader.name()
        if algorithm not in _HASHES:
            raise _refusal("hash_algorithm")
        signature = reader.string()
        reader.end()
        return cls(key, namespace, algorithm, signature)

    def verify(self, message: bytes, namespace: str) -> None:
        """Verify that ``key`` made it over ``message`` in ``namespace``: returns, or refuses ``verification.failed``.

        Reasons: ``namespace``, and those of :meth:`SshPublicKey.verify`. Whether ``key`` is anybody's is not asked.
        """
        if self.namespace != namespace:
            raise _refusal("namespace")
        digest = _HASHES[self.hash_algorithm](message).digest()
        fields = (namespace.encode(), b"", self.hash_algorithm.encode(), digest)
        self.key.verify(
            self.signature, _MAGIC + b"".join(len(each).to_bytes(4, "big") + each for each in fields)
        )


def _refusal(reason: str) -> Refusal:
    return Refusal("verification.failed", reason, _TEXTS[reason])
