"""OpenSSH public keys, and the raw signatures that they make (RFC 4253, 5656, 8332, 8709; OpenSSH PROTOCOL.u2f).

Every field is read in the one encoding that OpenSSH writes, to the last byte; anything else is refused. SHA-1 is not
here: an ``ssh-rsa`` key verifies ``rsa-sha2-256`` and ``rsa-sha2-512`` signatures alone.
"""

import struct
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA512

from signerd.attestation.dsse import decode_base64, encode_base64
from signerd.errors import Refusal

__all__ = ["LARGEST_LINE", "SshPublicKey", "SshReader", "ssh_refusal"]

LARGEST_LINE: Final = 4096
"""Characters of a public key's line; RSA of 8192 bits takes 1400 of them."""
RSA_BITS: Final = range(2048, 8193)
"""Sizes of an RSA modulus; a larger one only costs time."""
_USER_PRESENT: Final = 0x01
_ED25519: Final = "ssh-ed25519"
_P256: Final = "ecdsa-sha2-nistp256"
_RSA: Final = "ssh-rsa"
_SK_ED25519: Final = "sk-ssh-ed25519@openssh.com"
_SK_P256: Final = "sk-ecdsa-sha2-nistp256@openssh.com"
_ES256: Final = ec.ECDSA(SHA256())
_RSA_HASHES: Final = {"rsa-sha2-256": SHA256(), "rsa-sha2-512": SHA512()}
_TEXTS: Final = {
    "key_line": "expected the key's type, its base64 and perhaps a comment, on one line",
    "key_base64": "the key's base64 is malformed",
    "key_malformed": "the key is malformed",
    "key_type": "only Ed25519, ECDSA P-256 and RSA keys and the security-key forms of the first two are used",
    "rsa_size": "an RSA key must have 2048 to 8192 bits",
    "rsa_exponent": "the RSA exponent must be odd, above 2 and of at most 32 bits",
    "application": "a security key's application must begin with ssh:",
    "truncated": "a field is longer than what is left",
    "trailing_bytes": "bytes are left over",
    "integer_not_canonical": "an integer is negative or not in its shortest form",
    "name_malformed": "a name is not printable ASCII",
    "signature_type": "the signature is of a type that this key does not make",
    "signature_malformed": "the signature is malformed",
    "user_not_present": "the security key did not ask for a touch",
    "signature_invalid": "the signature is not by this key over these bytes",
}

_Loaded = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


def ssh_refusal(reason: str) -> Refusal:
    """Return the refusal ``verification.failed`` with one of the reasons of this module."""
    return Refusal("verification.failed", reason, _TEXTS[reason])


