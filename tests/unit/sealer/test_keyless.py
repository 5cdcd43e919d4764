"""A keyless key in the sealer, by hand: when its worker is asked, and what of the answer is believed (T4, T24)."""

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fakes.sealing import NOW, TENANT, Bench, SoftKey
from fakes.sigstore import ISSUER, SAN, CtLog, Issued, Sigstore, new_key, spki
from signerd.errors import Fault, Refusal
from signerd.sealer.job import Pinned, Violation
from signerd.sealer.key_spec import KeySpec
from signerd.sealer.keyless import Certificates
from signerd.sealer.keyring import keyless_entry
from signerd.verification.keyless import KeylessTrust
from signerd.verification.keys import PublicKey
from signerd.wire.keyless import IdentityToken
from signerd.wire.links import DecisionFacts, KeyUse, ReleaseFacts, SealOutcome
from signerd.wire.worker_calls import SignContext, SignParams, SignResultParams

STACK = Sigstore()
AT = datetime.fromtimestamp(NOW / 1000, UTC)
KEY = "fulcio:ci"
TOKEN = IdentityToken("a.secret.token", ISSUER, (SAN, "another name"))
WINDOW: dict[str, Any] = {"start": AT - timedelta(minutes=1), "end": AT + timedelta(minutes=9), "sct_at": AT}


def trust() -> KeylessTrust:
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (STACK.ca.certificate, STACK.root.certificate))
    log = STACK.ct.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return KeylessTrust.read(chain, [log])


class KeylessBench(Bench):
    """A bench with one keyless key more; ``leaf`` is what its worker has been given."""

    def __init__(self, *, ephemeral_ok: bool = True, identities: list[str] | None = None) -> None:
        super().__init__()
        certificates = Certificates(trust(), [ISSUER], identities, ephemeral_ok=ephemeral_ok)
        spec = KeySpec(KEY, TENANT, "soft", "fulcio", certificates=certificates)
        self.ring[KEY] = Pinned(keyless_entry(spec), None, "soft", prehash=True, certificates=certificates)
        self.private = new_key()
        self.leaf = STACK.leaf(self.private, **WINDOW)

    def ask(self, identity: IdentityToken | None = TOKEN, *also: SoftKey) -> str:
        uses = (KeyUse(KEY, "fulcio"), *[KeyUse(k.entry.key, "file", k.entry.keyid, 1) for k in also])
        decision = DecisionFacts("uid:1000", TENANT, "embedded", ReleaseFacts("asserted"), uses, ("ephemeral",))
        return self.admit(decision=decision, identity=identity)

    def decide(self) -> None:
        """A turn that makes decisions durable, and the one after it that asks."""
        self.sealing.turn()
        self.sealing.turn()

    def answer_keyless(self, *, keyid: str = "", chain: tuple[bytes, ...] | None = None) -> None:
        calls, self.backend.calls = self.backend.calls, []
        for call in calls:
            params = cast("SignParams", call.params)
            assert params.key == KEY
            assert isinstance(params.message, bytes)
            signature = self.private.sign(params.message, ec.ECDSA(Prehashed(SHA256())))
            shown = keyid or PublicKey.from_spki(spki(self.private)).keyid
            result = SignResultParams(signature, shown, (self.leaf,) if chain is None else chain)
            call.done(msgspec.Raw(msgspec.msgpack.encode(result)))

    def end(self, audit_id: str) -> SealOutcome:
        return self.outcomes()[audit_id]


@pytest.fixture
def bench() -> Iterator[KeylessBench]:
    made = KeylessBench()
    yield made
    made.close()


def test_the_worker_is_asked_when_the_decision_is_durable_and_not_before(bench: KeylessBench) -> None:
    asked_with: list[list[str]] = []
    call_many = bench.backend.call_many

    def watched(calls: Any) -> None:
        asked_with.append(bench.kinds(audit_id))
        call_many(calls)

    bench.backend.call_many = watched  # type: ignore[method-assign]
    audit_id = bench.ask()
    assert bench.backend.calls == []
    bench.decide()
    assert asked_with == [["decided"]]
    (call,) = bench.backend.calls
    assert cast("SignParams", call.params).context == SignContext(TENANT, audit_id, TOKEN.token)


