import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from fakes.sigstore import ISSUER, NOW, SAN, Sigstore, Witnessing, new_key, spki
from signerd.attestation.bundle import keyful_bundle
from signerd.attestation.dsse import encode_base64, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement
from signerd.verification.evaluation import Evaluation, evaluate
from signerd.verification.keys import PublicKey
from signerd.verification.policy import parse_policy
from signerd.verification.trusted_root import parse_trusted_root

STACK = Sigstore()
ROOT = parse_trusted_root(STACK.trusted_root())
URI = "https://example.com/attestation/v1"
DIGEST = "0" * 64
STATEMENT = build_statement([Subject("app", {"sha256": DIGEST})], URI, b"{}")
PRIVATE, SECOND = new_key(), new_key()
KEY, OTHER = PublicKey.from_spki(spki(PRIVATE)), PublicKey.from_spki(spki(SECOND))
KEYLESS = json.dumps(STACK.keyless(STATEMENT)).encode()
BY_KEY = {"trustedKeyFingerprints": [KEY.keyid]}
BY_ISSUER = {"trustedIssuers": [ISSUER], "trustedIdentities": [SAN]}


def keyful(private: ec.EllipticCurvePrivateKey = PRIVATE, statement: bytes = STATEMENT, hint: str = "") -> bytes:
    signature = private.sign(pae(PAYLOAD_TYPE, statement), ec.ECDSA(SHA256()))
    return keyful_bundle(encode_base64(statement), PAYLOAD_TYPE, signature, hint)


def evaluated(
    signers: dict[str, Any], *bundles: bytes, policy: dict[str, Any] | None = None, **more: Any
) -> Evaluation:
    said = {"policyId": "p", "version": "1.0.0", "predicateTypes": [URI], "signerRequirements": signers}
    given = {"keys": [KEY, OTHER], "trusted_root": ROOT, "now": NOW, **more}
    return evaluate(parse_policy(json.dumps({**said, **(policy or {})}).encode()), bundles, **given)


def failed(evaluation: Evaluation) -> str:
    assert not evaluation.verified
    assert evaluation.failure is not None
    return evaluation.failure.reason


def test_a_key_by_its_fingerprint() -> None:
    evaluation = evaluated(BY_KEY, keyful(), artifact_sha256=DIGEST)
    assert evaluation.verified
    assert evaluation.transparency == "skipped"
    assert [(check.name, check.outcome) for check in evaluation.checks] == [
        ("tenant_scope", "skipped"),
        ("signatures", "passed"),
    ]
    names = [check.name for check in evaluation.bundles[0].checks]
    assert names[-3:] == ["signer", "predicate_type", "freshness"]
    assert len(evaluation.rationale) == len(evaluation.checks) + len(names)
    assert evaluated(BY_KEY, keyful(), trusted_root=None).verified
    assert failed(evaluated(BY_KEY, keyful(), artifact_sha256="1" * 64)) == "subject_mismatch"
    assert failed(evaluated(BY_KEY, keyful(SECOND))) == "signature_invalid"
    assert failed(evaluated(BY_KEY, keyful(), keys=[OTHER])) == "signer_untrusted"
    assert evaluated({"trustedKeys": [KEY.pem]}, keyful(), keys=()).verified


def test_a_certificate_by_its_issuer_and_identity() -> None:
    evaluation = evaluated(BY_ISSUER, KEYLESS)
    assert evaluation.verified
    assert evaluated({"trustedIssuers": [ISSUER]}, KEYLESS).verified
    assert failed(evaluated({**BY_ISSUER, "trustedIdentities": ["other"]}, KEYLESS)) == "signer_untrusted"
    assert failed(evaluated({"trustedIssuers": ["https://other.example"]}, KEYLESS)) == "signer_untrusted"
    assert failed(evaluated({**BY_ISSUER, "algorithms": ["Ed25519"]}, KEYLESS)) == "signer_untrusted"
    assert failed(evaluated(BY_ISSUER, KEYLESS, trusted_root=None)) == "trusted_root_missing"
    assert evaluation.transparency == "passed"