class SshReader:
    """Reads the fields of RFC 4251, section 5, from the front of some bytes; ``verification.failed`` for any other."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        """Begin at the first byte."""
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes (``truncated``)."""
        end = self._at + count
        if end > len(self._data):
            raise ssh_refusal("truncated")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def uint32(self) -> int:
        """Return a number of four bytes."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """Return a string: a length and as many bytes."""
        return self.take(self.uint32())

    def name(self) -> str:
        """Return a string of printable ASCII without spaces (``name_malformed``)."""
        raw = self.string()
        if not raw or not all(0x21 <= byte <= 0x7E for byte in raw):
            raise ssh_refusal("name_malformed")
        return raw.decode("ascii")

    def mpint(self) -> int:
        """Return a positive integer in its shortest form (``integer_not_canonical``)."""
        raw = self.string()
        # No number above zero begins with a set sign bit, nor with a zero byte that the sign bit does not ask for.
        if not raw or raw[0] & 0x80 or (raw[0] == 0 and not (len(raw) > 1 and raw[1] & 0x80)):
            raise ssh_refusal("integer_not_canonical")
        return int.from_bytes(raw, "big")

    def end(self) -> None:
        """Demand that nothing is left (``trailing_bytes``)."""
        if self._at != len(self._data):
            raise ssh_refusal("trailing_bytes")


@dataclass(frozen=True, slots=True)
class SshPublicKey:
    """A public key of OpenSSH. Two are equal when their wire forms are.

    ``blob``: the wire form (RFC 4253, section 6.6). ``type``: its key type. ``fingerprint``: ``SHA256:`` and unpadded
    base64, as ``ssh-keygen -l`` shows it. ``application``: of a security key, what it was enrolled for, ``ssh:…``; else
    empty.
    """

    blob: bytes
    type: str = field(compare=False)
    fingerprint: str = field(compare=False)
    application: str = field(compare=False)
    _key: _Loaded = field(compare=False, repr=False)

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read the line of a ``.pub`` file: type, base64, and perhaps a comment.

        Refuses ``verification.failed``: ``key_line`` (options or principals before the type too: they would restrict
        the key, and nobody here would obey them), ``key_base64``, ``key_type`` (certificates too), and as
        :meth:`from_blob` does.
        """
        text = line.strip(" \t\r\n")
        if len(text) > LARGEST_LINE or not text.isprintable():
            raise ssh_refusal("key_line")
        parts = text.split(" ", 2)
        if len(parts) < 2 or not parts[1]:
            raise ssh_refusal("key_line")
        if parts[0] not in _READERS:
            raise ssh_refusal("key_type" if parts[1].startswith("AAAA") else "key_line")
        blob = decode_base64(parts[1])
        if blob is None:
            raise ssh_refusal("key_base64")
        key = cls.from_blob(blob)
        if key.type != parts[0]:
            raise ssh_refusal("key_malformed")
        return key

    @classmethod
    def from_blob(cls, blob: bytes) -> Self:
        """Read the wire form.

        Refuses ``verification.failed``: ``key_type``, ``key_malformed``, ``rsa_size``, ``rsa_exponent``,
        ``application``, and a field's ``truncated``, ``trailing_bytes``, ``integer_not_canonical``, ``name_malformed``.
        """
        reader = SshReader(blob)
        kind = reader.name()
        read = _READERS.get(kind)
        if read is None:
            raise ssh_refusal("key_type")
        try:
            loaded = read(reader)
        except (ValueError, UnsupportedAlgorithm):
            raise ssh_refusal("key_malformed") from None
        application = ""
        if kind in (_SK_ED25519, _SK_P256):
            # An authenticator signs for any web site too; only what was enrolled for SSH may speak for a person here.
            application = reader.name()
            if not application.startswith("ssh:"):
                raise ssh_refusal("application")
        reader.end()
        digest = encode_base64(sha256(blob).digest()).decode().rstrip("=")
        return cls(blob, kind, f"SHA256:{digest}", application, loaded)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Verify the wire form of a signature over ``message``: returns, or refuses with ``verification.failed``.

        Reasons: ``signature_type``, ``signature_malformed``, ``user_not_present``, ``signature_invalid``, and a field's
        as those of :meth:`from_blob`.
        """
        reader = SshReader(signature)
        kind = reader.name()
        if kind not in _SIGNATURE_TYPES[self.type]:
            raise ssh_refusal("signature_type")
        raw = reader.string()
        if self.application:
            flags, counter = reader.take(1)[0], reader.take(4)
            if not flags & _USER_PRESENT:
                raise ssh_refusal("user_not_present")
            # PROTOCOL.u2f, "SSH U2F Signatures": what the authenticator signed.
            application = sha256(self.application.encode()).digest()
            message = application + struct.pack("B", flags) + counter + sha256(message).digest()
        reader.end()
        try:
            self._verify(kind, raw, message)
        except InvalidSignature:
            raise ssh_refusal("signature_invalid") from None

    def _verify(self, kind: str, raw: bytes, message: bytes) -> None:
        if isinstance(self._key, ed25519.Ed25519PublicKey):
            if len(raw) != 64:
                raise ssh_refusal("signature_malformed")
            self._key.verify(raw, message)
        elif isinstance(self._key, rsa.RSAPublicKey):
            # RFC 8332, section 3: as long as the modulus. OpenSSH pads shorter ones; nobody makes them.
            if len(raw) != (self._key.key_size + 7) // 8:
                raise ssh_refusal("signature_malformed")
            self._key.verify(raw, message, padding.PKCS1v15(), _RSA_HASHES[kind])
        else:
            numbers = SshReader(raw)
            r, s = numbers.mpint(), numbers.mpint()
            numbers.end()
            if max(r.bit_length(), s.bit_length()) > 256:
                raise ssh_refusal("signature_malformed")
            self._key.verify(encode_dss_signature(r, s), message, _ES256)


def _read_ed25519(reader: SshReader) -> _Loaded:
    return ed25519.Ed25519PublicKey.from_public_bytes(reader.string())


def _read_p256(reader: SshReader) -> _Loaded:
    if reader.string() != b"nistp256":
        raise ssh_refusal("key_malformed")
    point = reader.string()
    # RFC 5656, section 3.1 lets a point be compressed; OpenSSH never does, and two forms would be two fingerprints.
    if len(point) != 65 or point[0] != 4:
        raise ssh_refusal("key_malformed")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def _read_rsa(reader: SshReader) -> _Loaded:
    exponent, modulus = reader.mpint(), reader.mpint()
    if modulus.bit_length() not in RSA_BITS:
        raise ssh_refusal("rsa_size")
    if exponent < 3 or not exponent & 1 or exponent.bit_length() > 32:
        raise ssh_refusal("rsa_exponent")
    if not modulus & 1:
        raise ssh_refusal("key_malformed")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


_READERS: Final = {
    _ED25519: _read_ed25519,
    _P256: _read_p256,
    _RSA: _read_rsa,
    _SK_ED25519: _read_ed25519,
    _SK_P256: _read_p256,
}
_SIGNATURE_TYPES: Final = {
    _ED25519: (_ED25519,),
    _P256: (_P256,),
    _RSA: tuple(_RSA_HASHES),
    _SK_ED25519: (_SK_ED25519,),
    _SK_P256: (_SK_P256,),
}
