import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.sigstore import Witnessing, new_key, spki
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey
from signerd.verification.policy import LARGEST_POLICY, parse_policy

KEY, OTHER = (PublicKey.from_spki(spki(new_key())) for _ in range(2))
SIGNERS: dict[str, Any] = {"trustedKeyFingerprints": [KEY.keyid]}
POLICY: dict[str, Any] = {
    "policyId": "release",
    "version": "1.2.3",
    "predicateTypes": ["https://example.com/attestation/v1"],
    "signerRequirements": SIGNERS,
}


def text(signers: dict[str, Any] | None = None, **changes: Any) -> bytes:
    said = {**POLICY, **changes}
    return json.dumps({**said, "signerRequirements": {**SIGNERS, **(signers or {})}}).encode()


def refused(data: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        parse_policy(data)
    assert caught.value.code == "request.malformed"
    return caught.value.reason


def test_reads_a_policy() -> None:
    policy = parse_policy(text())
    assert (policy.policy_id, policy.version, policy.tenant_scope) == ("release", "1.2.3", "*")
    assert policy.digest == hashlib.sha256(text()).hexdigest()
    assert policy.signers.minimum_signatures == 1
    assert (policy.requirements.log_entries, policy.requirements.timestamps, policy.requirements.sct) == (0, 0, True)
    assert (policy.not_before, policy.not_after, policy.max_age) == (None, None, None)


def test_reads_everything_that_a_policy_may_say() -> None:
    witness = Witnessing()
    policy = parse_policy(
        text(
            {
                "minimumSignatures": 2,
                "trustedKeys": [KEY.pem],
                "trustedIssuers": ["https://issuer.example"],
                "trustedIdentities": ["me@example.com"],
                "algorithms": ["ES256"],
                "requireRekor": True,
                "requireTimestamp": True,
                "requireSct": False,
                "witnesses": [witness.vkey],
                "minimumWitnesses": 1,
            },
            description="what is released",
            tenantScope="acme",
            validityWindow={
                "notBefore": "2026-01-01T00:00:00Z",
                "notAfter": "2026-12-31T23:59:59+01:00",
                "maxAttestationAge": 3600,
            },
            metadata={"team": ["a"]},
        )
    )
    needs = policy.requirements
    assert (needs.log_entries, needs.timestamps, needs.sct, needs.witness_threshold) == (1, 1, False, 1)
    assert [found.name for found in needs.witnesses] == [witness.name]
    assert policy.keys == (KEY,)
    assert policy.not_before == datetime(2026, 1, 1, tzinfo=UTC)
    assert policy.not_after == datetime(2026, 12, 31, 22, 59, 59, tzinfo=UTC)
    assert policy.max_age == timedelta(hours=1)


def test_whom_it_trusts() -> None:
    policy = parse_policy(text({"trustedIssuers": ["https://issuer.example"]}))
    assert policy.trusts_key(KEY)
    assert not policy.trusts_key(OTHER)
    assert policy.trusts_identity("anybody", "https://issuer.example")
    assert not policy.trusts_identity("anybody", "https://issuer.example/")
    assert not policy.trusts_identity("anybody", None)
    narrow = parse_policy(text({"trustedIssuers": ["https://issuer.example"], "trustedIdentities": ["me"]}))
    assert narrow.trusts_identity("me", "https://issuer.example")
    assert not narrow.trusts_identity("you", "https://issuer.example")
    held = parse_policy(text({"trustedKeyFingerprints": [], "trustedKeys": [OTHER.pem]}))
    assert held.trusts_key(OTHER)
    assert not held.trusts_key(KEY)
    assert not parse_policy(text({"algorithms": ["Ed25519"]})).trusts_key(KEY)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "policy_malformed"),
        (b'{"policyId":"a","policyId":"b"}', "policy_malformed"),
        (text(policyId="Release"), "policy_malformed"),
        (text(version="1"), "policy_malformed"),
        (text(predicateTypes=[]), "policy_malformed"),
        (text(extra=1), "policy_malformed"),
        (text({"requireSomething": True}), "policy_malformed"),
        (text({"trustedKeyFingerprints": ["sha256:00"]}), "policy_malformed"),
        (text({"trustedKeyFingerprints": [KEY.keyid.upper()]}), "policy_malformed"),
        (text({"minimumSignatures": 0}), "policy_malformed"),
        (text(validityWindow={"notBefore": "2026-01-01"}), "policy_malformed"),
        (text(validityWindow={"notBefore": "2026-02-30T00:00:00Z"}), "policy_malformed"),
        (text(validityWindow={"maxAttestationAge": 0}), "policy_malformed"),
        (text({"trustedKeyFingerprints": []}), "policy_trusts_nobody"),
        (text({"trustedKeys": ["no PEM"]}), "policy_key"),
        (text({"witnesses": ["w"]}), "witness_key"),
        (text({"minimumWitnesses": 1}), "policy_witnesses"),
        (b" " * (LARGEST_POLICY + 1), "policy_too_large"),
    ],
)
def test_refuses(data: bytes, reason: str) -> None:
    assert refused(data) == reason


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert refused(data) == "policy_malformed"
