"""Keyless keys as the sealer trusts them: no key is pinned, so what may vouch for one is (promise 4, T24).

The sealer believes neither the worker nor the authority behind it: before a signature is released, the certificate is
checked by the sealer's own configuration, and named as the request's token says, or as the configuration does.
"""

from collections import OrderedDict
from collections.abc import Collection
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from signerd.errors import Refusal, SignerdError
from signerd.verification.keyless import KeylessTrust, Vouched
from signerd.wire.keyless import IdentityToken, Keyless

__all__ = ["Certificates", "facts_of"]

_KEPT: Final = 256
"""Checked certificates that are remembered: one serves many signatures, and checking it takes four of them."""


class Certificates:
    """What vouches for the certificates of one keyless key. ``ephemeral_ok``: their signatures may do without any proof
    of their time."""

    def __init__(
        self, trust: KeylessTrust, issuers: Collection[str], identities: Collection[str] | None, *, ephemeral_ok: bool
    ) -> None:
        self._trust = trust
        self._issuers = frozenset(issuers)
        self._identities = None if identities is None else frozenset(identities)
        self._known: OrderedDict[bytes, Vouched] = OrderedDict()
        self.ephemeral_ok = ephemeral_ok

    def vouch(self, der: bytes, asked: IdentityToken | None, now_ms: int) -> Vouched:
        """Return the certificate, checked. Refuses ``verification.failed`` with the reasons of ``KeylessTrust.vouch``,
        and with ``issuer_mismatch`` and ``identity_mismatch`` for one that names somebody else."""
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        vouched = self._known.get(der)
        if vouched is None or not vouched.fresh(now):
            vouched = self._trust.vouch(der, now)
            self._known[der] = vouched
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        leaf = vouched.leaf
        if leaf.issuer not in self._issuers or (asked is not None and leaf.issuer != asked.issuer):
            raise _mismatch("issuer_mismatch")
        if asked is not None and leaf.san not in asked.names:
            raise _mismatch("identity_mismatch")
        if self._identities is not None and leaf.san not in self._identities:
            raise _mismatch("identity_mismatch")
        return vouched


@lru_cache(maxsize=_KEPT)
def facts_of(vouched: Vouched) -> Keyless:
    """Return what the front end is told of a certificate."""
    leaf = vouched.leaf
    assert leaf.issuer is not None  # KeylessTrust refuses such
    start, end = (int(at.timestamp() * 1000) for at in (vouched.start, vouched.end))
    return Keyless(vouched.chain, leaf.key.spki, leaf.issuer, leaf.san, start, end)


def _mismatch(reason: str) -> SignerdError:
    return Refusal("verification.failed", reason, "the certificate names somebody else")
