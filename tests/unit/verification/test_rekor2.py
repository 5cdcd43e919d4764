import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from fakes.gost import SoftGost
from fakes.sigstore import b64, jcs, new_key, spki
from outside.parts import the
from signerd.attestation.bundle import LogEntry, parse_bundle
from signerd.attestation.dsse import Envelope, Signature, pae
from signerd.errors import Refusal
from signerd.verification.certificates import SigningCertificate
from signerd.verification.keys import PublicKey
from signerd.verification.rekor2 import bodies, check_body, hashedrekord_request, key_details
from signerd.verification.signed import Signed, verify_message

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


def entry(kind: str, text: bytes) -> LogEntry:
    return LogEntry(b"", 0, kind, "0.0.2", text, 0, None, None, None, 0, (), 0)


def refused(kind: str, text: bytes, signed: Signed = SIGNED) -> str:
    with pytest.raises(Refusal) as caught:
        check_body(entry(kind, text), signed)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


def test_the_body_is_rebuilt() -> None:
    check_body(entry("hashedrekord", HASHEDREKORD), SIGNED)
    check_body(entry("dsse", DSSE), SIGNED)
    assert bodies("hashedrekord", SIGNED) == (HASHEDREKORD,)


def test_any_other_body_is_refused() -> None:
    for kind, good in (("hashedrekord", HASHEDREKORD), ("dsse", DSSE)):
        for wrong in (b"", good + b"\n", good.replace(b'"0.0.2"', b'"0.0.1"'), good.replace(b"P256", b"P384")):
            assert refused(kind, wrong) == "log_entry_body"
    assert refused("dsse", HASHEDREKORD) == "log_entry_body"
    by_certificate = Signed.over_envelope(ENVELOPE, KEY, b"leaf")
    assert refused("hashedrekord", HASHEDREKORD, by_certificate) == "log_entry_body"


def test_kinds_that_cannot_be_about_it() -> None:
    assert refused("intoto", HASHEDREKORD) == "log_entry_kind"
    plain = verify_message(PRIVATE.sign(b"x", ec.ECDSA(SHA256())), KEY, None, sha256=None, content=b"x")
    assert refused("dsse", DSSE, plain) == "log_entry_kind"
    edwards = ed25519.Ed25519PrivateKey.generate()
    envelope = Envelope("t", b"{}", (Signature(edwards.sign(MESSAGE), None),))
    without_hash = Signed.over_envelope(envelope, PublicKey.from_spki(spki(edwards)), None)
    assert refused("hashedrekord", HASHEDREKORD, without_hash) == "log_entry_kind"
    with pytest.raises(ValueError, match="no hashedrekord"):
        hashedrekord_request(without_hash, "PKIX_ED25519")
    with pytest.raises(ValueError, match="no hashedrekord"):
        hashedrekord_request(SIGNED, "PKIX_ECDSA_P384_SHA_384")


def test_rsa_keys_have_a_name_for_each_size() -> None:
    private = rsa.generate_private_key(65537, 2048)
    signature = private.sign(MESSAGE, padding.PKCS1v15(), SHA256())
    envelope = Envelope("t", b"{}", (Signature(signature, None),))
    signed = Signed.over_envelope(envelope, PublicKey.from_spki(spki(private)), None)
    for text in bodies("hashedrekord", signed):
        check_body(entry("hashedrekord", text), signed)
    assert len(bodies("hashedrekord", signed)) == 3


@pytest.mark.needs("vectors")
def test_the_reconstruction_of_a_real_entry() -> None:
    vector = json.loads((the("vectors") / "rekor-tiles" / "dsse-as-hashedrekord-reconstruction.json").read_text())
    folder = the("vectors") / "sigstore-conformance/bundle-verify/rekor2-dsse-happy-path"
    bundle = parse_bundle((folder / "bundle.sigstore.json").read_bytes())
    leaf = SigningCertificate.read(bundle.certificates[0])
    assert isinstance(bundle.content, Envelope)
    signed = Signed.over_envelope(bundle.content, leaf.key, leaf.der)
    (rebuilt,) = bodies("hashedrekord", signed)
    assert rebuilt == bundle.log_entries[0].body == vector["canonicalized_body_utf8"].encode()
    assert hashedrekord_request(signed, "PKIX_ECDSA_P256_SHA_256") == vector["create_entry_request"]


@pytest.mark.parametrize("private", [ed25519.Ed25519PrivateKey.generate(), SoftGost()])
def test_what_no_log_takes_has_no_details(private: ed25519.Ed25519PrivateKey | SoftGost) -> None:
    der = private.spki if isinstance(private, SoftGost) else spki(private)
    with pytest.raises(Refusal) as caught:
        key_details(PublicKey.from_spki(der))
    assert (caught.value.code, caught.value.reason) == ("key.algorithm_refused", "not_logged")
