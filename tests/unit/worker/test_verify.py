import hashlib
import json

import pytest

from fakes.sigstore import ISSUER, SAN, Sigstore
from outside.signed import TYPE, Key, statement
from signerd.attestation.bundle import keyful_bundle
from signerd.attestation.dsse import encode_base64, pae
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.host.memfd import sealed_memfd
from signerd.wire.params import Descriptor, Identity
from signerd.wire.worker_calls import JudgeBundle
from signerd.worker.verify import Judge, VerifyWorkerSettings

KEY = Key()
STACK = Sigstore()
PAYLOAD = statement()
KEYFUL = keyful_bundle(encode_base64(PAYLOAD), PAYLOAD_TYPE, KEY.sign(pae(PAYLOAD_TYPE, PAYLOAD)), KEY.hint)
PEM = KEY.pem.decode()


def policy(scope: str) -> bytes:
    signers = {"trustedKeyFingerprints": [f"sha256:{hashlib.sha256(KEY.spki).hexdigest()}"]}
    return json.dumps(
        {
            "policyId": scope,
            "version": "1.0.0",
            "predicateTypes": [TYPE],
            "tenantScope": scope,
            "signerRequirements": signers,
        }
    ).encode()


JUDGE = Judge(VerifyWorkerSettings(STACK.trusted_root(), {name: policy(name) for name in ("acme", "umbra")}))


def test_a_key_needs_nothing_beside_its_signature_and_what_is_there_must_be_right() -> None:
    alone = JUDGE.answer(JudgeBundle(7, "acme", KEYFUL, key=PEM), ()).result
    assert alone is not None
    assert (alone.verified, alone.transparency) == (True, "skipped")
    beside = json.loads(KEYFUL)
    entry = STACK.entry2(STACK.hashedrekord2(bytes(32), b"another", {"publicKey": {"rawBytes": KEY.hint}}))
    beside["verificationMaterial"]["tlogEntries"] = [entry]
    lied = JUDGE.answer(JudgeBundle(7, "acme", json.dumps(beside).encode(), key=PEM), ()).result
    assert lied is not None
    assert (lied.verified, lied.transparency) == (False, "failed")


def test_a_policy_is_of_its_tenant_alone() -> None:
    calls = [JudgeBundle(1, "acme", KEYFUL, key=PEM, policy=name) for name in ("acme", "umbra", "x")]
    answers = [JUDGE.answer(call, ()) for call in calls]
    assert answers[0].result is not None
    assert answers[0].result.verified
    assert [answer.error and answer.error.reason for answer in answers[1:]] == ["policy_unknown"] * 2
    # Not even by what it says does the one differ from the other.
    assert answers[1].error == answers[2].error


def test_an_identity_needs_a_root() -> None:
    bundle = json.dumps(STACK.keyless(PAYLOAD)).encode()
    call = JudgeBundle(1, "acme", bundle, identity=Identity(SAN, ISSUER))
    verified = JUDGE.answer(call, ()).result
    assert verified is not None
    assert verified.verified
    error = Judge(VerifyWorkerSettings()).answer(call, ()).error
    assert error is not None
    assert (error.code, error.reason) == ("request.unsupported", "no_trusted_root")


@pytest.mark.parametrize(
    ("call", "fds", "reason"),
    [
        (JudgeBundle(1, "acme", KEYFUL), 0, "missing_field"),
        (JudgeBundle(1, "acme", KEYFUL, key="PEM"), 0, "key_malformed"),
        (JudgeBundle(1, "acme", Descriptor(0, 5), key=PEM), 0, "descriptor_index"),
        (JudgeBundle(1, "acme", Descriptor(1, 5), key=PEM), 1, "descriptor_index"),
        (JudgeBundle(1, "acme", Descriptor(0, 6), key=PEM), 1, "size_mismatch"),
        (JudgeBundle(1, "acme", KEYFUL, key=PEM), 1, "descriptor_index"),
    ],
)
def test_what_is_asked_wrongly_is_an_answer(call: JudgeBundle, fds: int, reason: str) -> None:
    with open(sealed_memfd("bundle", b"12345"), "rb") as file:
        answer = JUDGE.answer(call, (file.fileno(),) * fds)
    assert answer.result is None
    assert answer.error is not None
    assert answer.error.reason == reason
