"""Signature algorithms by name, and which profile allows which."""

from collections.abc import Mapping
from typing import Final

__all__ = ["COSIGN_ALGORITHMS", "PROFILES", "SIGNATURE_DIGEST"]

COSIGN_ALGORITHMS: Final = frozenset({"ES256", "ES384", "ES512", "Ed25519", "RSA-PKCS1-SHA256"})
"""What the output profile ``cosign`` may carry (a stock cosign verifies each offline)."""

SIGNATURE_DIGEST: Final[Mapping[str, str]] = {"ES384": "sha384", "ES512": "sha512"}
"""What cosign needs as ``--signature-digest-algorithm`` for these: it loads every key with SHA-256."""

PROFILES: Final[Mapping[str, frozenset[str]]] = {"world": COSIGN_ALGORITHMS}
"""Compliance profiles served so far, and the algorithms that each allows."""
