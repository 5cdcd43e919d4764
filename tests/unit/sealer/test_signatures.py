import hashlib
import json
from collections.abc import Callable
from typing import cast

import msgspec
import pytest

from fakes.sealing import NOW, Bench, SoftKey
from signerd.attestation.dsse import pae
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.sealer.job import Job, Made
from signerd.sealer.signatures import LARGEST_SIGNATURE, Refuted, assemble, signers, verified
from signerd.verification.bundle import verify_bundle, verify_envelope
from signerd.wire.worker_calls import SignResultParams

PAYLOAD = (
    b'{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"https://example.org/p",'
    b'"subject":[{"digest":{"sha256":"' + b"b" * 64 + b'"},"name":"s"}]}'
)
KEYS = (SoftKey(), SoftKey("file:ed", "Ed25519"))
STRANGER = SoftKey()


def job(*, envelope: bool = True) -> Job:
    bench = Bench(*KEYS)
    item = bench.item(PAYLOAD, envelope=envelope)
    bench.close()
    made = Job(item, tuple(key.pinned() for key in KEYS), 2000.0)
    made.hash_inline(PAYLOAD)
    signed = (KEYS[0].sign(made.to_sign(0).sha256), KEYS[1].sign(pae(PAYLOAD_TYPE, PAYLOAD)))
    made.signatures = [Made(one, key.public) for one, key in zip(signed, KEYS, strict=True)]
    return made


def answer(signature: bytes, keyid: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(SignResultParams(signature, keyid)))


def test_a_digest_and_a_message_verify_each_by_its_key() -> None:
    made = job()
    for place, (key, signature) in enumerate(zip(KEYS, made.signatures, strict=True)):
        assert signature is not None
        assert verified(made, place, answer(signature.signature, key.public.keyid), NOW) == signature


def flipped(signature: bytes) -> bytes:
    return signature[:-1] + bytes([signature[-1] ^ 1])


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    "spoil", [flipped, lambda s: s[: len(s) // 2], lambda _: b"", lambda s: s + b"\0", lambda s: s + bytes(9000)]
)
def test_any_other_signature_refutes_the_worker(place: int, spoil: Callable[[bytes], bytes]) -> None:
    made = job()
    signature = made.signatures[place]
    assert signature is not None
    with pytest.raises(Refuted):
        verified(made, place, answer(spoil(signature.signature), KEYS[place].public.keyid), NOW)


@pytest.mark.parametrize("claimed", [STRANGER.public.keyid, KEYS[0].public.keyid, "", "file:default"])
def test_another_keys_signature_refutes_it_whatever_it_says(claimed: str) -> None:
    made = job()
    with pytest.raises(Refuted):
        verified(made, 0, answer(STRANGER.sign(made.to_sign(0).sha256), claimed), NOW)


def test_the_right_signature_under_another_id_refutes_it() -> None:
    made = job()
    assert made.signatures[0] is not None
    with pytest.raises(Refuted, match="another key"):
        verified(made, 0, answer(made.signatures[0].signature, STRANGER.public.keyid), NOW)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xc1",
        b"\xc0",
        b"\x81\xa9signature\xc4\x00",
        msgspec.msgpack.encode({"signature": "text", "keyid": "k"}),
        b"\x82\xa5keyid\xa1\xff\xa9signature\xc4\x00",
        b"\x83\xa5keyid\xa1k\xa9signature\xc4\x00\xa1x" + b"\x91" * 5000 + b"\xc0",
    ],
)
def test_an_answer_out_of_shape_refutes_it(raw: bytes) -> None:
    with pytest.raises(Refuted, match="out of shape"):
        verified(job(), 0, msgspec.Raw(raw), NOW)


def test_what_is_longer_than_any_signature_is_not_looked_at() -> None:
    with pytest.raises(Refuted, match="another key"):
        verified(job(), 0, answer(bytes(LARGEST_SIGNATURE + 1), KEYS[0].public.keyid), NOW)


