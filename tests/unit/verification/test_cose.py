import hashlib

import pytest

from outside.signed import ARTIFACT, TYPE, Key, statement
from signerd.attestation.cose import cose_head, cose_tail, protected_header, signature_structure
from signerd.errors import Refusal
from signerd.verification.cose import verify_cose, verify_cose_statement
from signerd.verification.fixed_length import to_fixed
from signerd.verification.keys import PublicKey

PAYLOAD = statement()
DIGEST = hashlib.sha256(ARTIFACT).hexdigest()
ALGORITHMS = ["ES256", "ES384", "ES512", "Ed25519"]
KEYS = {algorithm: Key(algorithm) for algorithm in ALGORITHMS}
STRANGERS = {algorithm: Key(algorithm) for algorithm in ALGORITHMS}


def public(key: Key) -> PublicKey:
    return PublicKey.from_spki(key.spki)


def signed(key: Key, payload: bytes = PAYLOAD, *, named: str = "", header: bytes | None = None) -> bytes:
    """A message; its header is that of the key unless another is given, its algorithm's name the key's."""
    if header is None:
        header = protected_header(named or key.algorithm, hashlib.sha256(key.spki).digest())
    signature = key.sign(signature_structure(header, len(payload)) + payload)
    return cose_head(header, len(payload)) + payload + cose_tail(to_fixed(key.algorithm, signature))


def refused(data: bytes, key: Key) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        verify_cose(data, public(key))
    return caught.value.code, caught.value.reason


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_payload_of_what_the_key_signed(algorithm: str) -> None:
    key = KEYS[algorithm]
    message = signed(key)
    assert verify_cose(message, public(key)) == PAYLOAD
    assert verify_cose(memoryview(message), public(key)) == PAYLOAD


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_key_has_not_signed_it(algorithm: str) -> None:
    failed = ("verification.failed", "signature_invalid")
    assert refused(signed(KEYS[algorithm]), STRANGERS[algorithm]) == failed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_byte_may_be_another(algorithm: str) -> None:
    message = signed(KEYS[algorithm])
    step = max(1, len(message) // 150)
    for place in range(0, len(message), step):
        altered = message[:place] + bytes([message[place] ^ 1]) + message[place + 1 :]
        code, _ = refused(altered, KEYS[algorithm])
        assert code == "verification.failed"


def test_the_message_names_the_keys_own_algorithm() -> None:
    failed = ("verification.failed", "algorithm_mismatch")
    assert refused(signed(KEYS["ES256"], named="ES384"), KEYS["ES256"]) == failed
    assert refused(signed(KEYS["Ed25519"], named="ES256"), KEYS["Ed25519"]) == failed
    assert refused(signed(KEYS["ES256"]), KEYS["ES384"]) == failed


def test_a_key_that_cose_has_no_algorithm_for() -> None:
    assert refused(signed(KEYS["ES256"]), Key("RSA-PKCS1-SHA256")) == ("key.algorithm_refused", "no_cose_algorithm")


def test_a_signature_in_der_is_none() -> None:
    key = KEYS["ES256"]
    header = protected_header("ES256", bytes(32))
    signature = key.sign(signature_structure(header, len(PAYLOAD)) + PAYLOAD)
    message = cose_head(header, len(PAYLOAD)) + PAYLOAD + cose_tail(signature)
    assert refused(message, key) == ("verification.failed", "signature_invalid")


def test_a_dsse_signature_is_none_of_a_message() -> None:
    from signerd.attestation.dsse import pae
    from signerd.attestation.statement import PAYLOAD_TYPE

    key = KEYS["Ed25519"]
    header = protected_header("Ed25519", bytes(32))
    message = cose_head(header, len(PAYLOAD)) + PAYLOAD + cose_tail(key.sign(pae(PAYLOAD_TYPE, PAYLOAD)))
    assert refused(message, key) == ("verification.failed", "signature_invalid")


@pytest.mark.parametrize("header", [b"\xa1\x01\x26", b"\xa2\x01\x26\x03\x60", b"\xa2\x01\x26\x03\x69text/json"])
def test_another_content_type_is_no_statement(header: bytes) -> None:
    assert refused(signed(KEYS["ES256"], header=header), KEYS["ES256"]) == ("verification.failed", "payload_type")


def test_the_key_id_decides_nothing() -> None:
    key = KEYS["ES256"]
    header = protected_header("ES256", hashlib.sha256(STRANGERS["ES256"].spki).digest())
    assert verify_cose(signed(key, header=header), public(key)) == PAYLOAD


def test_a_statement_is_judged_as_that_of_a_bundle() -> None:
    key = KEYS["ES384"]
    found = verify_cose_statement(signed(key), public(key), artifact_sha256=DIGEST, predicate_type=TYPE)
    assert found.verified
    assert [check.name for check in found.checks] == [
        "cose",
        "signature",
        "payload_type",
        "statement",
        "subject",
        "predicate_type",
    ]
    assert (found.predicate_type, found.statement, found.keyid) == (TYPE, PAYLOAD, public(key).keyid)
    assert [subject.name for subject in found.subjects] == ["artifact"]


@pytest.mark.parametrize(
    ("data", "asked", "failed", "reason"),
    [
        (b"\xd2", {}, "cose", "cbor_malformed"),
        (signed(STRANGERS["ES256"]), {}, "signature", "signature_invalid"),
        (signed(KEYS["ES256"], b"{}"), {}, "statement", "field_malformed"),
        (signed(KEYS["ES256"], b"text"), {}, "statement", "not_json"),
        (signed(KEYS["ES256"]), {"artifact_sha256": "0" * 64}, "subject", "subject_mismatch"),
        (signed(KEYS["ES256"]), {"predicate_type": "https://x"}, "predicate_type", "predicate_type_mismatch"),
    ],
)
def test_the_check_that_failed(data: bytes, asked: dict[str, str], failed: str, reason: str) -> None:
    found = verify_cose_statement(data, public(KEYS["ES256"]), **asked)
    assert not found.verified
    assert found.failure is not None
    assert (found.failure.name, found.failure.reason) == (failed, reason)
    assert found.statement is None
    assert found.keyid is None
