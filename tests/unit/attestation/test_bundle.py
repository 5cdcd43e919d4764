import base64
import copy
import hashlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

import signerd.attestation.bundle as module
from outside.parts import the
from signerd.attestation.bundle import (
    MEDIA_TYPE,
    Bundle,
    MessageSignature,
    dsse_envelope_bytes,
    keyful_bundle,
    parse_bundle,
    with_log_entries,
)
from signerd.attestation.dsse import Envelope, Signature, encode_base64
from signerd.errors import Refusal

OLD = "application/vnd.dev.sigstore.bundle+json;version=0."
PROOF = {
    "rootHash": "AA==",
    "treeSize": "2",
    "logIndex": "1",
    "hashes": ["AA=="],
    "checkpoint": {"envelope": "c"},
}
ENTRY = {
    "logId": {"keyId": "AA=="},
    "logIndex": "1",
    "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
    "integratedTime": "0",
    "inclusionProof": PROOF,
    "canonicalizedBody": "AA==",
}
GOOD: dict[str, Any] = {
    "mediaType": MEDIA_TYPE,
    "verificationMaterial": {
        "publicKey": {"hint": "h"},
        "tlogEntries": [ENTRY],
        "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": "AA=="}]},
    },
    "dsseEnvelope": {"payload": "YQ==", "payloadType": "t", "signatures": [{"sig": "Yg=="}]},
}
ABSENT = object()

texts = st.text(st.characters(exclude_categories=["Cs"]))


def altered(path: str, value: object) -> dict[str, Any]:
    """GOOD with the value at the dotted path replaced, or taken out."""
    whole = copy.deepcopy(GOOD)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place: Any = whole
    for step in steps:
        place = place[step]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return whole


def refused(bundle: object) -> str:
    with pytest.raises(Refusal) as caught:
        parse_bundle(json.dumps(bundle).encode())
    assert caught.value.code == "verification.failed"
    return caught.value.reason


@given(st.binary(), texts, st.binary(), texts)
def test_a_bundle_written_is_the_bundle_read(payload: bytes, kind: str, signature: bytes, hint: str) -> None:
    text = keyful_bundle(encode_base64(payload), kind, signature, hint)
    envelope = Envelope(kind, payload, (Signature(signature, None),))
    assert parse_bundle(text) == Bundle(MEDIA_TYPE, hint, (), envelope, (), ())


@given(st.binary(), texts, st.binary(), texts)
def test_bundle_and_envelope_are_rfc8785_of_the_whole(
    payload: bytes, kind: str, signature: bytes, hint: str
) -> None:
    envelope: dict[str, Any] = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }
    bundle: dict[str, Any] = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}},
        "dsseEnvelope": envelope,
    }
    assert keyful_bundle(base64.b64encode(payload), kind, signature, hint) == rfc8785.dumps(bundle)
    assert dsse_envelope_bytes(base64.b64encode(payload), kind, signature) == rfc8785.dumps(envelope)


