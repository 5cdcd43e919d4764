"""Whether a key, and not its algorithm's name alone, is within a compliance profile."""

from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signerd.attestation.algorithms import check_algorithm
from signerd.errors import Refusal

__all__ = ["check_key", "rsa_bits"]


def check_key(profile: str, algorithm: str, spki: bytes) -> None:
    """Refuse (``key.algorithm_refused``) a key that ``profile`` does not allow: ``outside_profile``, or
    ``rsa_too_short``.

    ``spki`` is DER; of a keyless key, which has none, the algorithm alone is judged.
    """
    check_algorithm(profile, algorithm, rsa_bits(spki) if spki and algorithm.startswith("RSA-") else None)


@lru_cache(maxsize=4096)
def rsa_bits(spki: bytes) -> int:
    """Return the length of an RSA key's modulus in bits; refuses ``key.algorithm_refused``, ``key_type``, for what is
    no RSA key."""
    try:
        loaded = load_der_public_key(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        loaded = None
    if not isinstance(loaded, rsa.RSAPublicKey):
        raise Refusal("key.algorithm_refused", "key_type", "the key is not the RSA key that it is said to be")
    return loaded.key_size
