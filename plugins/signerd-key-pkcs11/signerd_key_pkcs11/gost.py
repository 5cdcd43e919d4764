"""GOST R 34.10-2012 keys in tokens: their numbers, the public key that a token shows, and how it is asked to sign.

PKCS#11 has numbers for keys of 2001 alone, which serve for 256 bits still; the rest are TC26's, in a block of
vendors' numbers that several makers share (pkcs11-tool knows them too). python-pkcs11 takes no number outside of
its enumerations, hence the members of its types that are made here.

A token that hashes by itself is given the message; else Streebog is made here, by Python alone. What tokens do
differently is a property by name (:class:`signerd_key_pkcs11.settings.GostHabits`), never guessed: the proof that
:mod:`signerd_key_pkcs11.backend` asks of each key finds out what was said wrongly.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.attributes import AttributeMapper, handle_ulong

from signerd.errors import Refusal, SignerdError
from signerd.verification.der import INTEGER, SEQUENCE, DerError, Reader, context
from signerd.verification.gost import PARAMETER_SETS, check_signable, encode_spki, gost_key
from signerd.verification.streebog import Streebog
from signerd_key_pkcs11.algorithms import Scheme, mechanism_missing
from signerd_key_pkcs11.failures import fault
from signerd_key_pkcs11.settings import GostHabits, SignatureOrder

__all__ = ["ALGORITHMS", "KEY_TYPES", "attribute_mapper", "certified_key", "public_key", "scheme_in"]

TC26: Final = 0xD4321000
"""CK_VENDOR_PKCS11_RU_TEAM_TC26."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Keys of ``bits``: key type, the mechanism that signs a digest, the one that hashes first, the digest's OID."""

    bits: int
    key_type: KeyType
    raw: Mechanism
    hashing: Mechanism
    digest: bytes

    @property
    def algorithm(self) -> str:
        return f"GOST3410-2012-{self.bits}"


def _mechanism(number: int, name: str) -> Mechanism:
    member = int.__new__(Mechanism, number)
    member._name_, member._value_ = name, number
    return member


def _key_type(number: int, name: str) -> KeyType:
    member = int.__new__(KeyType, number)
    member._name_, member._value_ = name, number
    return member


_KINDS: Final = (
    _Kind(
        256,
        KeyType.GOSTR3410,
        Mechanism.GOSTR3410,
        _mechanism(TC26 | 0x8, "GOSTR3410_WITH_GOSTR3411_12_256"),
        bytes.fromhex("06082a85030701010202"),
    ),
    _Kind(
        512,
        _key_type(TC26 | 0x3, "GOSTR3410_512"),
        _mechanism(TC26 | 0x6, "GOSTR3410_512"),
        _mechanism(TC26 | 0x9, "GOSTR3410_WITH_GOSTR3411_12_512"),
        bytes.fromhex("06082a85030701010203"),
    ),
)
ALGORITHMS: Final = {kind.algorithm: kind for kind in _KINDS}
KEY_TYPES: Final = {kind.key_type: kind for kind in _KINDS}
_SETS: Final = {each.oid: each for each in PARAMETER_SETS}


def attribute_mapper() -> AttributeMapper:
    """Return what a session needs to read the type of a key of 512 bits. Other numbers of vendors stay ValueError."""
    pack, unpack = handle_ulong

    def key_type(value: bytes) -> KeyType:
        number: int = unpack(value)
        return next((kind for kind in KEY_TYPES if kind == number), None) or KeyType(number)

    mapper = AttributeMapper()
    mapper.register_handler(Attribute.KEY_TYPE, pack, key_type)
    return mapper


def public_key(kind: KeyType, parameters: bytes, digest: bytes | None, value: bytes) -> bytes:
    """Return the SPKI (RFC 9215) of CKA_GOSTR3410_PARAMS, CKA_GOSTR3411_PARAMS and CKA_VALUE, which is x and y, each
    little-endian; some tokens put an OCTET STRING around it.

    ``key.algorithm_refused``: ``curve``; ``key_type`` for a key of GOST R 34.10-2001, which has the same type and
    another hash. ValueError for a value of another length.
    """
    known = KEY_TYPES[kind]
    if digest and digest != known.digest:
        raise _refused("key_type")
    chosen = _SETS.get(parameters)
    if chosen is None or chosen.bits != known.bits:
        raise _refused("curve")
    length = 2 * chosen.curve.size
    around = b"\x04\x40" if length == 64 else b"\x04\x81\x80"
    coordinates = value.removeprefix(around) if len(value) == len(around) + length else value
    if len(coordinates) != length:
        raise ValueError
    return encode_spki(chosen, coordinates)


def certified_key(certificate: x509.Certificate) -> bytes | None:
    """Return the SPKI of a certificate's GOST key, as :func:`public_key` writes it; None where it has none that is
    used."""
    try:
        body = Reader(certificate.public_bytes(Encoding.DER)).inside().inside()
        body.maybe(context(0))
        for tag in (INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE):
            body.take(tag)
        return gost_key(body.take(SEQUENCE).whole).spki
    except (DerError, SignerdError):
        return None


def scheme_in(offered: Collection[int], algorithm: str, habits: GostHabits) -> Scheme:
    """Return how a token that offers these mechanisms signs; ``key.algorithm_refused``, ``mechanism_missing``.

    KeyError for another algorithm than :data:`ALGORITHMS` has.
    """
    kind = ALGORITHMS[algorithm]
    size = kind.bits // 8
    parameter = kind.digest if habits.digest_parameter else None

    def finish(raw: bytes) -> bytes:
        if len(raw) != 2 * size:
            raise fault("signature_shape", f"the token gave {len(raw)} bytes where s || r has {2 * size}")
        return raw[::-1] if habits.signature is SignatureOrder.REVERSED else raw

    def hashed(message: bytes) -> bytes:
        check_signable(message)
        return Streebog(size, message).digest()

    if kind.hashing in offered:
        return Scheme(kind.key_type, kind.hashing, None, bytes, finish, parameter)
    if kind.raw in offered:
        return Scheme(kind.key_type, kind.raw, None, hashed, finish, parameter)
    raise mechanism_missing(f"{kind.hashing.name} nor {kind.raw.name}")


def _refused(reason: str) -> Refusal:
    return Refusal("key.algorithm_refused", reason, "the key's algorithm is not one that signerd signs with")
