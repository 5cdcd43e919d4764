"""A proof is about one signature, or none."""

from hashlib import sha256

import pytest

from fakes.sigstore import Sigstore, b64, jcs, new_key, spki
from signerd.attestation.log_entry import LogEntry
from signerd.errors import Refusal
from signerd.sealer.proofs import proof_of
from signerd.verification.keys import PublicKey
from signerd.verification.signed import Signed

STACK = Sigstore()
KEY = PublicKey.from_spki(spki(new_key()))
DIGEST = sha256(b"m").digest()
SIGNED = Signed.of_digest(b"signature", KEY, None, DIGEST)
ENTRY = STACK.entry2(STACK.hashedrekord2(DIGEST, b"signature", {"publicKey": {"rawBytes": b64(KEY.spki)}}))


def test_an_entry_and_a_stamp() -> None:
    entry = proof_of("log", SIGNED, jcs(ENTRY))
    assert isinstance(entry, LogEntry)
    assert entry.log_index == 2
    stamp = STACK.stamp(b"signature")
    assert proof_of("stamp", SIGNED, stamp) == stamp


@pytest.mark.parametrize(
    ("kind", "proof"),
    [
        ("stamp", STACK.stamp(b"other")),
        ("stamp", jcs(ENTRY)),
        ("log", STACK.stamp(b"signature")),
        ("log", jcs({**ENTRY, "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"}})),
        ("log", jcs({name: value for name, value in ENTRY.items() if name != "inclusionProof"})),
        ("log", jcs(STACK.entry2(STACK.hashedrekord2(DIGEST, b"other", {"publicKey": {"rawBytes": b64(KEY.spki)}})))),
    ],
)
def test_what_proves_nothing(kind: str, proof: bytes) -> None:
    with pytest.raises(Refusal):
        proof_of(kind, SIGNED, proof)