def test_nothing_is_asked_where_the_decision_cannot_be_recorded(bench: KeylessBench) -> None:
    bench.store.failing = Fault("audit.unavailable", "write", "no")
    audit_id = bench.ask()
    bench.decide()
    assert bench.backend.calls == []
    error = bench.end(audit_id).error
    assert error is not None
    assert error.code == "audit.unavailable"


def test_nothing_is_asked_for_what_was_given_up_meanwhile(bench: KeylessBench) -> None:
    audit_id = bench.ask()
    bench.clock.move(31)
    bench.decide()
    assert bench.backend.calls == []
    error = bench.end(audit_id).error
    assert error is not None
    assert error.code == "request.deadline"


def test_a_key_beside_it_waits_too_and_gets_no_context(bench: KeylessBench) -> None:
    first = bench.keys[0]
    bench.ask(TOKEN, first)
    bench.sealing._send()
    assert bench.backend.calls == []
    bench.decide()
    asked = {call.params.key: call.params.context for call in bench.backend.calls}  # type: ignore[attr-defined]  # SignParams
    assert asked[KEY] is not None
    assert asked[first.entry.key] is None


def test_it_is_released_with_the_chain_that_was_built_here(bench: KeylessBench) -> None:
    audit_id = bench.ask()
    bench.decide()
    bench.answer_keyless(chain=(bench.leaf, b"what", b"ever"))
    ok = bench.end(audit_id).ok
    assert ok is not None
    (signature,) = ok.signatures
    assert signature.keyless is not None
    assert signature.keyless.chain[1:] == tuple(
        one.certificate.public_bytes(Encoding.DER) for one in (STACK.ca, STACK.root)
    )
    assert (signature.keyless.subject, signature.keyless.issuer, signature.version) == (SAN, ISSUER, 0)
    assert (signature.keyless.not_before, signature.keyless.not_after) == (NOW - 60_000, NOW + 540_000)
    assert isinstance(signature.bundle, bytes)
    material = json.loads(signature.bundle)["verificationMaterial"]
    assert material == {"certificate": {"rawBytes": base64.b64encode(bench.leaf).decode()}}


def other_authority(bench: KeylessBench) -> None:
    bench.leaf = STACK.leaf(bench.private, ca=Issued.root("ca root").intermediate("ca"), **WINDOW)


def changed(**lie: Any) -> Callable[[KeylessBench], None]:
    def change(bench: KeylessBench) -> None:
        bench.leaf = STACK.leaf(bench.private, **{**WINDOW, **lie})

    return change


def another_keys(bench: KeylessBench) -> None:
    bench.leaf = STACK.leaf(new_key(), **WINDOW)


@pytest.mark.parametrize(
    "lie",
    [
        other_authority,
        another_keys,
        changed(scts=[]),
        changed(scts=[CtLog()]),
        changed(san="https://somebody.else"),
        changed(issuer="https://another.issuer"),
        changed(usage=None),
        changed(end=AT - timedelta(seconds=1)),
        changed(start=AT + timedelta(minutes=1)),
    ],
)
def test_a_lying_worker_gets_nothing_released(bench: KeylessBench, lie: Callable[[KeylessBench], None]) -> None:
    audit_id = bench.ask()
    lie(bench)
    bench.decide()
    bench.answer_keyless()
    error = bench.end(audit_id).error
    assert error is not None
    assert (error.code, error.reason) == ("key.backend_fault", "signature_refused")
    assert len(bench.backend.condemned) == 1
    assert TOKEN.token not in bench.backend.condemned[0]
    bench.turn()
    assert bench.kinds(audit_id) == ["decided", "outcome:fault:key.backend_fault"]


@pytest.mark.parametrize("answer", [{"chain": ()}, {"keyid": "sha256:" + "0" * 64}, {"chain": (b"",)}])
def test_an_answer_without_its_certificate_or_of_another_key_is_a_lie(
    bench: KeylessBench, answer: dict[str, Any]
) -> None:
    audit_id = bench.ask()
    bench.decide()
    bench.answer_keyless(**answer)
    assert bench.end(audit_id).error is not None
    assert bench.backend.condemned


