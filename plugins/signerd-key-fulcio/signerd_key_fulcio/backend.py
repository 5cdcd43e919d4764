"""The hook of this plugin and the backend itself: references to identities, identities to certificates that are kept.

References are ``fulcio:NAME``; NAME is a key of the table ``keys``. A certificate serves many signatures, of one key
reference, one tenant and one identity: until ``margin_s`` before its end, and in this process alone.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from signerd.contracts import hookimpl
from signerd.contracts.providers import KeyBackend
from signerd.contracts.settings import KEY_NAME
from signerd.contracts.values import KeyDescription, SignatureResult, SignFor
from signerd.errors import Refusal
from signerd.network.exchange import Exchange
from signerd.verification.keyless import KeylessTrust
from signerd.verification.oidc import Claims, check_claims, read_claims
from signerd_key_fulcio.authority import Authority, Certified
from signerd_key_fulcio.settings import KeySettings, Settings, understand
from signerd_key_fulcio.tokens import Tokens

__all__ = ["FulcioBackend", "signerd_key_backends"]

SCHEME: Final = "fulcio:"
DIGEST_BYTES: Final = 32
MOST_KEPT: Final = 1024
"""Certificates that are kept at once; beyond it the one that was used longest ago goes."""
_SCHEME: Final = ec.ECDSA(Prehashed(SHA256()))


@hookimpl
def signerd_key_backends(settings: Mapping[str, object]) -> KeyBackend:
    """Introduce the backend; ValueError for settings that it does not understand, or files that it cannot use."""
    return FulcioBackend(settings)


@dataclass(slots=True)
class _Held:
    """A certificate that is kept, and whose it is. ``mark`` is that of the token's source."""

    certified: Certified
    claims: Claims
    mark: object


class FulcioBackend:
    """Signs by certificates. Holds no lasting key; capability ``keyless``.

    Refusals are ``key.not_found`` and ``key.forbidden``, faults ``key.backend_unavailable`` (no answer) and
    ``key.backend_fault`` (an answer that is not believed), with the reasons of docs/key-fulcio.md.
    """

    capabilities: tuple[str, ...] = ("keyless",)

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._settings = understand(settings)
        ask = partial(Exchange(self._settings.tls_ca).within, self._settings.timeout_s)
        self._tokens = Tokens(ask, self._settings.audience)
        self._authority = Authority(self._settings.url, ask, _trust(self._settings), time.time, time.monotonic)
        self._held: OrderedDict[tuple[str, str, bytes], _Held] = OrderedDict()

    def describe(self, key: str) -> KeyDescription:
        """Say that the key is keyless and P-256; asks nobody."""
        self._key(key)
        return KeyDescription("ES256", "", b"", self.capabilities, prehash="sha256")

    def sign(self, key: str, message: bytes) -> SignatureResult:
        """Sign in the name that the backend has of its own."""
        return self.sign_for(key, message, SignFor())

    def sign_for(self, key: str, message: bytes, signer: SignFor) -> SignatureResult:
        """Sign the SHA-256 ``message``, by a certificate that is kept for this identity or a new one."""
        name, configured = self._key(key)
        if len(message) != DIGEST_BYTES:
            raise Refusal("key.forbidden", "digest_length", "a SHA-256 is signed, and this is none")
        if configured.token.kind == "request":
            certified = self._of_request(name, configured, signer)
        elif signer.identity_token:
            raise Refusal("key.forbidden", "token_unwanted", "the key signs in a name of its own")
        else:
            certified = self._of_source(name, configured, signer)
        leaf = certified.vouched.leaf
        return SignatureResult(certified.private.sign(message, _SCHEME), leaf.key.keyid, certified.vouched.chain)

    def _of_request(self, name: str, configured: KeySettings, signer: SignFor) -> Certified:
        """Return the certificate for a request's token.

        It is kept for this very token: nothing here proves that another token, which says the same, is genuine.
        """
        token = signer.identity_token
        if not token:
            raise Refusal("key.forbidden", "token_missing", "the key signs by an identity token, and none came")
        place = (name, signer.tenant, hashlib.sha256(token.encode("utf-8", "replace")).digest())
        held = self._kept(place)
        claims = read_claims(token) if held is None else held.claims
        # An expired token names nobody any more, although its certificate may still be good.
        check_claims(claims, self._settings.audience, configured.issuers, time.time())
        if held is not None:
            return held.certified
        certified = self._authority.certify(token, claims, configured.identity)
        self._keep(place, _Held(certified, claims, None))
        return certified

    def _of_source(self, name: str, configured: KeySettings, signer: SignFor) -> Certified:
        """Return the certificate for the key's own identity; another token there is read, and a new certificate asked
        for only if it names another holder."""
        source = configured.token
        place, mark = (name, signer.tenant, b""), self._tokens.mark(source)
        held = self._kept(place)
        if held is not None and held.mark == mark and mark is not None:
            return held.certified
        token = self._tokens.read(source)
        claims = read_claims(token)
        check_claims(claims, self._settings.audience, configured.issuers, time.time())
        if source.kind == "spiffe" and not any([one.startswith("spiffe://") for one in claims.names]):
            raise Refusal("key.forbidden", "token_identity", "the identity token names no SPIFFE ID")
        if held is not None and (held.claims.issuer, held.claims.names) == (claims.issuer, claims.names):
            held.mark = mark
            return held.certified
        certified = self._authority.certify(token, claims, configured.identity)
        self._keep(place, _Held(certified, claims, mark))
        return certified

    def _kept(self, place: tuple[str, str, bytes]) -> _Held | None:
        held = self._held.get(place)
        if held is None:
            return None
        vouched, now = held.certified.vouched, time.time()
        # The clock may have been put back too: what is not valid yet is not used.
        if vouched.fresh(datetime.fromtimestamp(now, UTC)) and now < vouched.end.timestamp() - self._settings.margin_s:
            self._held.move_to_end(place)
            return held
        del self._held[place]
        return None

    def _keep(self, place: tuple[str, str, bytes], held: _Held) -> None:
        self._held[place] = held
        if len(self._held) > MOST_KEPT:
            self._held.popitem(last=False)

    def _key(self, key: str) -> tuple[str, KeySettings]:
        name = key.removeprefix(SCHEME)
        configured = self._settings.keys.get(name) if name != key and KEY_NAME.fullmatch(name) else None
        if configured is None:
            raise Refusal("key.not_found", "no_such_key", "there is no such key", operator=f"{key[:80]!r}")
        return name, configured


def _trust(settings: Settings) -> KeylessTrust:
    logs = settings.ct_log_keys
    return KeylessTrust.read(_read(settings.ca), None if logs is None else [_read(path) for path in logs])


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1024 * 1024)
    except OSError as exc:
        raise ValueError(f"{path} cannot be read: {exc.strerror}") from exc
