import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

import signerd.verification.bundle as module
from outside.parts import the
from signerd.attestation.bundle import keyful_bundle
from signerd.attestation.dsse import Signature, encode_base64, encode_envelope, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement
from signerd.verification.bundle import Verification, printable, verify_bundle, verify_envelope
from signerd.verification.keys import PublicKey

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


@given(st.text())
def test_shown_text_is_printable_and_short(text: str) -> None:
    assert all(" " <= character <= "~" for character in printable(text))
    assert len(printable(text)) <= 203 * 10


def test_shown_text_keeps_what_is_plain() -> None:
    assert printable("a b~") == "a b~"
    assert printable("\x1b[31mé\n") == r"\x1b[31m\xe9\n"