def test_reads_everything_a_bundle_may_hold() -> None:
    read = parse_bundle(json.dumps(GOOD).encode())
    (entry,) = read.log_entries
    assert (entry.log_index, entry.tree_size, entry.hashes, entry.checkpoint) == (1, 2, (b"\0",), "c")
    assert entry.proof_index == 1
    assert read.timestamps == (b"\0",)
    assert read.hint == "h"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("verificationMaterial.tlogEntries", None),
        ("verificationMaterial.tlogEntries", []),
        ("verificationMaterial.timestampVerificationData", {}),
        ("verificationMaterial.timestampVerificationData.rfc3161Timestamps", None),
        ("verificationMaterial.certificate", None),
        ("verificationMaterial.publicKey", {}),
        ("verificationMaterial.tlogEntries.0.inclusionPromise", {"signedEntryTimestamp": "AA=="}),
        ("dsseEnvelope.signatures.0.keyid", ""),
        ("mediaType", f"{OLD}3"),
        ("mediaType", f"{OLD}2"),
    ],
)
def test_reads(path: str, value: object) -> None:
    parse_bundle(json.dumps(altered(path, value)).encode())


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("mediaType", ABSENT, "media_type"),
        ("mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json", "media_type"),
        ("mediaType", ["x"], "media_type"),
        ("mediaType", f"{OLD}1", "inclusion_promise_missing"),
        ("extra", 1, "bundle_malformed"),
        ("dsseEnvelope.extra", 1, "bundle_malformed"),
        ("dsseEnvelope.signatures.0.cert", "", "bundle_malformed"),
        ("verificationMaterial.extra", None, "bundle_malformed"),
        ("verificationMaterial.publicKey.rawBytes", "AA==", "bundle_malformed"),
        ("verificationMaterial.tlogEntries.0.logIndex", 1, "bundle_malformed"),
        ("verificationMaterial.tlogEntries.0.logIndex", "1\n", "bundle_malformed"),
        ("verificationMaterial.tlogEntries.0.logIndex", "01", "bundle_malformed"),
        ("verificationMaterial.tlogEntries.0.logIndex", "9223372036854775808", "int64_range"),
        ("verificationMaterial.tlogEntries.0.integratedTime", 1.5, "bundle_malformed"),
        ("verificationMaterial", ABSENT, "bundle_malformed"),
        ("dsseEnvelope", ABSENT, "content_count"),
        ("dsseEnvelope", None, "content_count"),
        ("messageSignature", {"signature": "AA=="}, "content_count"),
        ("messageSignature", {}, "bundle_malformed"),
        ("dsseEnvelope.signatures", [], "signature_count"),
        ("dsseEnvelope.signatures", [{"sig": "Yg=="}] * 2, "signature_count"),
        ("dsseEnvelope.payload", "YQ", "base64_malformed"),
        ("dsseEnvelope.payload", "YR==", "base64_malformed"),
        ("dsseEnvelope.signatures.0.sig", "-_8=", "base64_malformed"),
        ("verificationMaterial.publicKey", ABSENT, "material_count"),
        ("verificationMaterial.certificate", {"rawBytes": "AA=="}, "material_count"),
        ("verificationMaterial.tlogEntries.0.inclusionProof", None, "inclusion_proof_missing"),
        ("verificationMaterial.tlogEntries.0.inclusionProof.checkpoint", None, "inclusion_proof_missing"),
        ("verificationMaterial.tlogEntries", [ENTRY] * 2, "duplicate_log_entry"),
        (
            "verificationMaterial.tlogEntries",
            [{**ENTRY, "logIndex": str(n)} for n in range(33)],
            "too_many_log_entries",
        ),
        (
            "verificationMaterial.timestampVerificationData.rfc3161Timestamps",
            [{"signedTimestamp": "AA=="}] * 2,
            "duplicate_timestamp",
        ),
        (
            "verificationMaterial.timestampVerificationData.rfc3161Timestamps",
            [{"signedTimestamp": base64.b64encode(bytes([n])).decode()} for n in range(33)],
            "too_many_timestamps",
        ),
    ],
)
def test_refuses(path: str, value: object, reason: str) -> None:
    assert refused(altered(path, value)) == reason


def message(**said: Any) -> bytes:
    bundle = altered("dsseEnvelope", ABSENT)
    return json.dumps({**bundle, "messageSignature": {"signature": "Yg==", **said}}).encode()


def test_reads_a_signature_over_an_artefact() -> None:
    digest = {"algorithm": "SHA2_256", "digest": "YQ=="}
    assert parse_bundle(message(messageDigest=digest)).content == MessageSignature(b"b", "SHA2_256", b"a")
    assert parse_bundle(message()).content == MessageSignature(b"b", None, None)
    for wrong in ({"messageDigest": {"algorithm": "SHA2_256"}}, {"extra": 1}, {"signature": 1}):
        with pytest.raises(Refusal, match="bundle_malformed"):
            parse_bundle(message(**wrong))
    with pytest.raises(Refusal, match="base64_malformed"):
        parse_bundle(message(signature="-_8="))


def test_a_certificate_stands_alone_from_v03_on() -> None:
    certificate = {"rawBytes": "AA=="}
    leaf = altered("verificationMaterial.publicKey", ABSENT)
    leaf["verificationMaterial"]["certificate"] = certificate
    assert parse_bundle(json.dumps(leaf).encode()).certificates == (b"\0",)
    chain = altered("verificationMaterial.publicKey", ABSENT)
    chain["verificationMaterial"]["x509CertificateChain"] = {"certificates": [certificate, certificate]}
    assert refused(chain) == "certificate_chain"
    chain["mediaType"] = f"{OLD}2"
    assert parse_bundle(json.dumps(chain).encode()).certificates == (b"\0", b"\0")
    chain["verificationMaterial"]["x509CertificateChain"] = {"certificates": []}
    assert refused(chain) == "certificate_chain"