def test_the_bundles_are_canonical_and_verify_in_the_order_of_the_keys() -> None:
    made = job()
    made.index, made.leaf_hash, made.decision_digest = 7, "ab", "cd"
    sealed = assemble(made, PAYLOAD)
    assert (sealed.index, sealed.leaf_hash, sealed.decision_digest) == (7, "ab", "cd")
    assert sealed.statement_sha256 == hashlib.sha256(PAYLOAD).hexdigest()
    assert [signature.key for signature in sealed.signatures] == ["file:default", "file:ed"]
    for signature, key in zip(sealed.signatures, KEYS, strict=True):
        assert isinstance(signature.bundle, bytes)
        assert verify_bundle(signature.bundle, key.public).verified
        assert signature.bundle_sha256 == hashlib.sha256(signature.bundle).hexdigest()
        read = json.loads(signature.bundle)
        assert "keyid" not in read["dsseEnvelope"]["signatures"][0]
        assert read["verificationMaterial"]["publicKey"]["hint"] == key.public.hint
        again = json.dumps(read, separators=(",", ":"), sort_keys=True).encode()
        assert again == signature.bundle


def test_the_combined_envelope_names_its_signers() -> None:
    made = job()
    envelope = assemble(made, PAYLOAD).envelope
    assert isinstance(envelope, bytes)
    assert verify_envelope(envelope, [key.public for key in KEYS], threshold=2).verified
    names = [signature["keyid"] for signature in json.loads(envelope)["signatures"]]
    assert names == [signer.keyid for signer in signers(made)] == [key.public.envelope_keyid for key in KEYS]
    assert names[1].startswith("SHA256:")
    assert assemble(job(envelope=False), PAYLOAD).envelope is None


@pytest.mark.needs("securesystemslib")
def test_securesystemslib_accepts_the_combined_envelope() -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Key, SSlibKey  # type: ignore[attr-defined]  # it re-exports without saying so

    envelope = assemble(job(), PAYLOAD).envelope
    assert isinstance(envelope, bytes)
    trusted: list[Key] = [SSlibKey.from_crypto(k.private.public_key(), keyid=k.public.envelope_keyid) for k in KEYS]
    assert len(Envelope.from_dict(json.loads(envelope)).verify(trusted, threshold=2)) == 2


def dsse(*keys: SoftKey) -> Job:
    bench = Bench(*keys)
    item = bench.item(PAYLOAD, profile="dsse")
    bench.close()
    made = Job(item, tuple(key.pinned() for key in keys), 2000.0)
    made.hash_inline(PAYLOAD)
    framed = pae(PAYLOAD_TYPE, PAYLOAD)
    made.signatures = [Made(k.sign(made.to_sign(0).sha256 if k.public.prehash else framed), k.public) for k in keys]
    return made


def test_in_profile_dsse_only_the_companion_has_a_bundle() -> None:
    sealed = assemble(dsse(KEYS[1], KEYS[0], STRANGER), PAYLOAD)
    assert isinstance(sealed.envelope, bytes)
    assert verify_envelope(sealed.envelope, [*[key.public for key in KEYS], STRANGER.public], threshold=3).verified
    assert sealed.envelope_sha256 == hashlib.sha256(sealed.envelope).hexdigest()
    first, companion, third = sealed.signatures
    for signature in (first, third):
        assert (signature.bundle, signature.bundle_sha256, signature.envelope_sha256) == (b"", "", "")
    assert verify_bundle(cast("bytes", companion.bundle), KEYS[0].public).verified
    assert [signature.keyid for signature in sealed.signatures] == [
        key.public.keyid for key in (KEYS[1], KEYS[0], STRANGER)
    ]


def test_without_a_key_of_es256_there_is_an_envelope_and_no_bundle() -> None:
    sealed = assemble(dsse(KEYS[1]), PAYLOAD)
    assert [signature.bundle for signature in sealed.signatures] == [b""]
    assert isinstance(sealed.envelope, bytes)
    assert verify_envelope(sealed.envelope, [KEYS[1].public]).verified


@pytest.mark.needs("securesystemslib")
@pytest.mark.parametrize("threshold", [2, 3])
def test_securesystemslib_counts_each_signer_of_it(threshold: int) -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import Key, SSlibKey  # type: ignore[attr-defined]  # it re-exports without saying so

    keys = (KEYS[1], KEYS[0], STRANGER)[:threshold]
    envelope = assemble(dsse(*keys), PAYLOAD).envelope
    assert isinstance(envelope, bytes)
    trusted: list[Key] = [SSlibKey.from_crypto(k.private.public_key(), keyid=k.public.envelope_keyid) for k in keys]
    assert len(Envelope.from_dict(json.loads(envelope)).verify(trusted, threshold=threshold)) == threshold
    fewer = json.loads(envelope)
    fewer["signatures"].pop()
    with pytest.raises(VerificationError):
        Envelope.from_dict(fewer).verify(trusted, threshold=threshold)
