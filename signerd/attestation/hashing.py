"""Which hash function serves which purpose, by compliance profile. Names alone: what computes them is elsewhere."""

from collections.abc import Mapping
from typing import Final

from signerd.attestation.algorithms import parts_of

__all__ = ["HASHES", "PURPOSES", "hash_for"]

PURPOSES: Final = ("graph", "symbol", "content", "merkle", "attestation", "interop", "secret")
"""Of graphs of calls and dependencies, of symbols in them, of artefacts' content, of the nodes of hash trees, of what
attestations name and are bound to, of what others must be able to compute too, and of secrets."""

_FOREIGN: Final = frozenset({"attestation", "interop"})
"""Sigstore's clients and everybody else's tools compute these: SHA-256 in every profile."""

HASHES: Final[Mapping[str, tuple[str, ...]]] = {
    "world": ("SHA-256", "SHA-384", "SHA-512", "BLAKE3-256"),
    "fips": ("SHA-256", "SHA-384", "SHA-512"),
    "eidas": ("SHA-256", "SHA-384", "SHA-512"),
    "kcmvp": ("SHA-256",),
    "gost": ("Streebog-256", "Streebog-512"),
    "sm": ("SM3",),
}
"""What each profile allows; the first serves where no purpose asks for another."""

_OWN: Final[Mapping[tuple[str, str], str]] = {("world", "graph"): "BLAKE3-256"}


def hash_for(profile: str, purpose: str) -> str:
    """Return the name of the hash for ``purpose``. Of a joined profile its first part decides: two digests of one thing
    would be two names for it.

    Raises ValueError for a profile or purpose that there is not.
    """
    first = parts_of(profile)[0]
    if purpose not in PURPOSES:
        raise ValueError(f"expected a purpose out of {', '.join(PURPOSES)}")
    if purpose in _FOREIGN:
        return "SHA-256"
    return _OWN.get((first, purpose), HASHES[first][0])
