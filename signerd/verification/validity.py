"""Whether a signature was made while its key was valid: a question of time, and of who says what time it was.

Whoever steals an old key can write any time into what he signs. So once a key has ended, only a time that the thief
cannot have set counts: an RFC 3161 stamp, a log's entry, or a receipt under a checkpoint that had left the host by then
(T9). While a key is valid, no time is needed: whoever can sign with it then could have signed now.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from signerd.errors import Refusal
from signerd.verification.checks import Check, Checks, Verification

__all__ = ["LARGEST_PUBLICATION", "KeyValidity", "check_signing_time", "read_validities", "within_validity"]

LARGEST_PUBLICATION: Final = 256 * 1024 * 1024
"""Bytes of each published file: 100,000 versions of RSA keys take a third of it."""


class KeyValidity(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key's time as it is published, in Unix milliseconds; 0 is never.

    From ``expires_at``, ``retire_at`` and ``revoked_at`` on it does not sign any more. With cause ``compromised``
    nothing made at or after ``invalid_since`` is valid, which may be long before it was revoked.
    """

    added_at: int
    expires_at: int = 0
    retire_at: int = 0
    revoked_at: int = 0
    cause: str = ""
    invalid_since: int = 0

    def end(self) -> tuple[int, str]:
        """Return the time from which the key's signatures are not valid, and why; (0, "") for none."""
        revoked = self.revoked_at
        if revoked and self.cause == "compromised":
            revoked = min(revoked, self.invalid_since or self.added_at)
        ends = ((revoked, "revoked"), (self.retire_at, "retired"), (self.expires_at, "expired"))
        return min([each for each in ends if each[0]], default=(0, ""), key=lambda each: each[0])


def check_signing_time(validity: KeyValidity, now: int, signed_at: int | None = None) -> None:
    """Refuse a signature of a key that was not valid when it was made; ``signed_at`` is a time that can be trusted.

    ``verification.failed``: ``not_yet_valid``, ``expired``, ``retired``, ``revoked`` where that time, or the key's
    whole life, says so; ``no_trusted_time`` where the key has ended by ``now`` and there is none.
    """
    end, why = validity.end()
    if end and end <= validity.added_at:
        raise _failed(why, "the key was never valid")
    if signed_at is None:
        if now < validity.added_at:
            raise _failed("not_yet_valid", "the key is not valid yet")
        if end and now >= end:
            raise _failed("no_trusted_time", f"the key is {why}, and nothing proves that the signature is older")
    elif signed_at < validity.added_at:
        raise _failed("not_yet_valid", "the signature is older than its key")
    elif end and signed_at >= end:
        raise _failed(why, "the signature was made when its key was not valid any more")


def within_validity(verification: Verification, published: Mapping[str, KeyValidity], now: int) -> Verification:
    """Return ``verification`` with one more check, ``validity``: was the key valid when it signed?

    Proven is the earliest of ``verification.times``, for there the signature was; ``now`` is Unix milliseconds. Fails
    with the reasons of :func:`check_signing_time`, and with ``key_not_published``. What does not verify stays as it is.
    """
    if not verification.verified:
        return verification
    signed_at = min([int(time.timestamp() * 1000) for time in verification.times], default=None)
    checks = Checks()
    validity = published.get(verification.keyid or "")
    if validity is None:
        checks.failed("validity", "key_not_published", "the published keys do not have this one")
    else:
        try:
            check_signing_time(validity, now, signed_at)
        except Refusal as refusal:
            checks.refused("validity", refusal)
        else:
            checks.passed("validity", "the key was valid when it signed")
    made: tuple[Check, ...] = (*verification.checks, *checks.made)
    return Verification(False, made) if checks.any_failed else replace(verification, checks=made)


class _Jwk(KeyValidity, frozen=True, kw_only=True):
    kid: str


class _Jwks(msgspec.Struct, frozen=True):
    keys: tuple[_Jwk, ...]


class _Revoked(msgspec.Struct, frozen=True):
    keyid: str
    revoked_at: int
    cause: str
    invalid_since: int = 0


class _Revocations(msgspec.Struct, frozen=True):
    revoked: tuple[_Revoked, ...]


_jwks: Final = msgspec.json.Decoder(_Jwks)
_revocations: Final = msgspec.json.Decoder(_Revocations)


def read_validities(jwks: bytes, revocations: bytes) -> dict[str, KeyValidity]:
    """Return the validity of each key of a published ``jwks.json`` by keyid, with what ``revocations.json`` says.

    The revocations decide, as they may be newer. ``request.malformed``, reason ``publication``, for other documents.
    """
    try:
        keys = _jwks.decode(jwks).keys
        revoked = {each.keyid: each for each in _revocations.decode(revocations).revoked}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal("request.malformed", "publication", "not a published list of keys and revocations") from None
    found: dict[str, KeyValidity] = {}
    for key in keys:
        ended = revoked.get(key.kid)
        since = (key.revoked_at, key.cause, key.invalid_since)
        if ended is not None:
            since = (ended.revoked_at, ended.cause, ended.invalid_since)
        found[key.kid] = KeyValidity(key.added_at, key.expires_at, key.retire_at, *since)
    return found


def _failed(reason: str, text: str) -> Refusal:
    return Refusal("verification.failed", reason, text)
