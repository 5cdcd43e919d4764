import hashlib
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from fakes.sigstore import NOW, Sigstore, Witnessing, b64, new_key, spki
from signerd.attestation.bundle import LogEntry, parse_bundle
from signerd.errors import Refusal
from signerd.verification.checkpoint import Witness
from signerd.verification.keys import PublicKey
from signerd.verification.log_entry import Logged, verify_log_entry
from signerd.verification.signed import verify_message
from signerd.verification.trusted_root import parse_trusted_root

STACK = Sigstore()
PRIVATE = new_key()
KEY = PublicKey.from_spki(spki(PRIVATE))
LOGS = parse_trusted_root(STACK.trusted_root()).logs
CONTENT = b"artefact"
SIGNATURE = PRIVATE.sign(CONTENT, ec.ECDSA(SHA256()))
SIGNED = verify_message(SIGNATURE, KEY, None, sha256=None, content=CONTENT)
PEM = b64(KEY.pem.encode())
BODY1 = {
    "apiVersion": "0.0.1",
    "kind": "hashedrekord",
    "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(CONTENT).hexdigest()}},
        "signature": {"content": b64(SIGNATURE), "publicKey": {"content": PEM}},
    },
}
BODY2 = Sigstore.hashedrekord2(
    hashlib.sha256(CONTENT).digest(), SIGNATURE, {"publicKey": {"rawBytes": b64(KEY.spki)}}
)


def read(entry: dict[str, Any], media_type: str = "application/vnd.dev.sigstore.bundle+json;version=0.1") -> LogEntry:
    """An entry as a bundle has it: v0.1 lets stand what newer ones do not."""
    bundle = {
        "mediaType": media_type,
        "verificationMaterial": {"publicKey": {"hint": ""}, "tlogEntries": [entry]},
        "messageSignature": {"signature": b64(SIGNATURE)},
    }
    (found,) = parse_bundle(json.dumps(bundle).encode()).log_entries
    return found


V3 = "application/vnd.dev.sigstore.bundle.v0.3+json"


def refused(entry: LogEntry) -> str:
    with pytest.raises(Refusal) as caught:
        verify_log_entry(entry, SIGNED, LOGS)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


def test_an_entry_of_the_newer_log_has_no_time() -> None:
    witness = Witnessing()
    entry = read(STACK.entry2(BODY2, witnesses=[witness]), V3)
    assert verify_log_entry(entry, SIGNED, LOGS) == Logged(LOGS[1], 2, None, 0)
    assert verify_log_entry(entry, SIGNED, LOGS, [Witness.parse(witness.vkey)]).witnesses == 1


def test_an_entry_of_the_older_log_has_the_time_that_was_promised() -> None:
    assert verify_log_entry(read(STACK.entry1(BODY1), V3), SIGNED, LOGS) == Logged(LOGS[0], 1001, NOW, 0)
    assert verify_log_entry(read(STACK.entry1(BODY1, proof=False)), SIGNED, LOGS).at == NOW
    # Nobody signed the integrated time of this one.
    assert verify_log_entry(read(STACK.entry1(BODY1, promise=False), V3), SIGNED, LOGS).at is None


def test_what_a_proof_lacks() -> None:
    without = STACK.entry2(BODY2)
    del without["inclusionProof"]
    without["inclusionPromise"] = {"signedEntryTimestamp": "AA=="}
    assert refused(read(without)) == "inclusion_proof_missing"
    no_note = STACK.entry1(BODY1)
    del no_note["inclusionProof"]["checkpoint"]
    assert refused(read(no_note)) == "checkpoint_missing"
    neither = changed(read(STACK.entry1(BODY1, proof=False)), promise=None)
    assert refused(neither) == "inclusion_proof_missing"
    moved = STACK.entry2(BODY2)
    moved["logIndex"] = "3"
    assert refused(read(moved, V3)) == "log_entry_index"


def changed(entry: LogEntry, **changes: Any) -> LogEntry:
    return msgspec.structs.replace(entry, **changes)


def test_times_at_which_the_log_is_not_believed() -> None:
    assert refused(read(STACK.entry1(BODY1, at=NOW - timedelta(days=300)))) == "log_window"
    assert refused(read(STACK.entry1(BODY1, key=new_key()))) == "checkpoint_signature"
    assert refused(read(STACK.entry1(BODY1, key=new_key(), proof=False))) == "log_promise"

    class Absurd:
        def timestamp(self) -> int:
            return 2**62

    assert refused(read(STACK.entry1(BODY1, at=Absurd()))) == "log_entry_time"  # type: ignore[arg-type]


def test_of_no_log_that_is_known() -> None:
    entry = STACK.entry2(BODY2)
    entry["logId"]["keyId"] = b64(bytes(32))
    assert refused(read(entry, V3)) == "log_unknown"
