"""Certificates from Fulcio: asked for by a CSR, believed only as far as the configuration bears them out (T24).

Source: Fulcio's API v2, ``POST /api/v2/signingCert`` (``fulcio.proto``). The CSR's signature is the proof of
possession; its subject is ignored, the token names the holder.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.errors import Fault, Refusal
from signerd.network.exchange import Answer, Ask, Unanswered
from signerd.verification.keyless import KeylessTrust, Vouched
from signerd.verification.oidc import Claims

__all__ = ["ANSWER_BYTES", "Authority", "Certified"]

ANSWER_BYTES: Final = 256 * 1024
"""A chain has some 5 kB."""
RETRY_S: Final = 1.0
"""Seconds for which an authority that did not answer is not asked again: what waits behind would wait as long each."""
_MOST_CERTIFICATES: Final = 16
_HEADERS: Final = (("Content-Type", "application/json"), ("Accept", "application/json"))
_BUSY: Final = 429


@dataclass(frozen=True, slots=True)
class Certified:
    """A new key with its certificate, which was checked; neither is ever written down."""

    private: ec.EllipticCurvePrivateKey
    vouched: Vouched


class Authority:
    """One Fulcio."""

    def __init__(
        self,
        url: str,
        ask: Ask,
        trust: KeylessTrust,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._url = f"{url}/api/v2/signingCert"
        self._ask = ask
        self._trust = trust
        self._now = now
        self._monotonic = monotonic
        self._silent: tuple[float, str] | None = None

    def certify(self, token: str, claims: Claims, identity: str | None) -> Certified:
        """Make a P-256 key and have it certified for the holder of ``token``.

        The certificate is that of the new key, under the configured authority, in a configured log, valid now, by the
        token's issuer, and names ``identity`` or, without one, the token's holder. ``key.forbidden``, reason
        ``token_refused``; ``key.backend_unavailable`` with reason ``fulcio_…``; ``key.backend_fault`` with the reason
        for which the answer is not believed.
        """
        private = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(private, SHA256())
        body = {
            "credentials": {"oidcIdentityToken": token},
            "certificateSigningRequest": base64.b64encode(request.public_bytes(Encoding.PEM)).decode(),
        }
        chain = _chain(self._answer(json.dumps(body).encode()))
        return Certified(private, self._checked(private, chain, claims, identity))

    def _checked(
        self, private: ec.EllipticCurvePrivateKey, chain: list[bytes], claims: Claims, identity: str | None
    ) -> Vouched:
        try:
            vouched = self._trust.vouch(chain[0], datetime.fromtimestamp(self._now(), UTC))
        except Refusal as refusal:
            _disbelieve(refusal.reason, refusal.public)
        leaf = vouched.leaf
        if leaf.certificate.public_key() != private.public_key():
            _disbelieve("certificate_of_another_key", "the certificate is of another key")
        if any(der not in vouched.chain for der in chain[1:]):
            _disbelieve("chain_foreign", "the answer's chain is not that of the configured authority")
        if leaf.issuer != claims.issuer:
            _disbelieve("issuer_mismatch", "the certificate is of another issuer")
        if leaf.san not in ({identity} if identity is not None else claims.names):
            _disbelieve("identity_mismatch", "the certificate names another identity")
        return vouched

    def _answer(self, body: bytes) -> Answer:
        if self._silent is not None and self._monotonic() < self._silent[0]:
            raise _unavailable(self._silent[1])
        self._silent = None
        try:
            reply = self._ask("POST", self._url, ANSWER_BYTES, body, _HEADERS)
        except Unanswered as exc:
            if exc.reason == "too_large":
                _disbelieve("answer_too_large", f"an answer of more than {ANSWER_BYTES} bytes")
            self._silent = (self._monotonic() + RETRY_S, exc.reason)
            raise _unavailable(exc.reason) from None
        status = reply.status
        if status >= 500 or status == _BUSY:
            self._silent = (self._monotonic() + RETRY_S, f"status_{status}")
            raise _unavailable(f"status_{status}")
        if 300 <= status < 400:
            _disbelieve("redirect", "the answer is a redirect, and none is followed")
        if status in (400, 401, 403):
            # What it says of the reason is not repeated: it may hold the token.
            raise Refusal("key.forbidden", "token_refused", "the certificate authority refused the identity token")
        if status not in (200, 201):
            _disbelieve("status", f"the answer has status {status}")
        if reply.media_type != "application/json":
            _disbelieve("answer_type", "the answer is no JSON")
        return reply


def _chain(reply: Answer) -> list[bytes]:
    """Return the certificates of an answer in DER, leaf first."""
    try:
        answer: Any = json.loads(reply.body)
        signed = answer.get("signedCertificateEmbeddedSct") or answer["signedCertificateDetachedSct"]
        texts = signed["chain"]["certificates"]
        if not isinstance(texts, list) or not 0 < len(texts) <= _MOST_CERTIFICATES:
            raise ValueError
        return [x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER) for text in texts]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        _disbelieve("answer_shape", "the answer holds no certificates")


def _disbelieve(reason: str, why: str) -> NoReturn:
    raise Fault(
        "key.backend_fault", reason, "a component of the signer failed", operator=f"Fulcio: {why}"
    ) from None


def _unavailable(why: str) -> Fault:
    return Fault(
        "key.backend_unavailable",
        f"fulcio_{why}",
        "the key's backend is not available",
        operator=f"Fulcio does not answer ({why})",
    )

