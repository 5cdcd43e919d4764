"""GOST R 34.10-2012 public keys and the verification of their signatures (RFC 7091, RFC 9215).

A signature is s ‖ r, each big-endian and as long as the curve's order: as RFC 9215, section 3 and X.509 write it.
Other libraries swap the halves or reverse the bytes; such a signature is refused, not guessed at. Everything here is
Python's own arithmetic over public values.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NoReturn

from signerd.errors import Refusal
from signerd.verification.der import BIT_STRING, OCTET_STRING, OID, SEQUENCE, DerError, Reader
from signerd.verification.gost_curves import CURVES, Curve, Multiples, Point
from signerd.verification.streebog import Streebog

__all__ = [
    "GOST_KEY",
    "LARGEST_MESSAGE",
    "PARAMETER_SETS",
    "GostKey",
    "ParameterSet",
    "check_signable",
    "encode_spki",
    "gost_key",
]

GOST_KEY: Final = bytes.fromhex("06082a850307010101")
"""How the identifier of such a key begins in DER: 1.2.643.7.1.1.1, then 1 for 256 and 2 for 512 bits."""
LARGEST_MESSAGE: Final = 1024 * 1024
"""Bytes that a signature is verified over: a good second's worth of hashing."""
_DIGEST: Final = bytes.fromhex("06082a850307010102")
_KEYS_KEPT: Final = 64
"""Keys whose tables are kept: a table takes up to 400 kB."""


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """A curve under one of its identifiers. ``oid`` is its DER. ``with_digest``: the key names its hash too."""

    name: str
    oid: bytes
    curve: Curve
    with_digest: bool = False

    @property
    def bits(self) -> int:
        """256 or 512: of the key, and of the hash that goes with it."""
        return 8 * self.curve.size

    @property
    def algorithm(self) -> str:
        """``GOST3410-2012-256`` or ``-512``."""
        return f"GOST3410-2012-{self.bits}"


