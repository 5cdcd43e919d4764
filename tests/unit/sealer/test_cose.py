import hashlib

import pytest

from fakes.sealing import Bench, SoftKey
from signerd.attestation.cose import signature_structure
from signerd.sealer.cose import assemble_cose, cose_parts
from signerd.sealer.framing import cose_protected
from signerd.sealer.job import Job, Made
from signerd.verification.cose import verify_cose

PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'
KEYS = (SoftKey(), SoftKey("file:ed", "Ed25519"), SoftKey("file:other"))


def job(*keys: SoftKey) -> Job:
    bench = Bench(*keys)
    item = bench.item(PAYLOAD, profile="cose")
    bench.close()
    made = Job(item, tuple(key.pinned() for key in keys), 2000.0)
    made.hash_inline(PAYLOAD)
    return made


def to_sign(key: SoftKey) -> bytes:
    return signature_structure(cose_protected(key.public), len(PAYLOAD)) + PAYLOAD


def test_each_key_signs_a_structure_of_its_own() -> None:
    made = job(*KEYS)
    for place, key in enumerate(KEYS):
        framed = made.to_sign(place)
        assert framed.sha256 == hashlib.sha256(to_sign(key)).digest()
        assert framed.message == (b"" if key.public.prehash else to_sign(key))


@pytest.mark.parametrize("keys", [KEYS[:1], KEYS[1:2], KEYS])
def test_a_message_for_each_in_their_order(keys: tuple[SoftKey, ...]) -> None:
    made = job(*keys)
    made.index, made.leaf_hash, made.decision_digest = 7, "ab", "cd"
    made.signatures = [
        Made(key.sign(made.to_sign(place).sha256 if key.public.prehash else to_sign(key)), key.public)
        for place, key in enumerate(keys)
    ]
    sealed = assemble_cose(made, PAYLOAD)
    assert (sealed.index, sealed.leaf_hash, sealed.decision_digest) == (7, "ab", "cd")
    assert sealed.statement_sha256 == hashlib.sha256(PAYLOAD).hexdigest()
    assert (sealed.envelope, sealed.envelope_sha256) == (None, "")
    for one, key, (before, after) in zip(sealed.signatures, keys, cose_parts(made, len(PAYLOAD)), strict=True):
        assert isinstance(one.bundle, bytes)
        assert one.bundle == before + PAYLOAD + after
        assert (one.key, one.keyid) == (key.entry.key, key.public.keyid)
        assert (one.bundle_sha256, one.envelope_sha256) == (hashlib.sha256(one.bundle).hexdigest(), "")
        assert verify_cose(one.bundle, key.public) == PAYLOAD
