import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

import signerd.verification.bundle as module
from fakes.sigstore import ISSUER, NOW, SAN, Sigstore, b64
from outside.parts import the
from signerd.attestation.bundle import keyful_bundle
from signerd.attestation.dsse import Signature, encode_base64, encode_envelope, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement
from signerd.verification.bundle import Verification, verify_bundle, verify_envelope
from signerd.verification.certificates import Identity
from signerd.verification.evidence import Requirements
from signerd.verification.keys import PublicKey
from signerd.verification.trusted_root import parse_trusted_root

PRIVATE = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
DIGEST = hashlib.sha256(b"artefact").hexdigest()
URI = "https://example.com/attestation/v1"
STATEMENT = build_statement([Subject("artefact", {"sha256": DIGEST})], URI, b"{}")


def public(private: Any) -> PublicKey:
    return PublicKey.from_spki(
        private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )


KEY, OTHER, SECOND = public(PRIVATE), public(ec.generate_private_key(ec.SECP256R1())), public(ED25519)


def sign(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    return PRIVATE.sign(pae(payload_type, payload), ec.ECDSA(SHA256(), deterministic_signing=True))


def signed(payload: bytes = STATEMENT, payload_type: str = PAYLOAD_TYPE, hint: str = KEY.hint) -> bytes:
    return keyful_bundle(encode_base64(payload), payload_type, sign(payload, payload_type), hint)


def changed(change: Callable[[Any], None]) -> bytes:
    bundle = json.loads(signed())
    change(bundle)
    return json.dumps(bundle).encode()


def failure(verification: Verification) -> tuple[str, str]:
    """The check that failed, and that nothing of the bundle is passed on."""
    assert not verification.verified
    assert (verification.predicate_type, verification.subjects, verification.statement) == (None, (), None)
    assert verification.failure is not None
    return verification.failure.name, verification.failure.reason


def test_a_good_bundle() -> None:
    verification = verify_bundle(signed(), KEY, artifact_sha256=DIGEST, predicate_type=URI)
    assert verification.verified
    assert verification.failure is None
    assert (verification.predicate_type, verification.statement) == (URI, STATEMENT)
    assert verification.subjects == (Subject("artefact", {"sha256": DIGEST}),)
    assert [(check.name, check.outcome) for check in verification.checks] == [
        ("bundle", "passed"),
        ("material", "passed"),
        ("keyid", "passed"),
        ("signature", "passed"),
        ("payload_type", "passed"),
        ("statement", "passed"),
        ("subject", "passed"),
        ("predicate_type", "passed"),
        ("transparency", "skipped"),
        ("timestamp", "skipped"),
    ]


def test_what_is_not_asked_for_is_skipped_not_passed() -> None:
    verification = verify_bundle(signed(), KEY)
    assert verification.verified
    outcomes = {check.name: check.outcome for check in verification.checks}
    assert outcomes["subject"] == outcomes["predicate_type"] == "skipped"


def test_log_entries_and_timestamps_are_never_passed() -> None:
    def add(bundle: Any) -> None:
        bundle["verificationMaterial"]["timestampVerificationData"] = {
            "rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]
        }

    verification = verify_bundle(changed(add), KEY)
    assert verification.verified
    assert [
        check.outcome for check in verification.checks if check.name in ("transparency", "timestamp")
    ] == ["skipped", "skipped"]


def set_payload(bundle: Any) -> None:
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(STATEMENT.replace(b"artefact", b"artifact")).decode()


def set_signature(bundle: Any) -> None:
    signature = bytearray(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    signature[-1] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()


def set_type(bundle: Any) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "application/json"


def add_signature(bundle: Any) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


def set_keyid(keyid: str, hint: str | None = None) -> Callable[[Any], None]:
    def change(bundle: Any) -> None:
        bundle["dsseEnvelope"]["signatures"][0]["keyid"] = keyid
        if hint is not None:
            bundle["verificationMaterial"]["publicKey"]["hint"] = hint

    return change


def set_certificate(bundle: Any) -> None:
    bundle["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}}


@pytest.mark.parametrize(
    ("change", "name", "reason"),
    [
        (set_payload, "signature", "signature_invalid"),
        (set_signature, "signature", "signature_invalid"),
        (set_type, "signature", "signature_invalid"),
        (add_signature, "bundle", "signature_count"),
        (set_keyid("sha256:00"), "keyid", "keyid_not_hint"),
        (set_keyid(KEY.openssh_fingerprint or ""), "keyid", "keyid_not_hint"),
        (set_keyid(KEY.keyid, KEY.keyid), "keyid", "keyid_foreign"),
        (set_certificate, "material", "identity_required"),
    ],
)
def test_an_altered_bundle(change: Callable[[Any], None], name: str, reason: str) -> None:
    assert failure(verify_bundle(changed(change), KEY)) == (name, reason)


def test_the_fingerprint_as_keyid_and_hint_is_the_other_good_form() -> None:
    fingerprint = KEY.openssh_fingerprint or ""
    assert verify_bundle(changed(set_keyid(fingerprint, fingerprint)), KEY).verified


def test_the_hint_decides_nothing() -> None:
    verification = verify_bundle(signed(hint=OTHER.hint), KEY)
    assert verification.verified
    assert [check.outcome for check in verification.checks if check.name == "material"] == ["skipped"]
    assert failure(verify_bundle(signed(hint=OTHER.hint), OTHER)) == ("signature", "signature_invalid")


def test_wrong_key_artefact_and_type() -> None:
    assert failure(verify_bundle(signed(), OTHER)) == ("signature", "signature_invalid")
    assert failure(verify_bundle(signed(), KEY, artifact_sha256="0" * 64)) == ("subject", "subject_mismatch")
    wrong_type = verify_bundle(signed(), KEY, predicate_type="https://example.com/attestation/v2")
    assert failure(wrong_type) == ("predicate_type", "predicate_type_mismatch")


def test_what_is_signed_but_no_statement() -> None:
    assert failure(verify_bundle(signed(b"hello", "text/plain"), KEY)) == ("payload_type", "payload_type")
    assert failure(verify_bundle(signed(b"hello"), KEY)) == ("statement", "not_json")
    twice = STATEMENT[:-1] + b',"predicate":{}}'
    assert failure(verify_bundle(signed(twice), KEY)) == ("statement", "duplicate_key")


def test_a_bundle_over_the_limit_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signerd.attestation.bundle.LARGEST_BUNDLE", 100)
    assert failure(verify_bundle(signed(), KEY)) == ("bundle", "bundle_too_large")
    monkeypatch.setattr(module, "LARGEST_BUNDLE", 100)
    assert failure(verify_envelope(b"{" * 101, [KEY])) == ("envelope", "envelope_too_large")


@pytest.mark.needs("vectors")
def test_the_keyful_bundle_that_npm_published() -> None:
    folder = the("vectors") / "sigstore-go" / "examples"
    key = PublicKey.from_pem((folder / "publish_key.pub").read_text())
    text = (folder / "bundle-publish.json").read_bytes()
    verification = verify_bundle(text, key)
    assert verification.verified
    assert verification.predicate_type == "https://github.com/npm/attestation/tree/main/specs/publish/v0.1"
    assert ("transparency", "skipped") in [(check.name, check.outcome) for check in verification.checks]
    assert failure(verify_bundle(text, KEY))[0] == "keyid"
    assert failure(verify_bundle(text, key, artifact_sha256=DIGEST)) == ("subject", "subject_mismatch")


@given(st.binary(max_size=80), st.integers(0, 2000), st.binary(min_size=1, max_size=3))
def test_any_bytes_give_an_answer(noise: bytes, place: int, damage: bytes) -> None:
    good = signed()
    place %= len(good)
    assert not verify_bundle(noise, KEY).verified
    damaged = good[:place] + damage + good[place + len(damage) :]
    verification = verify_bundle(damaged, KEY)
    assert not verification.verified or verification.statement == STATEMENT
    assert not verify_envelope(noise, [KEY]).verified


def enveloped(*signatures: Signature, payload: bytes = STATEMENT, payload_type: str = PAYLOAD_TYPE) -> bytes:
    return encode_envelope(encode_base64(payload), payload_type, signatures)


FIRST_SIGNED = Signature(sign(STATEMENT), KEY.envelope_keyid)
SECOND_SIGNED = Signature(ED25519.sign(pae(PAYLOAD_TYPE, STATEMENT)), SECOND.envelope_keyid)


def test_an_envelope_of_two_keys() -> None:
    text = enveloped(FIRST_SIGNED, SECOND_SIGNED)
    verification = verify_envelope(
        text, [KEY, SECOND], threshold=2, artifact_sha256=DIGEST, predicate_type=URI
    )
    assert verification.verified
    assert verification.statement == STATEMENT
    assert verify_envelope(text, [KEY, SECOND, OTHER], threshold=2).verified
    assert failure(verify_envelope(text, [KEY, SECOND, OTHER], threshold=3)) == ("signature", "threshold")
    assert failure(verify_envelope(text, [OTHER])) == ("signature", "threshold")


def test_an_envelope_over_a_bare_document() -> None:
    document, kind = b'{"replay":1}', "application/vnd.example+json"
    by_it = Signature(PRIVATE.sign(pae(kind, document), ec.ECDSA(SHA256())), None)
    text = enveloped(by_it, payload=document, payload_type=kind)
    verification = verify_envelope(text, [KEY], payload_type=kind)
    assert (verification.verified, verification.statement, verification.subjects) == (True, document, ())
    assert failure(verify_envelope(text, [KEY])) == ("payload_type", "payload_type")
    assert failure(verify_envelope(text, [OTHER], payload_type=kind)) == ("signature", "threshold")
    of_a_statement = verify_envelope(enveloped(FIRST_SIGNED), [KEY], payload_type=kind)
    assert failure(of_a_statement) == ("payload_type", "payload_type")
    for asked in ({"artifact_sha256": DIGEST}, {"predicate_type": URI}):
        with pytest.raises(ValueError, match="no subjects"):
            verify_envelope(text, [KEY], payload_type=kind, **asked)


def test_one_key_counts_once_whatever_its_signatures_call_themselves() -> None:
    again = Signature(PRIVATE.sign(pae(PAYLOAD_TYPE, STATEMENT), ec.ECDSA(SHA256())), SECOND.envelope_keyid)
    text = enveloped(FIRST_SIGNED, again)
    assert verify_envelope(text, [KEY, SECOND]).verified
    assert failure(verify_envelope(text, [KEY, SECOND], threshold=2)) == ("signature", "threshold")
    with pytest.raises(ValueError, match="threshold"):
        verify_envelope(text, [KEY, KEY], threshold=2)
    with pytest.raises(ValueError, match="threshold"):
        verify_envelope(text, [KEY], threshold=0)
    with pytest.raises(ValueError, match="threshold"):
        verify_envelope(text, [])


def test_a_keyid_decides_nothing_in_an_envelope() -> None:
    nameless = enveloped(Signature(FIRST_SIGNED.sig, None), Signature(SECOND_SIGNED.sig, KEY.envelope_keyid))
    assert verify_envelope(nameless, [KEY, SECOND], threshold=2).verified


def test_an_altered_envelope() -> None:
    assert failure(verify_envelope(enveloped(FIRST_SIGNED, payload=b"{}"), [KEY])) == (
        "signature",
        "threshold",
    )
    assert failure(verify_envelope(enveloped(FIRST_SIGNED, payload_type="t"), [KEY])) == (
        "signature",
        "threshold",
    )
    assert failure(verify_envelope(b"{}", [KEY])) == ("envelope", "envelope_malformed")
    other_type = Signature(sign(b"x", "t"), None)
    assert failure(verify_envelope(enveloped(other_type, payload=b"x", payload_type="t"), [KEY])) == (
        "payload_type",
        "payload_type",
    )


# Certificates, messages, and what stands beside a signature.

STACK = Sigstore()
ROOT = parse_trusted_root(STACK.trusted_root())
KEYLESS = STACK.keyless(STATEMENT)
IDENTITY = Identity(SAN, ISSUER)


def keyless(bundle: Any, **more: Any) -> Verification:
    return verify_bundle(json.dumps(bundle).encode(), IDENTITY, trusted_root=ROOT, now=NOW, **more)


def test_a_good_bundle_by_a_certificate() -> None:
    verification = keyless(KEYLESS, artifact_sha256=DIGEST, predicate_type=URI)
    assert [(check.name, check.outcome) for check in verification.checks] == [
        ("bundle", "passed"),
        ("material", "passed"),
        ("identity", "passed"),
        ("signature", "passed"),
        ("payload_type", "passed"),
        ("statement", "passed"),
        ("subject", "passed"),
        ("predicate_type", "passed"),
        ("transparency", "passed"),
        ("timestamp", "passed"),
        ("log_window", "passed"),
        ("certificate", "passed"),
        ("sct", "passed"),
    ]
    assert verification.require() is verification
    assert (verification.san, verification.issuer, verification.times) == (SAN, ISSUER, (NOW,))


def test_a_key_and_an_identity_are_not_taken_for_each_other() -> None:
    assert failure(keyless(json.loads(signed()))) == ("material", "key_required")
    assert failure(verify_bundle(json.dumps(KEYLESS).encode(), KEY, trusted_root=ROOT)) == (
        "material",
        "identity_required",
    )


def test_nothing_is_proven_without_a_trusted_root() -> None:
    with pytest.raises(ValueError, match="trusted root"):
        verify_bundle(json.dumps(KEYLESS).encode(), IDENTITY)
    with pytest.raises(ValueError, match="trusted root"):
        verify_bundle(signed(), KEY, requirements=Requirements())


def logged(bundle: Any) -> None:
    message = pae(PAYLOAD_TYPE, STATEMENT)
    raw = base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"])
    body = Sigstore.hashedrekord2(
        hashlib.sha256(message).digest(), raw, {"publicKey": {"rawBytes": b64(KEY.spki)}}
    )
    bundle["verificationMaterial"]["tlogEntries"] = [STACK.entry2(body)]


def test_a_key_with_a_trusted_root_needs_a_log_entry() -> None:
    verification = verify_bundle(changed(logged), KEY, trusted_root=ROOT)
    assert verification.verified
    assert (verification.log_entries, verification.keyid, verification.transparency) == (1, KEY.keyid, "passed")
    assert failure(verify_bundle(signed(), KEY, trusted_root=ROOT)) == ("transparency", "log_entry_missing")
    nothing = Requirements(log_entries=0)
    assert verify_bundle(signed(), KEY, trusted_root=ROOT, requirements=nothing).transparency == "skipped"
    stamped = Requirements(log_entries=0, timestamps=1)
    assert failure(verify_bundle(signed(), KEY, trusted_root=ROOT, requirements=stamped)) == (
        "timestamp",
        "timestamp_missing",
    )


CONTENT = b"artefact"


def message_signed(algorithm: str = "SHA2_256", digest: bytes | None = None, **said: Any) -> bytes:
    hashed = hashlib.new(algorithm.replace("SHA2_", "sha"), CONTENT).digest() if digest is None else digest
    message = {
        "signature": b64(PRIVATE.sign(CONTENT, ec.ECDSA(SHA256()))),
        "messageDigest": {"algorithm": algorithm, "digest": b64(hashed)},
        **said,
    }
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": KEY.hint}},
            "messageSignature": message,
        }
    ).encode()


def test_a_signature_over_an_artefact() -> None:
    for verification in (
        verify_bundle(message_signed(), KEY, artifact=CONTENT),
        verify_bundle(message_signed(), KEY, artifact_sha256=DIGEST),
    ):
        assert verification.verified
        assert (verification.statement, verification.subjects, verification.predicate_type) == (None, (), None)
    assert verify_bundle(message_signed("SHA2_512"), KEY, artifact=CONTENT).verified
    assert verify_bundle(message_signed(messageDigest=None), KEY, artifact=CONTENT).verified


def test_what_is_not_one() -> None:
    assert failure(verify_bundle(message_signed(), KEY)) == ("signature", "artifact_needed")
    assert failure(verify_bundle(message_signed(), KEY, artifact=b"other")) == ("signature", "signature_invalid")
    assert failure(verify_bundle(message_signed(), OTHER, artifact=CONTENT)) == ("signature", "signature_invalid")
    wrong = message_signed(digest=bytes(32))
    assert failure(verify_bundle(wrong, KEY, artifact=CONTENT)) == ("subject", "subject_mismatch")
    unchecked = message_signed("SHA2_512", digest=bytes(64))
    assert failure(verify_bundle(unchecked, KEY, artifact=CONTENT)) == ("subject", "subject_mismatch")
    assert failure(verify_bundle(unchecked, KEY, artifact_sha256=DIGEST)) == ("subject", "subject_mismatch")
    md5 = message_signed().replace(b"SHA2_256", b"MD5")
    assert failure(verify_bundle(md5, KEY, artifact=CONTENT)) == ("subject", "digest_algorithm")
    typed = verify_bundle(message_signed(), KEY, artifact=CONTENT, predicate_type=URI)
    assert failure(typed) == ("predicate_type", "not_an_attestation")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all texts in a JSON value."""
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in places(inner, (*path, key))]
    if isinstance(value, list):
        return [found for index, inner in enumerate(value) for found in places(inner, (*path, index))]
    return [path]


PLACES = places(KEYLESS)


@settings(deadline=None)
@given(st.sampled_from(PLACES), st.integers(0, 10_000), st.integers(1, 255), st.data())
def test_no_mutation_verifies_as_anything_else(
    path: tuple[Any, ...], at: int, damage: int, data: st.DataObject
) -> None:
    bundle = json.loads(json.dumps(KEYLESS))
    place = bundle
    for step in path[:-1]:
        place = place[step]
    text = place[path[-1]]
    try:
        raw = bytearray(base64.b64decode(text, validate=True))
    except ValueError:
        raw = bytearray()
    if raw and data.draw(st.booleans()):
        raw[at % len(raw)] ^= damage
        place[path[-1]] = b64(raw)
    else:
        at %= len(text)
        place[path[-1]] = text[:at] + data.draw(st.text(max_size=2)) + text[at + 1 :]
    verification = keyless(bundle)
    if bundle != KEYLESS and verification.verified:
        # The bytes around a stamp's token are signed by nobody, and the two spellings of v0.3 are both good.
        assert path[-1] in {"signedTimestamp", "mediaType"}
    if verification.verified:
        assert (verification.statement, verification.times, verification.san) == (STATEMENT, (NOW,), SAN)


@settings(deadline=None)
@given(st.integers(0, 20_000), st.binary(min_size=1, max_size=3))
def test_no_damage_to_the_bytes_verifies_as_anything_else(place: int, damage: bytes) -> None:
    good = json.dumps(KEYLESS).encode()
    place %= len(good)
    damaged = good[:place] + damage + good[place + len(damage) :]
    verification = verify_bundle(damaged, IDENTITY, trusted_root=ROOT, now=NOW)
    if verification.verified:
        assert (verification.statement, verification.times, verification.san) == (STATEMENT, (NOW,), SAN)
