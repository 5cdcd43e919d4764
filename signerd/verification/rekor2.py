"""Entries of a Rekor v2 log (rekor-tiles), which are rebuilt from what was signed and compared byte for byte.

Source: ``rekor-tiles/CLIENTS.md`` and ``api/proto/rekor/v2``. A DSSE envelope is logged as a ``hashedrekord`` over its
PAE; entries of the older kind ``dsse``, which logs no longer take, are still read.
"""

import hashlib
from collections.abc import Mapping
from typing import Final, NoReturn

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signerd.attestation.bundle import LogEntry
from signerd.attestation.canonical import canonical_json
from signerd.attestation.dsse import encode_base64
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey
from signerd.verification.signed import KEY_DETAILS, Signed

__all__ = ["VERSION", "bodies", "check_body", "hashedrekord_request", "key_details"]

VERSION: Final = "0.0.2"


def check_body(entry: LogEntry, signed: Signed) -> None:
    """Refuse unless the entry's body is the one that this signature, key and message make.

    Reasons, of ``verification.failed``: ``log_entry_kind``, ``log_entry_body``.
    """
    if entry.body not in bodies(entry.kind, signed):
        _refuse("log_entry_body", "the log entry is about another signature, key or artefact")


def bodies(kind: str, signed: Signed) -> tuple[bytes, ...]:
    """Return the canonical bodies (RFC 8785) that an entry about ``signed`` may have: one for each name of
    its key's details.

    Refuses ``log_entry_kind`` for a kind that cannot be about it.
    """
    if kind == "hashedrekord" and signed.algorithm is not None and signed.digest is not None:
        specs = [{"hashedRekordV002": spec} for spec in _hashedrekord(signed)]
    elif kind == "dsse" and signed.envelope is not None:
        specs = [{"dsseV002": spec} for spec in _dsse(signed)]
    else:
        _refuse("log_entry_kind", f"an entry of kind {kind} {VERSION} cannot be about this signature")
    return tuple(canonical_json({"apiVersion": VERSION, "kind": kind, "spec": spec}) for spec in specs)


def key_details(key: PublicKey) -> str:
    """Return the name of what ``key`` signs with, as a Rekor v2 log takes it.

    Refuses ``key.algorithm_refused`` (``not_logged``) for a key that no such log takes: Ed25519, which it takes over a
    digest alone (Ed25519ph), RSA of other sizes, and what Sigstore has no name for.
    """
    if key.algorithm == "RSA-PKCS1-SHA256":
        loaded = load_der_public_key(key.spki)
        size = loaded.key_size if isinstance(loaded, rsa.RSAPublicKey) else 0
        names = {f"PKIX_RSA_PKCS1V15_{size}_SHA256"} & KEY_DETAILS[key.algorithm]
    else:
        names = set() if key.algorithm == "Ed25519" else set(KEY_DETAILS.get(key.algorithm, ()))
    if len(names) != 1:
        raise Refusal("key.algorithm_refused", "not_logged", "no transparency log takes signatures by this type of key")
    return names.pop()


def hashedrekord_request(signed: Signed, key_details: str) -> dict[str, object]:
    """Return the body of ``POST /api/v2/log/entries`` for ``signed``, before it is written as JSON.

    Raises ValueError where such an entry cannot be about it or its key has other details.
    """
    if signed.digest is None or key_details not in KEY_DETAILS[signed.key.algorithm]:
        raise ValueError(f"no hashedrekord request for {signed.key.algorithm} as {key_details}")
    return {
        "hashedRekordRequestV002": {
            "digest": _base64(signed.digest),
            "signature": {"content": _base64(signed.signature), "verifier": _verifier(signed, key_details)},
        }
    }


def _hashedrekord(signed: Signed) -> list[dict[str, object]]:
    return [
        {
            "data": {"algorithm": signed.algorithm, "digest": _base64(signed.digest or b"")},
            "signature": {"content": _base64(signed.signature), "verifier": _verifier(signed, details)},
        }
        for details in sorted(KEY_DETAILS[signed.key.algorithm])
    ]


def _dsse(signed: Signed) -> list[dict[str, object]]:
    payload = b"" if signed.envelope is None else signed.envelope.payload
    digest = _base64(hashlib.sha256(payload).digest())
    return [
        {
            "payloadHash": {"algorithm": "SHA2_256", "digest": digest},
            "signatures": [{"content": _base64(signed.signature), "verifier": _verifier(signed, details)}],
        }
        for details in sorted(KEY_DETAILS[signed.key.algorithm])
    ]


def _verifier(signed: Signed, details: str) -> Mapping[str, object]:
    if signed.certificate is None:
        return {"keyDetails": details, "publicKey": {"rawBytes": _base64(signed.key.spki)}}
    return {"keyDetails": details, "x509Certificate": {"rawBytes": _base64(signed.certificate)}}


def _base64(data: bytes) -> str:
    return encode_base64(data).decode()


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public)
