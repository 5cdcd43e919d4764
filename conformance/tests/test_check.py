import base64
import copy
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from outside.parts import the
from signerd.attestation.bundle import keyful_bundle, parse_bundle
from signerd.attestation.dsse import encode_base64, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey
from signerd_conformance.check import RULES, check
from signerd_conformance.evidence import Evidence

PRIVATE = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
URI = "https://example.com/v1"
A = "a" * 64


def public(private: Any) -> PublicKey:
    return PublicKey.from_spki(
        private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )


KEY = public(PRIVATE)
STATEMENT = build_statement([Subject("a", {"sha256": A})], URI, b"{}")


def signed(payload: bytes = STATEMENT, payload_type: str = PAYLOAD_TYPE) -> bytes:
    signature = PRIVATE.sign(pae(payload_type, payload), ec.ECDSA(SHA256()))
    return keyful_bundle(encode_base64(payload), payload_type, signature, KEY.hint)


ENTRY = {
    "logId": {"keyId": "AA=="},
    "logIndex": "1",
    "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
    "canonicalizedBody": "AA==",
    "inclusionProof": {
        "rootHash": "AA==",
        "treeSize": "2",
        "checkpoint": {"envelope": "c"},
        "hashes": ["AA=="],
    },
}
WHOLE: dict[str, Any] = json.loads(signed())
WHOLE["verificationMaterial"]["tlogEntries"] = [ENTRY]
WHOLE["verificationMaterial"]["timestampVerificationData"] = {
    "rfc3161Timestamps": [{"signedTimestamp": "AA=="}]
}
ABSENT = object()


def altered(path: str, value: object) -> bytes:
    whole = copy.deepcopy(WHOLE)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place: Any = whole
    for step in steps:
        place = place[step]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return json.dumps(whole).encode()


def broken(text: bytes, **given_: Any) -> set[str]:
    return {finding.rule.name for finding in check(Evidence.read(text, **given_)) if finding.status == "FAIL"}


def test_names_are_stable_and_single() -> None:
    assert [rule.name for rule in RULES] == [
        "size",
        "json",
        "media-type",
        "fields",
        "integers",
        "base64",
        "content",
        "one-signature",
        "material",
        "leaf-only",
        "keyid",
        "hint",
        "limits",
        "inclusion",
        "payload-type",
        "signature",
        "signature-der",
        "statement-json",
        "statement-type",
        "statement-fields",
        "predicate-type",
        "subjects",
        "digests",
        "names",
        "artefact",
        "canonical-bundle",
        "canonical-payload",
        "newest-form",
        "full-subjects",
    ]
    assert all(rule.source for rule in RULES)


def test_nothing_is_broken_in_what_signerd_writes() -> None:
    findings = check(Evidence.read(signed(), key=KEY, digests={"sha256": A}, strict=True))
    assert {finding.status for finding in findings} == {"ok", "skip"}
    assert [finding.rule.name for finding in findings if finding.status == "skip"] == [
        "leaf-only",
        "inclusion",
    ]
    assert broken(json.dumps(WHOLE).encode(), key=KEY) == set()


SIG = "dsseEnvelope.signatures.0.sig"
ENTRIES = "verificationMaterial.tlogEntries"
R, S = decode_dss_signature(base64.b64decode(WHOLE["dsseEnvelope"]["signatures"][0]["sig"]))
RAW = base64.b64encode(R.to_bytes(32, "big") + S.to_bytes(32, "big")).decode()


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json", "media-type"),
        ("extra", 1, "fields"),
        ("dsseEnvelope.signatures.0.cert", "x", "fields"),
        ("dsseEnvelope.payloadType", 1, "fields"),
        (f"{ENTRIES}.0.logIndex", 1, "integers"),
        (f"{ENTRIES}.0.logIndex", "1x", "integers"),
        (f"{ENTRIES}.0.inclusionProof.treeSize", 2, "integers"),
        (SIG, "-_8=", "base64"),
        (f"{ENTRIES}.0.inclusionProof.hashes", ["AA"], "base64"),
        ("messageSignature", {}, "content"),
        ("dsseEnvelope", ABSENT, "content"),
        ("dsseEnvelope.signatures", WHOLE["dsseEnvelope"]["signatures"] * 2, "one-signature"),
        ("dsseEnvelope.signatures", [], "one-signature"),
        (SIG, ABSENT, "one-signature"),
        ("verificationMaterial.certificate", {"rawBytes": "MAA="}, "material"),
        ("verificationMaterial.publicKey", ABSENT, "material"),
        ("verificationMaterial.x509CertificateChain", {"certificates": [{"rawBytes": "MAA="}]}, "leaf-only"),
        ("verificationMaterial.certificate", {"rawBytes": "LS0tLQ=="}, "leaf-only"),
        ("verificationMaterial.certificate", {"rawBytes": "MAAA"}, "leaf-only"),
        ("dsseEnvelope.signatures.0.keyid", "sha256:00", "keyid"),
        (ENTRIES, [ENTRY, ENTRY], "limits"),
        (ENTRIES, [{**ENTRY, "logIndex": str(n)} for n in range(33)], "limits"),
        ("verificationMaterial.timestampVerificationData.rfc3161Timestamps", [{}], "limits"),
        (f"{ENTRIES}.0.inclusionProof", ABSENT, "inclusion"),
        (f"{ENTRIES}.0.inclusionProof.checkpoint", None, "inclusion"),
        ("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.1", "inclusion"),
        ("dsseEnvelope.payloadType", "application/vnd.in-toto.x+json", "payload-type"),
        ("dsseEnvelope.payload", "e30=", "signature"),
        (SIG, RAW, "signature-der"),
        ("dsseEnvelope.payload", "AA==", "statement-json"),
    ],
)
def test_a_broken_rule_of_the_bundle(path: str, value: object, rule: str) -> None:
    assert rule in broken(altered(path, value), key=KEY)