def test_proofs_that_a_policy_demands() -> None:
    assert failed(evaluated({**BY_KEY, "requireRekor": True}, keyful())) == "log_entry_missing"
    assert evaluated({**BY_KEY, "requireRekor": True}, keyful()).transparency == "failed"
    assert failed(evaluated({**BY_KEY, "requireRekor": True}, keyful(), trusted_root=None)) == "trusted_root_missing"
    assert failed(evaluated({**BY_KEY, "requireTimestamp": True}, keyful())) == "timestamp_missing"
    assert evaluated({**BY_ISSUER, "requireRekor": True, "requireTimestamp": True}, KEYLESS).verified
    leaf = STACK.leaf(PRIVATE, scts=[])
    without = json.dumps(STACK.keyless(STATEMENT, key=PRIVATE, leaf=leaf)).encode()
    assert failed(evaluated(BY_ISSUER, without)) == "sct_missing"
    assert evaluated({**BY_ISSUER, "requireSct": False}, without).verified
    witness = Witnessing()
    witnessed = {**BY_ISSUER, "witnesses": [witness.vkey], "minimumWitnesses": 1}
    assert failed(evaluated(witnessed, KEYLESS)) == "witnesses_missing"
    cosigned = json.dumps(STACK.keyless(STATEMENT, witnesses=[witness])).encode()
    assert evaluated(witnessed, cosigned).bundles[0].witnesses == 1


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ({"notBefore": "2026-05-01T12:00:01Z"}, "before_window"),
        ({"notAfter": "2026-05-01T11:59:59Z"}, "after_window"),
        ({"maxAttestationAge": 59}, "too_old"),
        ({"notBefore": "2026-05-01T12:00:00Z", "notAfter": "2026-05-01T12:00:00Z", "maxAttestationAge": 60}, None),
    ],
)
def test_freshness(window: dict[str, Any], reason: str | None) -> None:
    evaluation = evaluated(
        BY_ISSUER, KEYLESS, policy={"validityWindow": window}, now=NOW + timedelta(seconds=60)
    )
    assert evaluation.verified == (reason is None)
    if reason is not None:
        assert failed(evaluation) == reason


def test_no_signature_is_fresh_by_its_own_word() -> None:
    window = {"validityWindow": {"maxAttestationAge": 10**9}}
    assert failed(evaluated(BY_KEY, keyful(), policy=window)) == "no_trusted_time"


def test_signers_are_counted_once_and_over_one_statement() -> None:
    two = {"trustedKeyFingerprints": [KEY.keyid, OTHER.keyid], "minimumSignatures": 2}
    assert evaluated(two, keyful(), keyful(SECOND)).verified
    assert failed(evaluated(two, keyful(), keyful())) == "threshold"
    assert failed(evaluated(two, keyful())) == "threshold"
    other = build_statement([Subject("app", {"sha256": DIGEST})], URI, b'{"a":1}')
    assert failed(evaluated(two, keyful(), keyful(SECOND, other))) == "threshold"
    certificates = {**BY_ISSUER, "minimumSignatures": 2}
    again = json.dumps(STACK.keyless(STATEMENT)).encode()
    assert failed(evaluated(certificates, KEYLESS, again)) == "threshold"
    assert evaluated({**certificates, **BY_KEY}, KEYLESS, keyful()).verified


def test_a_bad_bundle_takes_nothing_away() -> None:
    """Whoever can add bundles could else block those that are good."""
    evaluation = evaluated(BY_KEY, b"junk", keyful(new_key()), keyful(hint=OTHER.hint), KEYLESS)
    assert evaluation.verified
    assert [verification.verified for verification in evaluation.bundles] == [False, False, True, False]
    assert failed(evaluated(BY_KEY)) == "threshold"
    assert failed(evaluated(BY_KEY, b"junk")) == "not_json"


def test_what_is_signed_must_be_of_a_type_of_the_policy() -> None:
    types = {"predicateTypes": ["https://example.com/other/v1"]}
    assert failed(evaluated(BY_KEY, keyful(), policy=types)) == "predicate_type_mismatch"
    content = b"artefact"
    message = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": KEY.hint}},
        "messageSignature": {"signature": encode_base64(PRIVATE.sign(content, ec.ECDSA(SHA256()))).decode()},
    }
    digest = hashlib.sha256(content).hexdigest()
    evaluation = evaluated(BY_KEY, json.dumps(message).encode(), artifact_sha256=digest)
    assert failed(evaluation) == "not_an_attestation"


def test_a_policy_of_one_tenant() -> None:
    scope = {"tenantScope": "acme"}
    assert evaluated(BY_KEY, keyful(), policy=scope).verified
    assert evaluated(BY_KEY, keyful(), policy=scope, tenant="acme").verified
    assert evaluated(BY_KEY, keyful(), tenant="anybody").verified
    assert failed(evaluated(BY_KEY, keyful(), policy=scope, tenant="other")) == "tenant_scope"
