"""What stands before a payload in the bytes that keys sign: the sealer never signs bytes that it did not frame."""

import hashlib
import mmap
import os
from dataclasses import dataclass

from signerd.attestation.cose import protected_header
from signerd.verification.keys import PublicKey

__all__ = ["Framed", "cose_protected", "framed_inline"]

@dataclass(frozen=True, slots=True)
class Framed:
    """What is signed: its SHA-256; ``message`` is all of it where a key wants that, else empty, and ``fd`` the memfd of
    the message where it is large."""

    sha256: bytes
    message: bytes | mmap.mmap = b""
    fd: int | None = None

    def close(self) -> None:
        """Close the memfd."""
        if self.fd is not None:
            os.close(self.fd)


def cose_protected(key: PublicKey) -> bytes:
    """Return the protected header of a message by ``key``: its algorithm and its id."""
    return protected_header(key.algorithm, bytes.fromhex(key.keyid.removeprefix("sha256:")))


def framed_inline(frame: bytes, payload: bytes, *, whole: bool) -> Framed:
    """Return what is signed of an inline payload, all of it where ``whole``."""
    message = frame + payload
    return Framed(hashlib.sha256(message).digest(), message if whole else b"")
