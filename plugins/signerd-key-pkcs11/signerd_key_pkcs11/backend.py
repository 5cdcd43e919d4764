"""The hook of this plugin and the backend itself: RFC 7512 references to keys, keys to signatures."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pkcs11.exceptions import DeviceError, PKCS11Error

from signerd.contracts import hookimpl
from signerd.contracts.providers import KeyBackend
from signerd.contracts.values import KeyDescription, Rotated, SignatureResult
from signerd.errors import Refusal, SignerdError
from signerd.verification.keys import PublicKey
from signerd_key_pkcs11 import gost
from signerd_key_pkcs11.algorithms import Scheme, require, scheme_of
from signerd_key_pkcs11.failures import LOST, LOST_OBJECT, fault, forbidden, translated
from signerd_key_pkcs11.generate import make_key
from signerd_key_pkcs11.objects import certificates, find_private, made_in_hardware, public_halves
from signerd_key_pkcs11.settings import understand
from signerd_key_pkcs11.tokens import OpenToken, Tokens
from signerd_key_pkcs11.uri import beside, parse

__all__ = ["Pkcs11Backend", "signerd_key_backends"]

DEFAULT_ALGORITHM: Final = "ES256"
MOST_VERSIONS: Final = 1000
"""Labels tried for a new version: each is a search in the token."""
_CHALLENGE: Final = b"signerd-key-pkcs11 v1: this private key and the public key beside it are one pair\n"
"""Signed once for each key that is opened. What the sealer frames begins with ``DSSEv1`` (DSSE) or 0x84
(COSE), and never as this does."""


@hookimpl
def signerd_key_backends(settings: Mapping[str, object]) -> KeyBackend:
    """Introduce the backend; ValueError for settings that it does not understand."""
    return Pkcs11Backend(settings)


@dataclass(slots=True)
class _Held:
    """A key with a handle in each session of its token, used in turn."""

    token: OpenToken
    handles: list[Any]
    scheme: Scheme
    public: PublicKey
    chain: tuple[bytes, ...]
    hardware: bool
    turn: int = field(default=0)

    def sign(self, prepared: bytes) -> bytes:
        self.turn = (self.turn + 1) % len(self.handles)
        return _signed(self.handles[self.turn], prepared, self.scheme)


class Pkcs11Backend:
    """Keys in tokens; each is looked up at its first use, and its handles are kept.

    A key that was once described stays that key: after a loss it is looked for again, once, and another one in
    its place is ``key.backend_fault``, ``key_replaced``. Every error is a ``key.*`` code.
    """

    capabilities: tuple[str, ...] = ("generate", "rotate", "attest")

    def __init__(self, settings: Mapping[str, object]) -> None:
        understood = understand(settings)
        self._tokens = Tokens(understood)
        self._gost = understood.gost
        self._held: dict[str, _Held] = {}
        self._known: dict[str, str] = {}

    def describe(self, key: str) -> KeyDescription:
        """Return algorithm, keyid, SPKI and the certificates of the key, if it has its own on the token.

        The private key has proved, by a signature over a fixed text, that the public key is its own; else
        ``key.backend_fault``: ``public_key_missing``, ``public_key_mismatch``. Refuses as
        :func:`signerd_key_pkcs11.uri.parse` and :func:`signerd_key_pkcs11.objects.find_private`.
        """
        held = self._usable(key)
        return KeyDescription(
            held.public.algorithm,
            held.public.keyid,
            held.public.spki,
            self.capabilities,
            held.chain,
            held.scheme.prehash,
            held.hardware,
        )

    def sign(self, key: str, message: bytes) -> SignatureResult:
        """Sign; ECDSA in DER. A token that was lost is opened again, once, and asked once more."""
        held = self._usable(key)
        prepared = held.scheme.prepare(message)
        try:
            raw = held.sign(prepared)
        except LOST as exc:
            held = self._reopened(key, held, exc)
            try:
                raw = held.sign(prepared)
            except PKCS11Error as again:
                self._forget(key)
                raise translated(again, "signing again after a loss") from again
        except PKCS11Error as exc:
            raise translated(exc, "signing") from exc
        return SignatureResult(held.scheme.finish(raw), held.public.keyid)

    def generate(self, key: str, algorithm: str) -> KeyDescription:
        """Make a key pair in the token, sensitive and not extractable; an empty ``algorithm`` is ES256.

        Refuses ``key.forbidden`` with reason ``exists`` where an object of the token has that label or id
        already, ``key.algorithm_refused``.
        """
        uri = parse(key)
        token = self._tokens.get(uri)
        try:
            make_key(token.token, uri, algorithm or DEFAULT_ALGORITHM)
        except LOST as exc:
            # Not tried again: the pair may have been made. The next call finds the token anew.
            self._tokens.drop(token, restart=isinstance(exc, DeviceError))
            raise translated(exc, "making a key") from exc
        except PKCS11Error as exc:
            raise translated(exc, "making a key") from exc
        return self.describe(key)

    def rotate(self, key: str, algorithm: str) -> Rotated:
        """Make a key pair beside ``key`` in its token, with the first free label of ``LABEL.v2``, ``LABEL.v3``, … and
        an id of its own; the URI that names it is the new reference. An empty ``algorithm`` is that of ``key``.

        Refuses as :meth:`describe` and :meth:`generate` do.
        """
        old = self._usable(key).public.algorithm
        for number in range(2, MOST_VERSIONS):
            reference = beside(key, number)
            try:
                return Rotated(reference, self.generate(reference, algorithm or old))
            except Refusal as refusal:
                if refusal.reason != "exists":
                    raise
        raise forbidden("no_free_name", "there is no name left for a new version of this key")

    def _usable(self, key: str) -> _Held:
        held = self._held.get(key)
        if held is None or held.token.closed:
            held = self._open(key)
        return held

    def _open(self, key: str) -> _Held:
        """Find ``key`` and have it prove its public half; a token that turns out to be lost is opened anew, once."""
        uri = parse(key)
        token = self._tokens.get(uri)
        try:
            held = self._found(key, token)
        except LOST as exc:
            self._tokens.drop(token, restart=isinstance(exc, DeviceError))
            token = self._tokens.get(uri)
            try:
                held = self._found(key, token)
            except PKCS11Error as again:
                raise translated(again, "looking for the key") from again
        except PKCS11Error as exc:
            raise translated(exc, "looking for the key") from exc
        self._held[key] = held
        return held

    def _found(self, key: str, token: OpenToken) -> _Held:
        uri = parse(key)
        handles = [find_private(session, uri) for session in token.sessions]
        public, scheme = self._proved(token, handles[0])
        if self._known.setdefault(key, public.keyid) != public.keyid:
            raise fault("key_replaced", f"the token now has {public.keyid} where {self._known[key]} was")
        chain = certificates(token.sessions[0], handles[0], public)
        return _Held(token, handles, scheme, public, chain, made_in_hardware(token.token, handles[0]))

    def _proved(self, token: OpenToken, private: Any) -> tuple[PublicKey, Scheme]:
        mismatched = turned = False
        for public in public_halves(token.sessions[0], private):
            scheme = self._scheme(public.algorithm, token)
            message = hashlib.sha256(_CHALLENGE).digest() if scheme.prehash else _CHALLENGE
            signature = scheme.finish(_signed(private, scheme.prepare(message), scheme))
            if _verifies(public, signature):
                return public, scheme
            mismatched = True
            turned = turned or (public.algorithm in gost.ALGORITHMS and _verifies(public, signature[::-1]))
        if turned:
            raise fault("byte_order", "the token writes signatures in the other order: see gost.signature")
        if mismatched:
            raise fault("public_key_mismatch", "no public key of this id or label belongs to the private key")
        raise fault("public_key_missing", "the token shows no public key and no certificate of the private key")

    def _scheme(self, algorithm: str, token: OpenToken) -> Scheme:
        if algorithm in gost.ALGORITHMS:
            return gost.scheme_in(token.token.slot.get_mechanisms(), algorithm, self._gost)
        scheme = scheme_of(algorithm)
        require(scheme, token.token)
        return scheme

    def _reopened(self, key: str, held: _Held, exc: PKCS11Error) -> _Held:
        self._forget(key)
        if not isinstance(exc, LOST_OBJECT) and not held.token.closed:
            self._tokens.drop(held.token, restart=isinstance(exc, DeviceError))
        return self._open(key)

    def _forget(self, key: str) -> None:
        self._held.pop(key, None)


def _signed(private: Any, prepared: bytes, scheme: Scheme) -> bytes:
    signed: bytes = private.sign(prepared, mechanism=scheme.mechanism, mechanism_param=scheme.parameter)
    return signed


def _verifies(public: PublicKey, signature: bytes) -> bool:
    try:
        public.verify(signature, _CHALLENGE)
    except SignerdError:
        return False
    return True