def test_two_callers_certificates_cannot_be_swapped(bench: KeylessBench) -> None:
    audit_id = bench.ask(IdentityToken("b", ISSUER, ("https://somebody.else",)))
    bench.decide()
    bench.answer_keyless()
    assert bench.end(audit_id).ok is None


def test_a_configured_identity_is_the_only_one() -> None:
    bench = KeylessBench(identities=["https://the.one"])
    audit_id = bench.ask(None)
    bench.decide()
    bench.answer_keyless()
    assert bench.end(audit_id).ok is None
    bench.leaf = STACK.leaf(bench.private, san="https://the.one", **WINDOW)
    audit_id = bench.ask(None)
    bench.decide()
    bench.answer_keyless()
    assert bench.end(audit_id).ok is not None
    bench.close()


def test_the_outcome_holds_the_certificate_and_no_leaf_the_token(bench: KeylessBench) -> None:
    from signerd.wire.links import Close

    audit_id = bench.ask()
    bench.decide()
    bench.answer_keyless()
    bench.sealing.close(Close(audit_id, "signed"))
    bench.turn()
    outcome = json.loads(bench.store.leaves[-1].text)
    (signer,) = outcome["keyless"]
    assert base64.b64decode(signer["certificate"]) == bench.leaf
    assert signer["key"] == KEY
    assert not any(TOKEN.token.encode() in leaf.text for leaf in bench.store.leaves)


def test_what_no_honest_front_end_sends_ends_the_link(bench: KeylessBench) -> None:
    with pytest.raises(Violation, match="identity_token"):
        bench.admit(identity=TOKEN)
    strict = KeylessBench(ephemeral_ok=False)
    with pytest.raises(Violation, match="ephemeral"):
        strict.ask()
    strict.close()
    for use in (KeyUse(KEY, "fulcio", version=1), KeyUse(KEY, "fulcio", "sha256:" + "0" * 64), KeyUse("x:y", "x")):
        decision = DecisionFacts("uid:1000", TENANT, "embedded", ReleaseFacts("asserted"), (use,))
        with pytest.raises(Violation, match="foreign_key"):
            bench.admit(decision=decision)


def test_a_certificate_is_checked_again_when_it_has_aged() -> None:
    certificates = Certificates(trust(), [ISSUER], None, ephemeral_ok=True)
    leaf = STACK.leaf(new_key(), **WINDOW)
    assert certificates.vouch(leaf, None, NOW) is certificates.vouch(leaf, None, NOW + 1000)
    with pytest.raises(Refusal, match="expired"):
        certificates.vouch(leaf, None, NOW + 600_000)


def test_a_certificate_of_another_issuer_is_not_taken_though_its_authority_is() -> None:
    certificates = Certificates(trust(), ["https://another"], None, ephemeral_ok=True)
    with pytest.raises(Refusal) as caught:
        certificates.vouch(STACK.leaf(new_key(), **WINDOW), None, NOW)
    assert caught.value.reason == "issuer_mismatch"


def test_a_certificate_for_another_algorithm_than_the_keys_is_a_lie(bench: KeylessBench) -> None:
    bench.ring[KEY] = dataclasses.replace(bench.ring[KEY], prehash=False)
    private = ec.generate_private_key(ec.SECP384R1())
    leaf = STACK.leaf(private, **WINDOW)
    audit_id = bench.ask()
    bench.decide()
    (call,) = bench.backend.calls
    message = cast("bytes", cast("SignParams", call.params).message)
    signature = private.sign(message, ec.ECDSA(SHA384()))
    result = SignResultParams(signature, PublicKey.from_spki(spki(private)).keyid, (leaf,))
    call.done(msgspec.Raw(msgspec.msgpack.encode(result)))
    error = bench.end(audit_id).error
    assert error is not None
    assert (error.code, error.reason) == ("key.backend_fault", "signature_refused")
    assert "ES384" in bench.backend.condemned[0]