def _tc26(name: str, bits: int, number: int) -> ParameterSet:
    oid = bytes.fromhex("06092a850307010201") + bytes([bits // 256, number])
    return ParameterSet(name, oid, CURVES[name])


PARAMETER_SETS: Final = (
    _tc26("TC26-256-A", 256, 1),
    _tc26("TC26-256-B", 256, 2),
    _tc26("TC26-256-C", 256, 3),
    _tc26("TC26-256-D", 256, 4),
    ParameterSet("CryptoPro-A", bytes.fromhex("06072a850302022301"), CURVES["TC26-256-B"], with_digest=True),
    # What the vendor's own software gives to keys that also agree on keys: the curve is CryptoPro-A's.
    ParameterSet("CryptoPro-XchA", bytes.fromhex("06072a850302022400"), CURVES["TC26-256-B"], with_digest=True),
    _tc26("TC26-512-A", 512, 1),
    _tc26("TC26-512-B", 512, 2),
    _tc26("TC26-512-C", 512, 3),
)
"""RFC 7836, appendix B, and RFC 4357, section 11.4, by the names of the documentation."""
_BY_OID: Final = {each.oid: each for each in PARAMETER_SETS}


@dataclass(frozen=True, slots=True)
class GostKey:
    """A public key whose point is proven to be of the curve's subgroup. ``spki`` is in its one encoding."""

    parameters: ParameterSet
    point: Point
    spki: bytes
    _multiples: Multiples = field(compare=False, repr=False)

    @property
    def hash_name(self) -> str:
        """``Streebog-256`` or ``Streebog-512``, as the key's size demands (RFC 9215, section 3)."""
        return f"Streebog-{self.parameters.bits}"

    def digest(self, message: bytes | memoryview) -> bytes:
        """Hash a message by the key's own hash; ``verification.failed``, ``gost_payload_too_large`` above
        :data:`LARGEST_MESSAGE`: the hash would keep everything else waiting."""
        if len(message) > LARGEST_MESSAGE:
            raise Refusal(
                "verification.failed",
                "gost_payload_too_large",
                f"a GOST signature is verified over {LARGEST_MESSAGE} bytes at most",
            )
        return _hashed(self.parameters.curve.size, bytes(message))

    def verify(self, signature: bytes, message: bytes | memoryview) -> bool:
        """Whether ``signature`` is this key's over ``message``; refuses as :meth:`digest` does."""
        # What is no signature at all is told before the message is hashed.
        return self._numbers(signature) is not None and self.verify_digest(signature, self.digest(message))

    def verify_digest(self, signature: bytes, digest: bytes | memoryview) -> bool:
        """Whether ``signature`` is this key's over a message with ``digest`` (RFC 7091, section 6.2)."""
        numbers = self._numbers(signature)
        curve = self.parameters.curve
        if numbers is None or len(digest) != curve.size:
            return False
        s, r = numbers
        # The digest is a vector of which the first byte is the least significant (RFC 6986, section 4).
        e = int.from_bytes(digest, "little") % curve.q or 1
        v = pow(e, -1, curve.q)
        of_base, of_key = curve.multiples.times(s * v % curve.q), self._multiples.times(-r * v % curve.q)
        point = curve.affine(curve.sum(of_base, of_key))
        return point is not None and point[0] % curve.q == r

    def _numbers(self, signature: bytes) -> tuple[int, int] | None:
        """Return s and r; None for what cannot be a signature."""
        curve = self.parameters.curve
        if len(signature) != 2 * curve.size:
            return None
        s = int.from_bytes(signature[: curve.size], "big")
        r = int.from_bytes(signature[curve.size :], "big")
        return (s, r) if 0 < s < curve.q and 0 < r < curve.q else None


@lru_cache(maxsize=2)
def _hashed(size: int, message: bytes) -> bytes:
    # An envelope may have many signatures, and a policy many keys: the message is hashed once for all of them.
    return Streebog(size, message).digest()


@lru_cache(maxsize=_KEYS_KEPT)
def gost_key(der: bytes) -> GostKey:
    """Read a SubjectPublicKeyInfo (RFC 9215, section 4), whether it names the hash or leaves it out.

    Compare ``spki`` with what was read where one key must have one encoding. Refuses ``request.malformed``
    (``key_malformed``: no DER, a hash that is not the key's, a point that is not of the curve's subgroup) and
    ``key.algorithm_refused`` (``curve``).
    """
    try:
        outer = Reader(der)
        info = outer.inside()
        outer.end()
        algorithm = info.inside()
        identifier, parameters = algorithm.take(OID).whole, algorithm.inside()
        algorithm.end()
        bits = info.take(BIT_STRING).content
        info.end()
        named, digest = parameters.take(OID).whole, parameters.maybe(OID)
        parameters.end()
        octets = Reader(bits[1:])
        coordinates = octets.take(OCTET_STRING).content
        octets.end()
    except DerError:
        _malformed()
    chosen = _BY_OID.get(named)
    if chosen is None:
        raise Refusal(
            "key.algorithm_refused",
            "curve",
            f"of GOST keys only the parameter sets {', '.join(each.name for each in PARAMETER_SETS)} are used",
        )
    number = bytes([chosen.bits // 256])
    if identifier != GOST_KEY + number or bits[:1] != b"\0" or len(coordinates) != 2 * chosen.curve.size:
        _malformed()
    if digest is not None and digest.whole != _DIGEST + bytes([chosen.bits // 256 + 1]):
        _malformed()
    half = chosen.curve.size
    point = int.from_bytes(coordinates[:half], "little"), int.from_bytes(coordinates[half:], "little")
    if not chosen.curve.holds(point):
        _malformed()
    return GostKey(chosen, point, encode_spki(chosen, coordinates), Multiples(chosen.curve, point))


def encode_spki(parameters: ParameterSet, coordinates: bytes) -> bytes:
    """Return the one SubjectPublicKeyInfo of a point: x and then y, each little-endian (RFC 9215, section 4.3).

    The hash is named where the standard says that it must be, and else left out.
    """
    number = parameters.bits // 256
    named = _DIGEST + bytes([number + 1]) if parameters.with_digest else b""
    algorithm = _der(SEQUENCE, GOST_KEY + bytes([number]) + _der(SEQUENCE, parameters.oid + named))
    return _der(SEQUENCE, algorithm + _der(BIT_STRING, b"\0" + _der(OCTET_STRING, coordinates)))


def _der(tag: int, content: bytes) -> bytes:
    """Return an element of at most 255 bytes."""
    length = len(content)
    return bytes([tag, length] if length < 0x80 else [tag, 0x81, length]) + content


def _malformed() -> NoReturn:
    raise Refusal(
        "request.malformed", "key_malformed", "not the public key of a SubjectPublicKeyInfo"
    ) from None


def check_signable(message: bytes) -> None:
    """Refuse (``key.forbidden``, ``gost_payload_too_large``) to sign what no verifier here takes: what is longer than
    :data:`LARGEST_MESSAGE`."""
    if len(message) > LARGEST_MESSAGE:
        raise Refusal("key.forbidden", "gost_payload_too_large", f"a GOST key signs {LARGEST_MESSAGE} bytes at most")
