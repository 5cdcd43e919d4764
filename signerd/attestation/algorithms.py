"""Signature algorithms by name: which compliance profile allows which, and which of them cosign and COSE know.

A compliance profile restricts algorithms. It says nothing of the module that computes them: no profile makes a module
validated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from signerd.errors import Refusal

__all__ = [
    "ALGORITHMS",
    "COMPANION_ALGORITHM",
    "COMPLIANCE_PROFILES",
    "COSE_ALGORITHMS",
    "COSIGN_ALGORITHMS",
    "SIGNATURE_DIGEST",
    "Compliance",
    "allows",
    "check_algorithm",
    "parts_of",
]

COSIGN_ALGORITHMS: Final = frozenset({"ES256", "ES384", "ES512", "Ed25519", "RSA-PKCS1-SHA256"})
"""What the output profile ``cosign`` may carry (a stock cosign verifies each offline)."""

SIGNATURE_DIGEST: Final[Mapping[str, str]] = {"ES384": "sha384", "ES512": "sha512"}
"""What cosign needs as ``--signature-digest-algorithm`` for these: it loads every key with SHA-256."""

COSE_ALGORITHMS: Final[Mapping[str, int]] = {"ES256": -7, "ES384": -35, "ES512": -36, "Ed25519": -8}
"""What the output profile ``cose`` carries, by the numbers of RFC 9053, sections 2.1 and 2.2. RSA PKCS#1 v1.5 has one
(RFC 8812) that is registered as not recommended, and is left out; GOST has none."""

COMPANION_ALGORITHM: Final = "ES256"
"""Of the one bundle beside the envelope of profile ``dsse``: every Sigstore client verifies it without an option."""

_ECDSA: Final = frozenset({"ES256", "ES384", "ES512"})
_RSA: Final = frozenset({"RSA-PKCS1-SHA256", "RSA-PSS-SHA256"})
_ASSERTED: Final[Mapping[str, str]] = {"FIDO2-ES256": "ES256", "FIDO2-Ed25519": "Ed25519"}
"""An authenticator's assertion is a signature of this algorithm, over bytes of its own framing."""


@dataclass(frozen=True, slots=True)
class Compliance:
    """One row: the algorithms that a key may have, and the shortest RSA modulus in bits."""

    algorithms: frozenset[str]
    rsa_bits: int = 2048


COMPLIANCE_PROFILES: Final[Mapping[str, Compliance]] = {
    "world": Compliance(_ECDSA | _RSA | {"Ed25519", "ML-DSA-65"}),
    "fips": Compliance(_ECDSA | _RSA | {"Ed25519"}),
    "eidas": Compliance(_ECDSA | _RSA, rsa_bits=3072),
    "kcmvp": Compliance(_RSA | {"ES256"}),
    "gost": Compliance(frozenset({"GOST3410-2012-256", "GOST3410-2012-512"})),
    "sm": Compliance(frozenset({"SM2-SM3"})),
}
"""``fips``: FIPS 186-5. ``eidas``: ETSI TS 119 312, without its legacy sizes of RSA. ``kcmvp``: KCDSA
and EC-KCDSA would be allowed too, and no backend offers them. ``gost``: RFC 7091. ``sm``: GB/T 32918."""

ALGORITHMS: Final = frozenset(_ASSERTED).union(*(row.algorithms for row in COMPLIANCE_PROFILES.values()))
"""All names that stand in a profile; the output profile ``dsse`` carries each."""


@lru_cache(maxsize=64)
def parts_of(profile: str) -> tuple[str, ...]:
    """Return the parts of a profile that may be joined by ``+``, in their order.

    Raises ValueError for a part that is none, and for one that stands there twice.
    """
    parts = tuple(profile.split("+"))
    unknown = [part for part in parts if part not in COMPLIANCE_PROFILES]
    if unknown:
        raise ValueError(f"expected profiles out of {', '.join(COMPLIANCE_PROFILES)}, joined by +")
    if len(set(parts)) < len(parts):
        raise ValueError("expected each part once")
    return parts


def allows(profile: str, algorithm: str, rsa_bits: int | None = None) -> bool:
    """Whether a part of ``profile`` allows a key of ``algorithm``; of an RSA key whose length is not known yet (None)
    only the name is judged. Raises ValueError as :func:`parts_of`."""
    name = _ASSERTED.get(algorithm, algorithm)
    return any([_row_allows(COMPLIANCE_PROFILES[part], name, rsa_bits) for part in parts_of(profile)])


def _row_allows(row: Compliance, algorithm: str, rsa_bits: int | None) -> bool:
    if algorithm not in row.algorithms:
        return False
    return algorithm not in _RSA or rsa_bits is None or rsa_bits >= row.rsa_bits


def check_algorithm(profile: str, algorithm: str, rsa_bits: int | None = None) -> None:
    """Refuse (``key.algorithm_refused``) what :func:`allows` does not: ``outside_profile``, or ``rsa_too_short`` for an
    RSA key that is shorter than each part of the profile asks for."""
    if allows(profile, algorithm, rsa_bits):
        return
    if allows(profile, algorithm):
        rows = [COMPLIANCE_PROFILES[part] for part in parts_of(profile)]
        shortest = min([row.rsa_bits for row in rows if algorithm in row.algorithms])
        raise Refusal(
            "key.algorithm_refused",
            "rsa_too_short",
            f"the compliance profile {profile} allows RSA keys from {shortest} bits on, not one of {rsa_bits}",
            details={"profile": profile, "algorithm": algorithm},
        )
    raise Refusal(
        "key.algorithm_refused",
        "outside_profile",
        f"the compliance profile {profile} does not allow {algorithm}",
        details={"profile": profile, "algorithm": algorithm},
    )