def statement(**fields: object) -> bytes:
    whole = {**json.loads(STATEMENT), **fields}
    return signed(json.dumps(whole).encode())


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"_type": "https://in-toto.io/Statement/v2"}, "statement-type"),
        ({"extra": 1}, "statement-fields"),
        ({"predicate": []}, "statement-fields"),
        ({"subject": [{"x": 1, "digest": {"sha256": A}}]}, "statement-fields"),
        ({"predicateType": "stella.ops/vexDecision@v1"}, "predicate-type"),
        ({"subject": []}, "subjects"),
        ({"subject": [{"name": "a"}]}, "subjects"),
        ({"subject": [{"digest": {"sha256": A}}] * 1025}, "subjects"),
        ({"subject": [{"digest": {"sha256": A.upper()}}]}, "digests"),
        ({"subject": [{"digest": {"sha256": "aa"}}]}, "digests"),
        ({"subject": [{"name": "a\x1b[2J", "digest": {"sha256": A}}]}, "names"),
        ({"subject": [{"name": "a", "digest": {"sha256": A}}] * 2}, "names"),
        ({"subject": [{"name": "a", "digest": {"sha256": "b" * 64}}]}, "artefact"),
    ],
)
def test_a_broken_rule_of_the_statement(fields: dict[str, object], rule: str) -> None:
    found = broken(statement(**fields), key=KEY, digests={"sha256": A})
    # With no subject left that has the digest, the artefact is missed too.
    assert {rule} <= found <= {rule, "artefact", "subjects", "digests"}


def test_a_statement_that_reads_two_ways() -> None:
    assert broken(signed(STATEMENT[:-1] + b',"predicate":{}}'), key=KEY) == {"statement-json"}


def test_a_bundle_that_reads_two_ways() -> None:
    assert broken(signed()[:-1] + b',"mediaType":"%b"}' % WHOLE["mediaType"].encode(), key=KEY) == {"json"}


def test_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signerd_conformance.check.LARGEST_BUNDLE", 10)
    monkeypatch.setattr("signerd_conformance.evidence.LARGEST_BUNDLE", 10)
    assert broken(signed()) == {"size", "json"}


def test_the_wrong_key() -> None:
    assert broken(signed(), key=public(ec.generate_private_key(ec.SECP256R1()))) == {"signature"}
    assert broken(signed(), key=public(ED25519)) == {"signature"}


def test_every_sane_signature_of_the_curve_is_der() -> None:
    for _ in range(50):
        findings = check(Evidence.read(signed(), key=KEY))
        assert {f.rule.name: f.status for f in findings}["signature-der"] == "ok"


@pytest.mark.needs("vectors")
@pytest.mark.parametrize(
    "name",
    [
        "sigstore-go/examples/bundle-provenance.json",
        "sigstore-go/pkg/testing/data/bundles/dsse.sigstore.json",
        "sigstore-conformance/bundle-verify/rekor2-dsse-happy-path/bundle.sigstore.json",
        "sigstore-conformance/bundle-verify/intoto-with-custom-trust-root/bundle.sigstore.json",
        "cosign/pkg/cosign/testdata/oci-attestation.sigstore.json",
    ],
)
def test_what_others_wrote_breaks_nothing(name: str) -> None:
    assert broken((the("vectors") / name).read_bytes()) == set()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
places = st.sampled_from(
    [
        "mediaType",
        "verificationMaterial",
        "verificationMaterial.publicKey",
        "verificationMaterial.publicKey.hint",
        "verificationMaterial.certificate",
        "verificationMaterial.timestampVerificationData",
        ENTRIES,
        f"{ENTRIES}.0",
        f"{ENTRIES}.0.inclusionProof",
        f"{ENTRIES}.0.inclusionProof.hashes",
        f"{ENTRIES}.0.kindVersion",
        f"{ENTRIES}.0.logId.keyId",
        f"{ENTRIES}.0.integratedTime",
        "dsseEnvelope",
        "dsseEnvelope.payload",
        "dsseEnvelope.payloadType",
        "dsseEnvelope.signatures",
        "dsseEnvelope.signatures.0",
        "dsseEnvelope.signatures.0.keyid",
        SIG,
        "new",
    ]
)


@given(places, any_json | st.just(ABSENT))
def test_whatever_the_strict_reader_refuses_breaks_a_rule(path: str, value: object) -> None:
    if path == "new" and value is ABSENT:
        return
    try:
        text = altered(path, value)
    except KeyError:
        return
    found = broken(text)
    try:
        parse_bundle(text)
    except Refusal:
        assert found


@given(
    st.binary(max_size=60) | st.recursive(st.none(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_judged(text: bytes) -> None:
    findings = check(Evidence.read(text, key=KEY, digests={"sha256": A}, strict=True))
    assert len(findings) == len(RULES)
    assert any(finding.status == "FAIL" for finding in findings)
    assert all(" " <= character <= "~" for finding in findings for character in finding.seen)
