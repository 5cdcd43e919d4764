"""What a request may have signed by certificates in place of keys: which keys, in whose name, with which proofs."""

from collections.abc import Sequence

from msgspec import UNSET

from signerd.errors import Refusal
from signerd.pipeline.evidence import Order
from signerd.pipeline.services import Services
from signerd.pipeline.tenants import KeylessRule
from signerd.verification.oidc import check_claims, read_claims
from signerd.wire.keyless import IdentityToken
from signerd.wire.ring import RingEntry

__all__ = ["EPHEMERAL", "default_keyless", "identity_for", "is_ephemeral", "rule_of", "untimed_warnings"]

EPHEMERAL = "ephemeral"
"""In ``degraded``: nothing proves that it was signed while the certificate was valid."""
_EPHEMERAL = (
    "ephemeral: neither a log entry nor a stamp proves when it was signed; verifiers refuse it once the certificate "
    "has ended"
)
_UNSTAMPED = (
    "unstamped: entries of a Rekor v2 log prove no time; without a stamp verifiers refuse it once the certificate has "
    "ended"
)


def rule_of(order: Order, key: RingEntry) -> KeylessRule | None:
    """Return what is configured for a keyless key; None for any other."""
    rule = order.tenant.rules.get(key.key)
    return None if rule is None else rule.keyless


def is_ephemeral(order: Order) -> bool:
    """Whether the answer comes with neither log entry nor stamp: one that follows later may never."""
    return order.transparency != "required" and not order.timestamp


def untimed_warnings(order: Order, keys: Sequence[RingEntry]) -> tuple[str, ...]:
    """Return what a caller should know of signatures by certificates whose time nothing proves."""
    if order.timestamp or not any([key.keyless for key in keys]):
        return ()
    return (_EPHEMERAL if is_ephemeral(order) else _UNSTAMPED,)


def default_keyless(order: Order, named: str) -> str:
    """Return the key that signs where a request asks for ``keyless`` and names no key: the default key if it is
    keyless, else the tenant's only keyless one. ``key.not_found`` (``no_keyless_key``), ``request.malformed``
    (``keyless_ambiguous``)."""
    keyless = [key for key, rule in order.tenant.rules.items() if rule.keyless is not None]
    if named in keyless:
        return named
    if not keyless:
        raise Refusal("key.not_found", "no_keyless_key", "the tenant has no keyless key")
    if len(keyless) > 1:
        raise Refusal("request.malformed", "keyless_ambiguous", "the tenant has several keyless keys: name one")
    return keyless[0]


def identity_for(
    order: Order, keys: Sequence[RingEntry], services: Services, *, token_needed: bool = True
) -> IdentityToken | None:
    """Check the mode and the token that the request brought, and return the token for the keyless ones of ``keys``.

    ``key.forbidden``: ``not_keyless`` and ``not_keyful`` (the mode asks for the other kind), ``ephemeral`` (nothing
    would prove the time), and the reasons of ``read_claims`` and ``check_claims``. ``request.unsupported`` for a token
    that no key has a use for, unless it is not ``token_needed``: it goes nowhere.
    """
    options = order.params.options
    mode = options.mode if options and options.mode is not UNSET else "auto"
    rules = [rule for key in keys if (rule := rule_of(order, key)) is not None]
    if mode == "keyless" and len(rules) < len(keys):
        raise Refusal("key.forbidden", "not_keyless", "a key that is named is not keyless")
    if mode == "keyful" and rules:
        raise Refusal("key.forbidden", "not_keyful", "a key that is named is keyless")
    if is_ephemeral(order) and not all([rule.ephemeral_ok for rule in rules]):
        raise Refusal(
            "key.forbidden", EPHEMERAL, "a keyless signature needs a log entry or a stamp, and none is asked for"
        )
    if not options or options.identity_token is UNSET:
        return None
    if not rules and not token_needed:
        return None
    if not rules:
        raise Refusal(
            "request.unsupported", "token_unused", "no key signs by a token", details={"name": "identity_token"}
        )
    claims = read_claims(options.identity_token)
    for rule in rules:
        check_claims(claims, rule.audience, rule.issuers, services.clock.now_ms() / 1000)
    return IdentityToken(options.identity_token, claims.issuer, tuple(sorted(claims.names)))
