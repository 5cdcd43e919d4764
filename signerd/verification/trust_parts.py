"""The files of trust, made of their parts: the trusted root for who verifies, the signing config for who signs.

Same meaning as ``cosign trusted-root create`` and ``cosign signing-config create`` give the same parts (sigstore
``protobuf-specs``: ``sigstore_trustroot.proto``, JSON mapping of protobuf). Same parts, same bytes.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509 import Certificate, load_pem_x509_certificates
from cryptography.x509.oid import NameOID

from signerd.attestation.algorithms import COSIGN_ALGORITHMS
from signerd.attestation.dsse import encode_base64
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey

__all__ = [
    "AuthorityPart",
    "LogPart",
    "Parts",
    "ServicePart",
    "read_chain",
    "signing_config",
    "trusted_root",
]

ROOT_TYPE: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
CONFIG_TYPE: Final = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
_MOST_CERTIFICATES: Final = 16
_DETAILS: Final = {
    "ES256": "PKIX_ECDSA_P256_SHA_256",
    "ES384": "PKIX_ECDSA_P384_SHA_384",
    "ES512": "PKIX_ECDSA_P521_SHA_512",
    "Ed25519": "PKIX_ED25519",
}


@dataclass(frozen=True, slots=True)
class ServicePart:
    """Where something is, and when it is believed: aware times, both ends included."""

    url: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class AuthorityPart(ServicePart):
    """A certificate or timestamp authority; ``chain`` as :func:`read_chain` gives it."""

    chain: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class LogPart(ServicePart):
    """A log. ``origin`` is the first line of the checkpoints of a Rekor v2; empty for a v1 and for a CT log."""

    key: PublicKey
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """All of them. ``operator`` is who runs the services, as a signing config says it."""

    operator: str
    fulcio: Sequence[AuthorityPart] = ()
    ct_logs: Sequence[LogPart] = ()
    rekor: Sequence[LogPart] = ()
    tsa: Sequence[AuthorityPart] = ()
    oidc: Sequence[ServicePart] = ()


def read_chain(pem: bytes) -> tuple[Certificate, ...]:
    """Read the certificates of an authority: the one that issues (or stamps) first, its root last.

    Refuses with ``request.malformed``: ``chain_malformed`` (no PEM certificate, one that cannot be read, more than 16),
    ``chain_order`` (one that the next did not issue, or a last one that is no root).
    """
    try:
        chain = tuple(load_pem_x509_certificates(pem))
    except ValueError:
        raise Refusal("request.malformed", "chain_malformed", "expected certificates in PEM") from None
    if len(chain) > _MOST_CERTIFICATES:
        raise Refusal("request.malformed", "chain_malformed", f"expected at most {_MOST_CERTIFICATES} certificates")
    try:
        for certificate, issuer in zip(chain, (*chain[1:], chain[-1]), strict=True):
            certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        expected = "expected the issuing certificate first, and who issued each after it, up to the root"
        raise Refusal("request.malformed", "chain_order", expected) from None
    return chain


def trusted_root(parts: Parts) -> bytes:
    """Return ``trusted_root.json``: what of ``parts`` is genuine, and when."""
    return _text(
        {
            "mediaType": ROOT_TYPE,
            "tlogs": [_log(part) for part in parts.rekor],
            "certificateAuthorities": [_authority(part) for part in parts.fulcio],
            "ctlogs": [_log(part) for part in parts.ct_logs],
            "timestampAuthorities": [_authority(part) for part in parts.tsa],
        }
    )


def signing_config(parts: Parts) -> bytes:
    """Return ``signing_config.json``: where to sign; of several logs, and of several stamps, any one."""
    made: dict[str, object] = {
        "mediaType": CONFIG_TYPE,
        "caUrls": _services(parts.fulcio, parts.operator),
        "oidcUrls": _services(parts.oidc, parts.operator),
        "rekorTlogUrls": [_service(part, parts.operator, 2 if part.origin else 1) for part in parts.rekor],
    }
    # protobuf's readers demand a selector where there is something to select of.
    if parts.rekor:
        made["rekorTlogConfig"] = {"selector": "ANY"}
    made["tsaUrls"] = _services(parts.tsa, parts.operator)
    if parts.tsa:
        made["tsaConfig"] = {"selector": "ANY"}
    return _text(made)


def _text(made: dict[str, object]) -> bytes:
    # The JSON mapping of protobuf leaves empty lists out.
    given = {name: value for name, value in made.items() if value != []}
    return msgspec.json.format(msgspec.json.encode(given), indent=2) + b"\n"


def _services(parts: Iterable[ServicePart], operator: str) -> list[dict[str, object]]:
    return [_service(part, operator, 1) for part in parts]


def _service(part: ServicePart, operator: str, version: int) -> dict[str, object]:
    return {"url": part.url, "majorApiVersion": version, "validFor": _window(part), "operator": operator}


def _log(part: LogPart) -> dict[str, object]:
    key = {"rawBytes": _base64(part.key.spki), "keyDetails": _details(part.key), "validFor": _window(part)}
    return {
        "baseUrl": part.url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": key,
        "logId": {"keyId": _base64(_log_id(part))},
    }


def _details(key: PublicKey) -> str:
    if key.algorithm not in COSIGN_ALGORITHMS:
        raise Refusal("request.malformed", "key_type", f"no log or authority of Sigstore's has a {key.algorithm} key")
    loaded = load_der_public_key(key.spki)
    if isinstance(loaded, rsa.RSAPublicKey):
        if loaded.key_size not in (2048, 3072, 4096):
            raise Refusal("request.malformed", "key_size", "expected an RSA key of 2048, 3072 or 4096 bits")
        return f"PKIX_RSA_PKCS1V15_{loaded.key_size}_SHA256"
    return _DETAILS[key.algorithm]


def _log_id(part: LogPart) -> bytes:
    """Return the id by which entries and SCTs name the log: SHA-256 over the key (RFC 6962, 3.2), of a Rekor v2 with
    an Ed25519 key that of a signed note (C2SP ``signed-note``)."""
    loaded = load_der_public_key(part.key.spki)
    if part.origin and isinstance(loaded, ed25519.Ed25519PublicKey):
        return hashlib.sha256(part.origin.encode() + b"\n\x01" + loaded.public_bytes_raw()).digest()
    return hashlib.sha256(part.key.spki).digest()


def _authority(part: AuthorityPart) -> dict[str, object]:
    name = part.chain[-1].subject
    subject: dict[str, str] = {}
    for member, oid in (("organization", NameOID.ORGANIZATION_NAME), ("commonName", NameOID.COMMON_NAME)):
        found = name.get_attributes_for_oid(oid)
        if found:
            subject[member] = str(found[0].value)
    return {
        "subject": subject,
        "uri": part.url,
        "certChain": {
            "certificates": [{"rawBytes": _base64(each.public_bytes(Encoding.DER))} for each in part.chain]
        },
        "validFor": _window(part),
    }


def _window(part: ServicePart) -> dict[str, str]:
    ends = {"start": part.start, "end": part.end}
    return {name: _time(at) for name, at in ends.items() if at is not None}


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _base64(data: bytes) -> str:
    return encode_base64(data).decode()
