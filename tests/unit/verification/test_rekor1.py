import copy
import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256

from fakes.sigstore import NOW, Sigstore, b64, new_key, spki
from signerd.attestation.bundle import LogEntry
from signerd.attestation.dsse import Envelope, Signature, pae
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey
from signerd.verification.rekor1 import check_body, check_promise
from signerd.verification.signed import Signed, verify_message

STACK = Sigstore()
PRIVATE = new_key()
KEY = PublicKey.from_spki(spki(PRIVATE))
LEAF = STACK.leaf(PRIVATE)
PAYLOAD = b"{}"
ENVELOPE_SIGNATURE = PRIVATE.sign(pae("t", PAYLOAD), ec.ECDSA(SHA256()))
ENVELOPE = Envelope("t", PAYLOAD, (Signature(ENVELOPE_SIGNATURE, None),))
BY_CERTIFICATE = Signed.over_envelope(ENVELOPE, KEY, LEAF)
BY_KEY = Signed.over_envelope(ENVELOPE, KEY, None)
CONTENT = b"artefact"
CONTENT_SIGNATURE = PRIVATE.sign(CONTENT, ec.ECDSA(SHA256()))
MESSAGE = verify_message(CONTENT_SIGNATURE, KEY, None, sha256=None, content=CONTENT)
PAYLOAD_HASH = {"algorithm": "sha256", "value": hashlib.sha256(PAYLOAD).hexdigest()}


def pem(kind: str, der: bytes) -> str:
    return b64(f"-----BEGIN {kind}-----\n{b64(der)}\n-----END {kind}-----\n".encode())


HASHEDREKORD = {
    "apiVersion": "0.0.1",
    "kind": "hashedrekord",
    "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(CONTENT).hexdigest()}},
        "signature": {"content": b64(CONTENT_SIGNATURE), "publicKey": {"content": pem("PUBLIC KEY", KEY.spki)}},
    },
}
DSSE = {
    "apiVersion": "0.0.1",
    "kind": "dsse",
    "spec": {
        "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
        "payloadHash": PAYLOAD_HASH,
        "signatures": [{"signature": b64(ENVELOPE_SIGNATURE), "verifier": pem("CERTIFICATE", LEAF)}],
    },
}
INTOTO = {
    "apiVersion": "0.0.2",
    "kind": "intoto",
    "spec": {
        "content": {
            "envelope": {
                "payloadType": "t",
                "signatures": [
                    {"publicKey": pem("CERTIFICATE", LEAF), "sig": b64(b64encode(ENVELOPE_SIGNATURE))}
                ],
            },
            "hash": {"algorithm": "sha256", "value": "0" * 64},
            "payloadHash": PAYLOAD_HASH,
        }
    },
}


def entry(said: dict[str, Any], **changed: Any) -> LogEntry:

    made = STACK.entry1(said)
    fields: dict[str, Any] = {
        "log_id": b64decode(made["logId"]["keyId"]),
        "log_index": int(made["logIndex"]),
        "kind": said["kind"],
        "version": said["apiVersion"],
        "body": b64decode(made["canonicalizedBody"]),
        "integrated_time": int(made["integratedTime"]),
        "promise": b64decode(made["inclusionPromise"]["signedEntryTimestamp"]),
        "checkpoint": made["inclusionProof"]["checkpoint"]["envelope"],
        "root_hash": b64decode(made["inclusionProof"]["rootHash"]),
        "tree_size": 3,
        "hashes": (),
        "proof_index": 1,
    }
    assert json.loads(fields["body"]) == said
    return LogEntry(**{**fields, **changed})


def refused(said: dict[str, Any], signed: Signed, **changed: Any) -> str:
    with pytest.raises(Refusal) as caught:
        check_body(entry(said, **changed), signed)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


def altered(body: dict[str, Any], *path: str | int, value: object) -> dict[str, Any]:
    whole = copy.deepcopy(body)
    place: Any = whole
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return whole


def test_bodies_about_this_signature() -> None:
    check_body(entry(HASHEDREKORD), MESSAGE)
    digest = hashlib.sha256(pae("t", PAYLOAD)).hexdigest()
    of_envelope = altered(HASHEDREKORD, "spec", "data", "hash", "value", value=digest)
    of_envelope = altered(of_envelope, "spec", "signature", "content", value=b64(ENVELOPE_SIGNATURE))
    check_body(entry(of_envelope), BY_KEY)
    check_body(entry(DSSE), BY_CERTIFICATE)
    check_body(entry(INTOTO), BY_CERTIFICATE)
    check_body(entry(altered(DSSE, "spec", "signatures", 0, "verifier", value=pem("PUBLIC KEY", KEY.spki))), BY_KEY)


REKORD_KEY = ("spec", "signature", "publicKey", "content")
INTOTO_SIGNATURE = ("spec", "content", "envelope", "signatures", 0)
OTHER_LEAF = STACK.leaf(new_key())


