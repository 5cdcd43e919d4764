"""What crosses the link between front end and sealer for keys that sign by certificates."""

import msgspec

__all__ = ["IdentityToken", "Keyless"]


class IdentityToken(msgspec.Struct, frozen=True):
    """The request's OIDC token, for its keyless keys alone, and what it says: a certificate must name one of ``names``
    by ``issuer``. Secret: it stands in no leaf, log or error."""

    token: str
    issuer: str
    names: tuple[str, ...]

    def __repr__(self) -> str:
        return "IdentityToken(...)"


class Keyless(msgspec.Struct, frozen=True):
    """By which certificate a keyless key signed: ``chain`` is DER, from the leaf to the anchor; times are Unix
    milliseconds."""

    chain: tuple[bytes, ...]
    spki: bytes
    issuer: str
    subject: str
    not_before: int
    not_after: int