def test_text_that_is_no_json_is_refused_by_its_reason() -> None:
    with pytest.raises(Refusal) as caught:
        parse_bundle(b'{"a":1,"a":2}')
    assert (caught.value.code, caught.value.reason) == ("verification.failed", "duplicate_key")


def test_a_bundle_over_the_limit_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_BUNDLE", 10)
    with pytest.raises(Refusal, match="bundle_too_large"):
        parse_bundle(b"{" * 11)


@pytest.mark.needs("vectors")
def test_a_good_bundle_with_a_second_signature_is_refused() -> None:
    bundle = json.loads(
        (the("vectors") / "sigstore-go/pkg/testing/data/bundles/dsse.sigstore.json").read_text()
    )
    parse_bundle(json.dumps(bundle).encode())
    bundle["dsseEnvelope"]["signatures"] *= 2
    assert refused(bundle) == "signature_count"


@pytest.mark.needs("vectors")
@pytest.mark.parametrize(
    "name",
    [
        "sigstore-go/examples/bundle-publish.json",
        "sigstore-go/examples/bundle-provenance.json",
        "sigstore-go/pkg/testing/data/bundles/dsse.sigstore.json",
        "sigstore-conformance/bundle-verify/rekor2-dsse-happy-path/bundle.sigstore.json",
        "sigstore-conformance/bundle-verify/intoto-with-custom-trust-root/bundle.sigstore.json",
        "cosign/pkg/cosign/testdata/oci-attestation.sigstore.json",
    ],
)
def test_reads_what_other_signers_wrote(name: str) -> None:
    text = (the("vectors") / name).read_bytes()
    content = parse_bundle(text).content
    assert isinstance(content, Envelope)
    assert (
        hashlib.sha256(content.payload).digest()
        == hashlib.sha256(base64.b64decode(json.loads(text)["dsseEnvelope"]["payload"])).digest()
    )


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
places = st.sampled_from(
    [
        "mediaType",
        "verificationMaterial",
        "verificationMaterial.publicKey",
        "verificationMaterial.tlogEntries",
        "verificationMaterial.tlogEntries.0",
        "verificationMaterial.tlogEntries.0.inclusionProof",
        "verificationMaterial.tlogEntries.0.inclusionProof.hashes",
        "verificationMaterial.timestampVerificationData",
        "dsseEnvelope",
        "dsseEnvelope.signatures",
        "dsseEnvelope.signatures.0",
        "dsseEnvelope.payload",
        "new",
    ]
)


@given(places, any_json)
def test_any_value_of_a_field_gives_a_bundle_or_a_refusal(path: str, value: object) -> None:
    try:
        parse_bundle(json.dumps(altered(path, value)).encode())
    except Refusal as refusal:
        assert refusal.code == "verification.failed"  # noqa: PT017  # it may succeed too


@given(st.binary(max_size=80))
def test_any_bytes_are_refused(text: bytes) -> None:
    with pytest.raises(Refusal):
        parse_bundle(text)


def test_entries_that_come_later_leave_the_rest_as_it_is() -> None:
    text = keyful_bundle(encode_base64(b"{}"), "t", b"signature", "hint")
    entries = [rfc8785.dumps({**ENTRY, "logIndex": str(index)}) for index in (1, 2)]
    whole = with_log_entries(text, entries)
    before, after = parse_bundle(text), parse_bundle(whole)
    assert after.content == before.content
    assert [entry.log_index for entry in after.log_entries] == [1, 2]
    assert json.loads(whole)["dsseEnvelope"] == json.loads(text)["dsseEnvelope"]
    assert whole == rfc8785.dumps(json.loads(whole))
    # One that it has is not there twice: a reader refuses that.
    assert with_log_entries(whole, entries[1:]) == whole
    assert with_log_entries(text, []) == rfc8785.dumps({**json.loads(text), "verificationMaterial": {
        **json.loads(text)["verificationMaterial"], "tlogEntries": []
    }})  # fmt: skip


@pytest.mark.parametrize(
    "text", [b"{}", b'{"verificationMaterial":[]}', b'{"verificationMaterial":{"tlogEntries":{}}}']
)
def test_what_has_no_place_for_an_entry(text: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        with_log_entries(text, [rfc8785.dumps(ENTRY)])
    assert refused.value.reason == "bundle_malformed"
