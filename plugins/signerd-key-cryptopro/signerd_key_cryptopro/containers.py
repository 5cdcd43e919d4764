"""Keys in containers of the CSP that need no PIN from signerd: described by a file, proved and used by the tool."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.contracts.values import KeyDescription, SignatureResult
from signerd.errors import Refusal, SignerdError
from signerd.verification.gost import check_signable
from signerd.verification.keys import PublicKey
from signerd_key_cryptopro.settings import Container, ToolSettings
from signerd_key_cryptopro.tool import PinRefused, Tool
from signerd_key_pkcs11 import gost
from signerd_key_pkcs11.failures import fault, not_found
from signerd_key_pkcs11.latch import PinLatch
from signerd_key_pkcs11.settings import SignatureOrder

__all__ = ["Containers"]

_MOST_FILE: Final = 64 * 1024
_CHALLENGE: Final = b"signerd-key-cryptopro v1: this container and the public key beside it are one pair\n"
"""Signed once for each container. What the sealer frames begins with ``DSSEv1`` (DSSE) or 0x84
(COSE), and never as this does."""


@dataclass(frozen=True, slots=True)
class _Held:
    container: Container
    public: PublicKey
    bits: int
    chain: tuple[bytes, ...]


class Containers:
    """The containers of the configuration, each proved at its first use.

    No PIN is ever given to the tool. A container whose PIN the CSP itself keeps may still refuse that one, and a few
    refusals lock it: the latch in ``state`` holds for it as for a token (T18).
    """

    def __init__(self, settings: ToolSettings, tool: Tool, state: str) -> None:
        self._settings = settings
        self._tool = tool
        self._latch = PinLatch(state)
        self._held: dict[str, _Held] = {}

    def describe(self, name: str) -> KeyDescription:
        """Return algorithm, keyid, SPKI and certificate of a container.

        ``key.not_found``: ``no_such_container``. ``key.backend_fault``: ``public_key_unreadable``,
        ``public_key_mismatch``, ``byte_order``, ``pin_…``, ``latch_…``. ``key.algorithm_refused``: ``key_type``. Else
        as :meth:`signerd_key_cryptopro.tool.Tool.sign`.
        """
        held = self._usable(name)
        return KeyDescription(held.public.algorithm, held.public.keyid, held.public.spki, chain=held.chain)

    def sign(self, name: str, message: bytes) -> SignatureResult:
        """Sign; s || r in big-endian bytes. Refuses as :meth:`describe`, and ``key.forbidden``,
        ``gost_payload_too_large``."""
        held = self._usable(name)
        check_signable(message)
        try:
            return SignatureResult(self._signed(held, message), held.public.keyid)
        except PinRefused as exc:
            self._held.pop(name, None)
            self._latched(held.container, _again(exc))
            raise

    def _usable(self, name: str) -> _Held:
        held = self._held.get(name)
        if held is None:
            container = self._settings.containers.get(name)
            if container is None:
                raise not_found("no_such_container", "tool.containers has no such name")
            public, chain = _public_key(container.public_key)
            if public.algorithm not in gost.ALGORITHMS:
                raise Refusal("key.algorithm_refused", "key_type", "the key is not one of GOST R 34.10-2012")
            held = _Held(container, public, gost.ALGORITHMS[public.algorithm].bits, chain)
            signature = self._latched(container, lambda: self._signed(held, _CHALLENGE))
            if not _verifies(public, signature):
                if _verifies(public, signature[::-1]):
                    raise fault("byte_order", "the tool writes signatures in the other order: see tool.signature")
                raise fault("public_key_mismatch", f"{container.public_key} is not the public key of the container")
            self._held[name] = held
        return held

    def _signed(self, held: _Held, message: bytes) -> bytes:
        signature = self._tool.sign(held.container, held.bits, message)
        return signature[::-1] if self._settings.signature is SignatureOrder.REVERSED else signature

    def _latched(self, container: Container, attempt: Callable[[], bytes]) -> bytes:
        try:
            return self._latch.login(
                f"container\0{container.name}", "", attempt, rejected=(PinRefused,), unjudged=(SignerdError,)
            )
        except PinRefused as exc:
            raise exc.fault from exc


def _again(exc: PinRefused) -> Callable[[], bytes]:
    """Return an attempt that ends as one did already: the mark of it is made without another."""

    def attempt() -> bytes:
        raise exc

    return attempt


def _verifies(public: PublicKey, signature: bytes) -> bool:
    try:
        public.verify(signature, _CHALLENGE)
    except SignerdError:
        return False
    return True


def _public_key(path: str) -> tuple[PublicKey, tuple[bytes, ...]]:
    """Read a public key in PEM, or a certificate in PEM or DER with its DER."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            data = file.read(_MOST_FILE + 1)
        if b"-----BEGIN PUBLIC KEY-----" in data:
            return PublicKey.from_pem(data), ()
        pem = data.lstrip().startswith(b"-----BEGIN CERTIFICATE-----")
        certificate = x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
        spki = gost.certified_key(certificate)
    except OSError as exc:
        raise fault("public_key_unreadable", f"{path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise fault("public_key_unreadable", f"{path} is neither a public key in PEM nor a certificate") from exc
    except Refusal as exc:
        if exc.code == "key.algorithm_refused":
            raise
        raise fault("public_key_unreadable", f"{path}: {exc}") from exc
    if spki is None:
        raise Refusal("key.algorithm_refused", "key_type", "the certificate is not of a GOST key that is used")
    return PublicKey.from_spki(spki), (certificate.public_bytes(Encoding.DER),)
