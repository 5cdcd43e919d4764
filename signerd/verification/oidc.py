"""What an OIDC identity token says, and whether it may be used: read, its signature not checked.

Nobody but the certificate authority checks the signature (it alone is asked to believe it). What is read here is
compared with the certificate that the authority gives for the token, and spares it tokens that it would refuse.
Sources: RFC 7519; the names that Fulcio puts into certificates, ``fulcio/docs/oidc.md``.
"""

import binascii
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from signerd.attestation.canonical import canonicalise
from signerd.errors import Refusal

__all__ = ["LARGEST_TOKEN", "Claims", "check_claims", "read_claims"]

LARGEST_TOKEN: Final = 16 * 1024
"""Bytes; GitHub's, the longest in use, have 2 kB."""
SKEW_S: Final = 30
"""Seconds by which an issuer's clock may be ahead. Nothing is given after the end of a token."""
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_KUBERNETES: Final = re.compile(r"system:serviceaccount:([a-z0-9.-]+):([a-z0-9.-]+)")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. ``names`` are those by which its certificate may name its holder, all of this one holder;
    times are Unix seconds, ``not_before`` 0 where none is said."""

    issuer: str
    audiences: tuple[str, ...]
    names: frozenset[str]
    expires: int
    not_before: int


def read_claims(token: str) -> Claims:
    """Read a JWT; refuses ``key.forbidden``, reason ``token_malformed``. The text of no refusal repeats any of it."""
    found = _FORM.fullmatch(token) if len(token) <= LARGEST_TOKEN else None
    if found is None:
        _malformed()
    try:
        text = binascii.a2b_base64(found[1].translate(_STANDARD) + "=" * (-len(found[1]) % 4))
        said = canonicalise(text).value
    except (ValueError, Refusal):
        _malformed()
    audience = said.get("aud")
    audiences = tuple(audience) if isinstance(audience, list) else (audience,)
    issuer, expires, begins = said.get("iss"), said.get("exp"), said.get("nbf", 0)
    if not isinstance(issuer, str) or not issuer or not all(isinstance(one, str) for one in audiences):
        _malformed()
    return Claims(issuer, audiences, frozenset(_names(said)), _seconds(expires), _seconds(begins))


def check_claims(claims: Claims, audience: str, issuers: Collection[str], now_s: float) -> None:
    """Refuse ``key.forbidden``: ``token_issuer`` (not among ``issuers``), ``token_audience`` (not ``audience`` alone),
    ``token_expired``, ``token_not_yet_valid``, ``token_identity`` (it names nobody)."""
    if claims.issuer not in issuers:
        _refuse("token_issuer", "the identity token is of an issuer that is not allowed")
    if claims.audiences != (audience,):
        _refuse("token_audience", "the identity token is for another audience")
    if now_s >= claims.expires:
        _refuse("token_expired", "the identity token has expired")
    if now_s + SKEW_S < claims.not_before:
        _refuse("token_not_yet_valid", "the identity token is not valid yet")
    if not claims.names:
        _refuse("token_identity", "the identity token names nobody")


_STANDARD: Final = str.maketrans("-_", "+/")


def _seconds(value: object) -> int:
    # A bool is an int to Python; a time with a fraction is legal and cut.
    if not isinstance(value, int | float) or isinstance(value, bool):
        _malformed()
    return int(value)


def _names(said: dict[str, Any]) -> list[str]:
    """Return the names that Fulcio may write for this holder, whatever type of issuer it takes this one for."""

    def text(name: str) -> str:
        value = said.get(name)
        return value if isinstance(value, str) else ""

    names = [text("sub")]
    if said.get("email_verified") is not False:
        names.append(text("email"))
    if text("job_workflow_ref"):
        names.append(f"https://github.com/{text('job_workflow_ref')}")
    if text("ci_config_ref_uri"):
        names.append(f"https://{text('ci_config_ref_uri')}")
    account = _KUBERNETES.fullmatch(text("sub"))
    if account:
        names.append(f"https://kubernetes.io/namespaces/{account[1]}/serviceaccounts/{account[2]}")
    return [name for name in names if name]


def _malformed() -> NoReturn:
    _refuse("token_malformed", "the identity token is no JWT that can be read")


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("key.forbidden", reason, public) from None
