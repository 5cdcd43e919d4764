import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from fakes.sigstore import b64, jcs, new_key, spki
from signerd.attestation.dsse import Envelope, Signature, pae
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey
from signerd.verification.logged import signed_by_body
from signerd.verification.signed import Signed

PRIVATE = new_key()
KEY = PublicKey.from_spki(spki(PRIVATE))
MESSAGE = pae("t", b"{}")
SIGNATURE = PRIVATE.sign(MESSAGE, ec.ECDSA(SHA256()))
ENVELOPE = Envelope("t", b"{}", (Signature(SIGNATURE, None),))
SIGNED = Signed.over_envelope(ENVELOPE, KEY, None)
VERIFIER = {"keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": {"rawBytes": b64(KEY.spki)}}


def body(kind: str, spec: dict[str, Any]) -> bytes:
    return jcs({"apiVersion": "0.0.2", "kind": kind, "spec": spec})


HASHEDREKORD = body(
    "hashedrekord",
    {
        "hashedRekordV002": {
            "data": {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(MESSAGE).digest())},
            "signature": {"content": b64(SIGNATURE), "verifier": VERIFIER},
        }
    },
)
DSSE = body(
    "dsse",
    {
        "dsseV002": {
            "payloadHash": {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(b"{}").digest())},
            "signatures": [{"content": b64(SIGNATURE), "verifier": VERIFIER}],
        }
    },
)


def test_a_body_tells_whose_signature_it_is_about() -> None:
    told = signed_by_body(HASHEDREKORD)
    assert (told.signature, told.key, told.certificate, told.digest) == (SIGNATURE, KEY, None, SIGNED.digest)


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    told = json.loads(HASHEDREKORD)
    change(told["spec"]["hashedRekordV002"])
    return jcs(told)


def other_digest(spec: dict[str, Any]) -> None:
    spec["data"]["digest"] = b64(hashlib.sha256(b"other").digest())


def other_hash(spec: dict[str, Any]) -> None:
    spec["data"]["algorithm"] = "SHA2_384"


def other_key(spec: dict[str, Any]) -> None:
    spec["signature"]["verifier"]["publicKey"]["rawBytes"] = b64(spki(new_key()))


def no_key(spec: dict[str, Any]) -> None:
    del spec["signature"]["verifier"]["publicKey"]


def no_certificate(spec: dict[str, Any]) -> None:
    spec["signature"]["verifier"] = {"x509Certificate": {"rawBytes": b64(b"none")}}


def one_more(spec: dict[str, Any]) -> None:
    spec["more"] = 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff", "log_entry_body"),
        (b"{}", "log_entry_body"),
        (DSSE, "log_entry_body"),
        (changed(other_digest), "signature_invalid"),
        (changed(other_hash), "log_entry_body"),
        (changed(other_key), "signature_invalid"),
        (changed(no_key), "log_entry_body"),
        (changed(no_certificate), "certificate_malformed"),
        (changed(one_more), "log_entry_body"),
    ],
)
def test_a_body_that_tells_of_no_signature(text: bytes, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        signed_by_body(text)
    assert caught.value.reason == reason
