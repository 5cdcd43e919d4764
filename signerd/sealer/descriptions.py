"""What a key worker says of a key, read and checked: it is believed only as far as the bytes bear it out (T17)."""

from typing import Final, TypeVar

import msgspec

from signerd.attestation.macs import MACS, is_mac_keyid
from signerd.errors import Refusal
from signerd.verification import fido2
from signerd.verification.keys import PublicKey
from signerd.wire.decoding import BROKEN
from signerd.wire.worker_calls import DescribeResult, RotateResult

__all__ = ["KEYLESS_ALGORITHM", "Lie", "read_description", "read_keyless", "read_rotation", "signs_digest"]

_D = TypeVar("_D", bound=DescribeResult)

KEYLESS_ALGORITHM: Final = "ES256"
"""Of every keyless key: an authority certifies it, every verifier takes it, and it is made anew each time."""
_description: Final = msgspec.msgpack.Decoder(DescribeResult)
_rotation: Final = msgspec.msgpack.Decoder(RotateResult)


class Lie(Exception):
    """The worker contradicts itself; it is to be condemned with this text."""


def read_description(raw: msgspec.Raw, approves: bool = False, mac: str = "") -> DescribeResult:
    """Return a result of ``describe`` or ``generate`` whose keyid and algorithm are those of its SPKI.

    With ``mac``, that of a secret key which makes MACs by this algorithm: it has no SPKI, and its keyid is the worker's
    word, the same one for good.

    Raises Lie for one that is not, or out of shape, and ``key.algorithm_refused`` or ``request.malformed`` for a key
    that signerd does not use. ``key.forbidden`` where a FIDO2 credential is described and none is configured
    (``approval_only``), or the other way round (``no_credential``).
    """
    described = _decode(_description, raw)
    if mac:
        return _checked_mac(described, mac)
    credential = described.algorithm in fido2.ALGORITHMS.values()
    if approves and not credential:
        raise Refusal("key.forbidden", "no_credential", "the key is no FIDO2 credential, and the configuration says so")
    if credential and not approves:
        raise Refusal("key.forbidden", "approval_only", "the key is a FIDO2 credential, and has no rp_id configured")
    return _checked(described)


def read_keyless(raw: msgspec.Raw) -> DescribeResult:
    """Return a result of ``describe`` for a key that the configuration calls keyless; raises Lie for any other."""
    described = _decode(_description, raw)
    if "keyless" not in described.capabilities or described.keyid or described.spki:
        raise Lie("described a key in place of a keyless one")
    if described.algorithm != KEYLESS_ALGORITHM:
        raise Lie(f"described a keyless key of algorithm {described.algorithm[:64]!r}")
    return described


def read_rotation(raw: msgspec.Raw, mac: str = "") -> RotateResult:
    """Return a result of ``rotate``; ``mac`` and what is raised as :func:`read_description`."""
    result = _decode(_rotation, raw)
    if mac:
        _checked_mac(result, mac)
    else:
        _checked(result)
    return result


def signs_digest(described: DescribeResult) -> bool:
    """Whether the worker wants the SHA-256 in place of the message; believed only where the algorithm hashes so."""
    return described.prehash == "sha256" and described.algorithm in ("ES256", "RSA-PKCS1-SHA256")


def _decode(decoder: msgspec.msgpack.Decoder[_D], raw: msgspec.Raw) -> _D:
    try:
        return decoder.decode(raw)
    except BROKEN as exc:
        raise Lie(f"a description out of shape: {exc}") from exc


def _checked_mac(described: DescribeResult, algorithm: str) -> DescribeResult:
    if described.algorithm not in MACS or described.spki or described.chain:
        raise Refusal("key.forbidden", "signing_key", "the key signs, and the configuration says that it makes MACs")
    if not is_mac_keyid(described.keyid) or "hmac" not in described.capabilities:
        raise Lie("described a key for MACs without its id or capability")
    if described.algorithm != algorithm:
        raise Refusal("key.algorithm_refused", "other_algorithm", "the key is one for another algorithm")
    return described


def _checked(described: DescribeResult) -> DescribeResult:
    if described.algorithm in MACS:
        raise Refusal("key.forbidden", "mac_key", "the key makes MACs, and the configuration does not say so")
    if "keyless" in described.capabilities:
        raise Refusal("key.forbidden", "keyless", "the key is keyless, and the configuration does not say so")
    public = PublicKey.from_spki(described.spki)
    if described.algorithm not in (public.algorithm, fido2.ALGORITHMS.get(public.algorithm)):
        raise Lie("described a key with an algorithm that is not the key's")
    if public.keyid != described.keyid:
        raise Lie("described a key with an id that is not the key's")
    return described