@pytest.mark.parametrize(
    ("body", "path", "value", "reason"),
    [
        (HASHEDREKORD, ("spec", "data", "hash", "value"), "0" * 64, "log_entry_digest"),
        (HASHEDREKORD, ("spec", "data", "hash", "algorithm"), "sha512", "log_entry_digest"),
        (HASHEDREKORD, ("spec", "signature", "content"), b64(b"other"), "log_entry_signature"),
        (HASHEDREKORD, ("spec", "signature", "content"), 1, "log_entry_malformed"),
        (HASHEDREKORD, REKORD_KEY, pem("PUBLIC KEY", spki(new_key())), "log_entry_key"),
        (HASHEDREKORD, REKORD_KEY, pem("CERTIFICATE", LEAF), "log_entry_key"),
        (HASHEDREKORD, REKORD_KEY, b64(b"no PEM"), "log_entry_malformed"),
        (HASHEDREKORD, REKORD_KEY, pem("PUBLIC KEY", KEY.spki)[:-8], "log_entry_malformed"),
        (HASHEDREKORD, ("spec", "signature"), None, "log_entry_malformed"),
        (HASHEDREKORD, ("spec",), [], "log_entry_malformed"),
        (HASHEDREKORD, ("kind",), "dsse", "log_entry_kind"),
        (HASHEDREKORD, ("apiVersion",), "0.0.3", "log_entry_kind"),
        (DSSE, ("spec", "payloadHash", "value"), "0" * 64, "log_entry_digest"),
        (DSSE, ("spec", "payloadHash", "algorithm"), "sha1", "log_entry_digest"),
        (DSSE, ("spec", "signatures"), DSSE["spec"]["signatures"] * 2, "log_entry_signature"),  # type: ignore[index]
        (DSSE, ("spec", "signatures"), [], "log_entry_signature"),
        (DSSE, ("spec", "signatures", 0, "signature"), b64(b"other"), "log_entry_signature"),
        (DSSE, ("spec", "signatures", 0, "verifier"), pem("CERTIFICATE", OTHER_LEAF), "log_entry_key"),
        (DSSE, ("spec", "signatures", 0, "verifier"), pem("PUBLIC KEY", KEY.spki), "log_entry_key"),
        (INTOTO, ("spec", "content", "payloadHash", "value"), "0" * 64, "log_entry_digest"),
        (INTOTO, ("spec", "content", "envelope", "payloadType"), "u", "log_entry_digest"),
        (INTOTO, (*INTOTO_SIGNATURE, "sig"), b64(b"\xff"), "log_entry_malformed"),
        (INTOTO, (*INTOTO_SIGNATURE, "sig"), b64(b64encode(b"x")), "log_entry_signature"),
        (INTOTO, (*INTOTO_SIGNATURE, "publicKey"), pem("CERTIFICATE", OTHER_LEAF), "log_entry_key"),
    ],
)
def test_bodies_about_something_else(
    body: dict[str, Any], path: tuple[str | int, ...], value: object, reason: str
) -> None:
    signed = MESSAGE if body is HASHEDREKORD else BY_CERTIFICATE
    changed = altered(body, *path, value=value)
    assert refused(changed, signed, kind=body["kind"], version=body["apiVersion"]) == reason


def test_kinds_belong_to_what_was_signed() -> None:
    assert refused(HASHEDREKORD, BY_KEY) == "log_entry_digest"
    assert refused(DSSE, MESSAGE) == "log_entry_kind"
    assert refused(INTOTO, MESSAGE) == "log_entry_kind"
    assert refused(DSSE, BY_KEY) == "log_entry_key"
    assert refused(INTOTO, BY_CERTIFICATE, version="0.0.1") == "log_entry_kind"
    assert refused(HASHEDREKORD, MESSAGE, kind="rekord") == "log_entry_kind"
    assert refused(HASHEDREKORD, MESSAGE, body=b'{"kind":1,"kind":1}') == "log_entry_malformed"
    edwards = ed25519.Ed25519PrivateKey.generate()
    plain = verify_message(edwards.sign(b"x"), PublicKey.from_spki(spki(edwards)), None, sha256=None, content=b"x")
    assert refused(HASHEDREKORD, plain) == "log_entry_digest"


@pytest.mark.parametrize(
    "change",
    [
        lambda e: {"integrated_time": e.integrated_time + 1},
        lambda e: {"log_index": e.log_index + 1},
        lambda e: {"body": e.body + b" "},
        lambda e: {"log_id": bytes(32)},
        lambda e: {"promise": b""},
        lambda e: {"promise": None},
    ],
)
def test_a_promise_is_of_every_field(change: Callable[[LogEntry], dict[str, Any]]) -> None:
    good = entry(DSSE)
    key = PublicKey.from_spki(spki(STACK.rekor1))
    check_promise(good, key)
    assert good.integrated_time == int(NOW.timestamp())
    with pytest.raises(Refusal, match="log_promise"):
        check_promise(entry(DSSE, **change(good)), key)
    with pytest.raises(Refusal, match="log_promise"):
        check_promise(good, KEY)
