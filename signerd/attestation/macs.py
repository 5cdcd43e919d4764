"""Message authentication codes by name: what each is, and which a compliance profile allows for which purpose.

All are HMAC (RFC 2104, FIPS 198-1). The names are published constants: records, results and configurations hold them,
and a name never changes its meaning.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

__all__ = [
    "KEYID_LABEL",
    "MACS",
    "MacAlgorithm",
    "MacName",
    "is_mac_keyid",
    "mac_for",
    "mac_keyid",
]

MacName = Literal[
    "HMAC-SHA256", "HMAC-SHA384", "HMAC-SHA512", "HMAC-GOST3411-2012-256", "HMAC-GOST3411-2012-512", "HMAC-SM3"
]


class MacAlgorithm(NamedTuple):
    """One algorithm: bytes of its MAC, and of the shortest and longest secret that it is used with."""

    mac_bytes: int
    shortest_key: int
    longest_key: int


MACS: Final[Mapping[str, MacAlgorithm]] = {
    "HMAC-SHA256": MacAlgorithm(32, 32, 128),
    "HMAC-SHA384": MacAlgorithm(48, 48, 128),
    "HMAC-SHA512": MacAlgorithm(64, 64, 128),
    "HMAC-GOST3411-2012-256": MacAlgorithm(32, 32, 64),
    "HMAC-GOST3411-2012-512": MacAlgorithm(64, 32, 64),
    "HMAC-SM3": MacAlgorithm(32, 32, 128),
}
"""By name. A secret shorter than the MAC is weaker than it (RFC 2104, section 3); those of GOST R 34.11-2012 have 256
to 512 bits (RFC 7836, section 4.1). None is longer than a file of 128 bytes, the block of SHA-512."""

_SHA2: Final = ("HMAC-SHA256", "HMAC-SHA384", "HMAC-SHA512")
_OF_PROFILE: Final[Mapping[str, tuple[str, ...]]] = {
    "world": _SHA2,
    "fips": _SHA2,
    "eidas": _SHA2,
    "kcmvp": ("HMAC-SHA256",),
    "gost": ("HMAC-GOST3411-2012-256", "HMAC-GOST3411-2012-512"),
    "sm": ("HMAC-SM3",),
}
_INTEROP: Final = ("HMAC-SHA256",)
"""What receivers of webhooks check, whatever the profile."""

KEYID_LABEL: Final = b"signerd: id of a MAC key, version 1"
"""The message whose HMAC-SHA256 a key's id is the SHA-256 of."""
_KEYID: Final = re.compile(r"sha256:[0-9a-f]{64}")


def mac_for(profile: str, purpose: str) -> tuple[str, ...]:
    """Return the algorithms that ``profile`` (names joined by ``+``) allows for ``purpose``, the default first: that of
    the first part. Raises KeyError for a name that is no profile."""
    names = dict.fromkeys([name for part in profile.split("+") for name in _OF_PROFILE[part]])
    return _INTEROP if purpose == "webhook-interop" else tuple(names)


def mac_keyid(label_mac: bytes) -> str:
    """Return the id of the key whose HMAC-SHA256 over :data:`KEYID_LABEL` is ``label_mac``.

    HMAC-SHA256 whatever the key's own algorithm, so that one secret has one id, and the key ring lets it in once. The
    id tells nothing of a secret of 32 random bytes; one that can be guessed can be confirmed by it, as by any MAC.
    """
    return f"sha256:{hashlib.sha256(label_mac).hexdigest()}"


def is_mac_keyid(keyid: str) -> bool:
    """Whether this has the shape of a key's id."""
    return _KEYID.fullmatch(keyid) is not None
